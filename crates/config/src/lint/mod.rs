//! Lints: valid files that probably do not do what their author wants. Each lint is one function whose help text gives
//! the reason; none of them changes the plan.

mod subject;
mod time;
mod retry;
mod recover;
mod layout;
mod spread;
mod mirror;
mod inject;
mod descriptors;
mod socket;

use evenkeel_request::Policies;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::file::listen::RouteConfig;
use crate::file::service::ServiceConfig;
use crate::file::{ConfigFile, Located};
use crate::plan::ServicePlan;
use crate::resolve::{Draft, is_dns};
use subject::LintSubject;

type LintRule = fn(&LintSubject<'_>, &mut Diagnostics);

/// Everything that is checked in a service.
const SERVICE_LINTS: &[LintRule] = &[
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
    recover::action_without_effect,
    recover::hold_without_effect,
    layout::single_server,
    layout::same_command,
    layout::weight_ignored,
    layout::other_policy,
    spread::queue_without_bound,
    spread::limit_without_effect,
];

/// The checks of a route's overrides.
const ROUTE_LINTS: &[LintRule] = &[
    time::total_shorter_than_attempt,
    time::no_time_for_retry,
    time::connect_longer_than_total,
    retry::retry_of_500,
    retry::unsafe_method,
    retry::body_buffer_huge,
];

/// Puts the warnings about a plan that is free of errors into `out`.
pub(crate) fn lint(file: &ConfigFile, draft: &Draft, descriptors: u64, out: &mut Diagnostics) {
    let typed = file.service.iter().flat_map(|map| &map.value);
    for (((name, typed), plan), servers) in typed.zip(&draft.plan.services).zip(&draft.server_spans)
    {
        let subject = LintSubject {
            name,
            typed: &typed.value,
            plan,
            policies: &plan.policies,
            servers,
        };
        for lint in SERVICE_LINTS {
            lint(&subject, out);
        }
    }
    routes(file, draft, out);
    layout::admin_reachable(file, draft, out);
    layout::unused_service(file, draft, out);
    spread::zone_unknown(file, out);
    layout::unreachable_route(file, out);
    mirror::unsafe_method_mirrored(file, out);
    inject::injects(file, out);
    descriptors::few_descriptors(file, draft, descriptors, out);
    socket::no_client_address(file, draft, out);
    socket::socket_in_dns(draft, out);
}

/// Overrides of a route can be as wrong as the service's values. What was already reported for the service is not
/// repeated.
fn routes(file: &ConfigFile, draft: &Draft, out: &mut Diagnostics) {
    let listeners = file.listen.iter().flat_map(|map| &map.value);
    let listeners = listeners.filter(|(_, listener)| !is_dns(listener));
    for ((_, typed), plan) in listeners.zip(&draft.plan.listeners) {
        let typed = typed.routes.iter().flat_map(|list| &list.value);
        for (typed, plan) in typed.zip(&plan.routes) {
            for (id, policies) in &plan.policies {
                let service = file.service.iter().flat_map(|map| &map.value);
                let service = service.zip(&draft.plan.services).nth(id.0 as usize);
                let Some(((_, service), plan)) = service else {
                    continue;
                };
                for diagnostic in of_route(typed, service, (plan, policies), out) {
                    out.push(diagnostic);
                }
            }
        }
    }
}

fn of_route(
    route: &Located<RouteConfig>,
    service: &ServiceConfig,
    (plan, policies): (&ServicePlan, &Policies),
    out: &Diagnostics,
) -> Vec<Diagnostic> {
    let name = Located {
        value: plan.name.clone(),
        span: route.span.clone(),
        key: route.span.clone(),
    };
    let told = |typed: &ServiceConfig, policies: &Policies| {
        let mut told = Diagnostics::new(out.name(), out.text());
        let subject = LintSubject {
            name: &name,
            typed,
            plan,
            policies,
            servers: &[],
        };
        for lint in ROUTE_LINTS {
            lint(&subject, &mut told);
        }
        told
    };
    let of_service = told(service, &plan.policies);
    let is_new = |diagnostic: &&Diagnostic| {
        let inside = (route.span.start..route.span.end).contains(&diagnostic.span.start);
        let same =
            |told: &Diagnostic| told.code == diagnostic.code && told.message == diagnostic.message;
        inside || !of_service.list().iter().any(same)
    };
    let of_route = told(&route.own(service), policies);
    of_route.list().iter().filter(is_new).cloned().collect()
}
