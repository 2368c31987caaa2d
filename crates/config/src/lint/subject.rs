//! What a lint looks at: a service beside its plan, so that it can show the value that made the plan what it is.

use evenkeel_request::Policies;

use crate::file::At;
use crate::file::service::Service;
use crate::mistake::Span;
use crate::plan::ServicePlan;

/// A service as typed and as planned.
pub(super) struct Subject<'a> {
    pub(super) name: &'a At<String>,
    pub(super) typed: &'a Service,
    pub(super) plan: &'a ServicePlan,
    /// The service's, or those of a route to it.
    pub(super) policies: &'a Policies,
    pub(super) servers: &'a [Span],
}

impl Subject<'_> {
    /// The place of a value, or of the service's name if the value is a default.
    pub(super) fn place<T>(&self, value: Option<&At<T>>) -> Span {
        value.map_or_else(|| self.name.span.clone(), |at| at.span.clone())
    }
}
