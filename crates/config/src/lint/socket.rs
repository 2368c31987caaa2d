//! Lints for Unix domain sockets: what needs an IP address that they do not have.

use evenkeel_balance::Policy;
use evenkeel_core::ServiceId;
use evenkeel_request::HashOn;
use evenkeel_request::route::{RateRule, Route};

use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::file::ConfigFile;
use crate::plan::{ListenerPlan, ServicePlan};
use crate::resolve::{Draft, is_dns};

/// Rules by the client's address, for requests that come over a Unix domain socket.
pub(super) fn no_client_address(file: &ConfigFile, draft: &Draft, out: &mut Diagnostics) {
    let listeners = file.listen.iter().flat_map(|map| &map.value);
    let listeners = listeners.filter(|(_, listener)| !is_dns(listener));
    for ((name, typed), plan) in listeners.zip(&draft.plan.listeners) {
        let address = typed.value.address.as_ref();
        let Some(address) = address.filter(|_| plan.address.socket().is_some()) else {
            continue;
        };
        for what in rules_by_address(plan, &draft.plan.services) {
            let message = format!(
                "clients of the listener `{}` have no address, and {what}",
                name.escape_debug()
            );
            let diagnostic = Diagnostic::new(
                Code::NoClientAddress,
                address.span.clone(),
                message,
                "a Unix domain socket",
            );
            let help = "use a header field that the program at the other end sets, such as \"header:x-real-ip\"";
            out.push(diagnostic.help(help));
        }
    }
}

/// What the requests of this listener are told apart by the client's address for, in words.
fn rules_by_address(listener: &ListenerPlan, services: &[ServicePlan]) -> Vec<String> {
    let by_address = |rate: &Option<RateRule>| {
        rate.as_ref()
            .is_some_and(|rate| matches!(rate.by, Some(HashOn::SourceIp { .. })))
    };
    let mut rules = Vec::new();
    let routes = listener.routes.iter();
    if routes.clone().any(|route| by_address(&route.rate)) {
        rules.push("`rate` of a route is counted by it: all share one limit".to_owned());
    }
    let mut ids: Vec<ServiceId> = routes.flat_map(Route::services).collect();
    ids.extend(listener.default_service);
    ids.sort_unstable();
    ids.dedup();
    for service in ids.iter().filter_map(|id| services.get(id.0 as usize)) {
        let name = &service.name;
        let hashes = matches!(service.balance.policy, Policy::RingHash | Policy::Maglev);
        if hashes && matches!(service.hash_on, HashOn::SourceIp { .. }) {
            rules.push(format!(
                "`hash_on` of `{name}` is that address: their requests go to any server"
            ));
        }
        if by_address(&service.limit.rate) {
            rules.push(format!(
                "`limit.rate` of `{name}` is counted by it: all share one limit"
            ));
        }
    }
    rules
}

/// Servers at Unix domain sockets of services that are answered in DNS.
pub(super) fn socket_in_dns(draft: &Draft, out: &mut Diagnostics) {
    let names = draft.plan.dns.iter().flat_map(|listener| &listener.names);
    let mut ids: Vec<ServiceId> = names.map(|name| name.service).collect();
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        let place = id.0 as usize;
        let (Some(service), Some(spans)) = (
            draft.plan.services.get(place),
            draft.server_spans.get(place),
        ) else {
            continue;
        };
        for (server, span) in service.servers.iter().zip(spans) {
            let Some(address) = server.address.as_ref().filter(|at| at.tcp().is_none()) else {
                continue;
            };
            let name = &service.name;
            let message = format!("DNS answers for `{name}` leave the server at {address} out");
            let label = "no address for DNS";
            out.push(Diagnostic::new(
                Code::SocketInDns,
                span.clone(),
                message,
                label,
            ));
        }
    }
}
