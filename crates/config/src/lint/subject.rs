//! The input of a lint: a service as typed together with its plan, so that a lint can point at the value that caused a
//! setting.

use evenkeel_request::Policies;

use crate::diagnostic::TextRange;
use crate::file::Located;
use crate::file::service::ServiceConfig;
use crate::plan::ServicePlan;

/// A service as typed and as planned.
pub(super) struct LintSubject<'a> {
    pub(super) name: &'a Located<String>,
    pub(super) typed: &'a ServiceConfig,
    pub(super) plan: &'a ServicePlan,
    /// The service's, or those of a route to it.
    pub(super) policies: &'a Policies,
    pub(super) servers: &'a [TextRange],
}

impl LintSubject<'_> {
    /// The place of a value, or of the service's name if the value is a default.
    pub(super) fn place<T>(&self, value: Option<&Located<T>>) -> TextRange {
        value.map_or_else(|| self.name.span.clone(), |at| at.span.clone())
    }
}
