//! Lints: files that can be used and probably do not do what their writer wants. Each lint is one function that says
//! why in its help; none of them changes the plan.

mod time;
mod retry;
mod recover;
mod layout;
mod spread;
mod mirror;

use crate::file::service::Service;
use crate::file::{At, File};
use crate::mistake::{Mistakes, Span};
use crate::plan::ServicePlan;
use crate::resolve::Draft;

/// A service as typed and as planned.
struct Subject<'a> {
    name: &'a At<String>,
    typed: &'a Service,
    plan: &'a ServicePlan,
    servers: &'a [Span],
}

impl Subject<'_> {
    /// The place of a value, or of the service's name if the value is a default.
    fn place<T>(&self, value: Option<&At<T>>) -> Span {
        value.map_or_else(|| self.name.span.clone(), |at| at.span.clone())
    }
}

type Lint = fn(&Subject<'_>, &mut Mistakes);

/// Everything that is looked at in a service.
const SERVICE_LINTS: &[Lint] = &[
    time::total_shorter_than_attempt,
    time::no_time_for_retry,
    time::connect_longer_than_total,
    time::probe_slower_than_retries,
    time::probe_timeout_too_long,
    time::verify_too_short,
    retry::retry_of_500,
    retry::unsafe_method,
    retry::budget_earns_nothing,
    retry::body_buffer_huge,
    recover::no_panic,
    recover::nothing_may_be_acted_on,
    recover::cannot_restart,
    layout::single_server,
    layout::same_command,
    layout::weight_ignored,
    layout::other_policy,
    spread::queue_without_bound,
    spread::limit_without_effect,
];

/// Puts the warnings about a plan that is free of errors into `out`.
pub(crate) fn lint(file: &File, draft: &Draft, out: &mut Mistakes) {
    let typed = file.service.iter().flat_map(|map| &map.value);
    for (((name, typed), plan), servers) in typed.zip(&draft.plan.services).zip(&draft.server_spans)
    {
        let subject = Subject {
            name,
            typed: &typed.value,
            plan,
            servers,
        };
        for lint in SERVICE_LINTS {
            lint(&subject, out);
        }
    }
    layout::admin_reachable(file, draft, out);
    layout::unused_service(file, draft, out);
    spread::zone_unknown(file, out);
    layout::unreachable_route(file, out);
    mirror::unsafe_method_mirrored(file, out);
}
