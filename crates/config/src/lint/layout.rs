//! Lints for the set of servers, services and routes.

use evenkeel_balance::Policy;
use evenkeel_core::ServiceId;
use evenkeel_request::FallbackTo;
use evenkeel_request::route::Route;

use super::subject::LintSubject;
use crate::defaults;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, TextRange};
use crate::file::{ConfigFile, FileLiteral};
use crate::resolve::Draft;

/// One server: nothing to retry on, nothing to fail over to.
pub(super) fn single_server(subject: &LintSubject<'_>, out: &mut Diagnostics) {
    let [server] = subject.plan.servers.as_slice() else {
        return;
    };
    let span = subject
        .servers
        .first()
        .map_or_else(|| subject.name.span.clone(), Clone::clone);
    let message = format!("`{}` has a single server", subject.plan.name);
    let help = format!(
        "when `{}` fails, there is no other to retry on: the service is down until it is repaired",
        server.name
    );
    out.push(Diagnostic::new(Code::SingleServer, span, message, "the only one").help(help));
}

/// Several processes that cannot tell which port is theirs.
pub(super) fn same_command(subject: &LintSubject<'_>, out: &mut Diagnostics) {
    let Some(run) = &subject.typed.run else {
        return;
    };
    let (Some(command), Some(ports)) = (&run.command, &run.ports) else {
        return;
    };
    let mut texts = command
        .value
        .iter()
        .map(|argument| argument.as_str())
        .chain(
            run.environment
                .iter()
                .flat_map(|map| &map.value)
                .map(|(_, value)| value.as_str()),
        );
    if ports.value.len() < 2 || texts.any(|text| text.contains("{port}") || text.contains("{name}"))
    {
        return;
    }
    let message = format!(
        "{} processes are started with the same command",
        ports.value.len()
    );
    let help =
        "put {port} into the command or the environment, so that each listens on its own port";
    out.push(
        Diagnostic::new(
            Code::SameCommand,
            command.span.clone(),
            message,
            "{port} is missing",
        )
        .help(help),
    );
}

/// A weight for a policy that does not weigh.
pub(super) fn weight_ignored(subject: &LintSubject<'_>, out: &mut Diagnostics) {
    let policy = subject.plan.balance.policy;
    if !matches!(policy, Policy::Random | Policy::RoundRobin) {
        return;
    }
    let weights = subject
        .typed
        .servers
        .iter()
        .flat_map(|list| &list.value)
        .filter_map(|server| server.weight.as_ref());
    for weight in weights.filter(|weight| weight.value != u64::from(defaults::SERVER_WEIGHT.value))
    {
        let message = format!("the policy {} ignores weights", policy.typed());
        let help = format!(
            "\"weighted-{}\" does",
            policy.typed().as_str().unwrap_or_default()
        );
        out.push(
            Diagnostic::new(
                Code::WeightIgnored,
                weight.span.clone(),
                message,
                "has no effect",
            )
            .help(help),
        );
    }
}

/// A key of a policy that is not the one in use.
pub(super) fn other_policy(subject: &LintSubject<'_>, out: &mut Diagnostics) {
    let policy = subject.plan.balance.policy;
    let Some(typed) = subject.typed.balance.as_ref() else {
        return;
    };
    let span = |key: Option<&TextRange>| key.cloned();
    let keys = [
        (
            "hash_on",
            span(typed.hash_on.as_ref().map(|at| &at.key)),
            policy.hashes(),
        ),
        (
            "bounded_load",
            span(typed.bounded_load.as_ref().map(|at| &at.key)),
            policy == Policy::RingHash,
        ),
        (
            "maglev_table",
            span(typed.maglev_table.as_ref().map(|at| &at.key)),
            policy == Policy::Maglev,
        ),
    ];
    for (key, place, _) in keys.into_iter().filter(|(_, _, used)| !used) {
        let Some(place) = place else { continue };
        let message = format!("the policy {} does not use `{key}`", policy.typed());
        let help = match key {
            "hash_on" => "\"ring-hash\" and \"maglev\" do",
            "bounded_load" => "\"ring-hash\" does",
            _ => "\"maglev\" does",
        };
        out.push(Diagnostic::new(Code::OtherPolicy, place, message, "has no effect").help(help));
    }
}

/// An admin address that other machines reach.
pub(super) fn admin_reachable(file: &ConfigFile, draft: &Draft, out: &mut Diagnostics) {
    let address = &draft.plan.admin.address;
    let Some(typed) = file.admin.as_ref().and_then(|admin| admin.address.as_ref()) else {
        return;
    };
    if address.is_local() {
        return;
    }
    let message = format!("other machines can reach the admin address {address}");
    let help = "reading requires the token too then, but without TLS it is sent in clear text: use 127.0.0.1 and a tunnel";
    out.push(
        Diagnostic::new(
            Code::AdminReachable,
            typed.span.clone(),
            message,
            "not loopback",
        )
        .help(help),
    );
}

/// A service to which no listener leads.
pub(super) fn unused_service(file: &ConfigFile, draft: &Draft, out: &mut Diagnostics) {
    for (index, (name, _)) in file.service.iter().flat_map(|map| &map.value).enumerate() {
        let id = u32::try_from(index).ok().map(ServiceId);
        let used = draft.plan.listeners.iter().any(|listener| {
            listener.default_service == id
                || listener
                    .routes
                    .iter()
                    .flat_map(Route::services)
                    .any(|service| Some(service) == id)
        });
        let routes = draft
            .plan
            .listeners
            .iter()
            .flat_map(|listener| &listener.routes);
        let of_routes = routes.filter_map(|route| route.mirror.as_ref());
        let of_services = draft
            .plan
            .services
            .iter()
            .filter_map(|service| service.mirror.as_ref());
        let mirrored = of_routes
            .chain(of_services)
            .any(|mirror| Some(mirror.to) == id);
        let names = draft.plan.dns.iter().flat_map(|listener| &listener.names);
        let answered = names.into_iter().any(|name| Some(name.service) == id);
        let routes = draft.plan.listeners.iter().flat_map(|all| &all.routes);
        let of_routes = routes.flat_map(|route| route.policies.iter().map(|(_, own)| own));
        let of_services = draft.plan.services.iter().map(|service| &service.policies);
        let falls_back = of_services.chain(of_routes).any(|policies| {
            let to = policies.fallback.as_ref().map(|fallback| &fallback.to);
            id.is_some_and(|id| to == Some(&FallbackTo::Service(id)))
        });
        if !used && !mirrored && !answered && !falls_back {
            let message = format!("no listener leads to the service `{}`", name.value);
            let help = "it is probed and repaired nevertheless; name it in a listener's `service` or in a route";
            out.push(
                Diagnostic::new(
                    Code::UnusedService,
                    name.span.clone(),
                    message,
                    "never used",
                )
                .help(help),
            );
        }
    }
}

/// Routes, and a default, behind a route that matches everything.
pub(super) fn unreachable_route(file: &ConfigFile, out: &mut Diagnostics) {
    for (_, listen) in file.listen.iter().flat_map(|map| &map.value) {
        let mut routes = listen.routes.iter().flat_map(|list| &list.value);
        let all = routes.find(|route| {
            let every_path = route.path.as_ref().is_none_or(|path| path.value == "/*");
            every_path
                && route.host.is_none()
                && route.method.is_none()
                && [&route.header, &route.query, &route.cookie]
                    .into_iter()
                    .all(|rules| rules.as_ref().is_none_or(|rules| rules.value.is_empty()))
        });
        let (Some(all), Some(next)) = (all, routes.next()) else {
            continue;
        };
        let (line, _) = out.position(all.span.start);
        let message =
            format!("this route is never reached: the one in line {line} matches everything");
        let help = "the first match wins: put the route without conditions last";
        out.push(
            Diagnostic::new(
                Code::UnreachableRoute,
                next.span.clone(),
                message,
                "never reached",
            )
            .help(help),
        );
    }
}
