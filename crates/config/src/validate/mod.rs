//! Errors between values: missing entries, duplicates, contradictions. After this step a plan without errors can be
//! executed as it is.

mod fallback;
mod mirror;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use evenkeel_fault::self_check::SELF;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Severity, TextRange};
use crate::file::ConfigFile;
use crate::plan::ServerPlan;
use crate::resolve::{Draft, is_dns};

/// Puts what is wrong with `draft` into `out`.
pub(crate) fn validate(file: &ConfigFile, draft: &Draft, out: &mut Diagnostics) {
    something_to_do(file, out);
    listeners_lead_somewhere(file, out);
    services_have_servers(file, out);
    services_are_not_ourselves(file, out);
    servers_are_unique(file, draft, out);
    addresses_are_free(file, draft, out);
    playbooks_are_unique(file, out);
    mirror::mirrors_end_somewhere(file, out);
    fallback::fallbacks_end(file, out);
}

fn something_to_do(file: &ConfigFile, out: &mut Diagnostics) {
    let end = out.text().len();
    if file.listen.as_ref().is_none_or(|map| map.value.is_empty()) {
        let span = file
            .listen
            .as_ref()
            .map_or(end..end, |map| map.span.clone());
        let diagnostic = Diagnostic::new(
            Code::Missing,
            span,
            "there is no listener",
            "nothing would be listened on",
        );
        out.push(diagnostic.help("[listen.web]\naddress = \"127.0.0.1:8080\"\nservice = \"shop\""));
    }
    if file.service.as_ref().is_none_or(|map| map.value.is_empty()) {
        let span = file
            .service
            .as_ref()
            .map_or(end..end, |map| map.span.clone());
        let diagnostic = Diagnostic::new(
            Code::Missing,
            span,
            "there is no service",
            "nothing would answer",
        );
        out.push(
            diagnostic.help("[service.shop]\nservers = [\"127.0.0.1:9001\", \"127.0.0.1:9002\"]"),
        );
    }
}

fn listeners_lead_somewhere(file: &ConfigFile, out: &mut Diagnostics) {
    let all = file.listen.iter().flat_map(|map| &map.value);
    for (name, listen) in all.filter(|(_, listen)| !is_dns(listen)) {
        if listen.service.is_none()
            && listen
                .routes
                .as_ref()
                .is_none_or(|routes| routes.value.is_empty())
        {
            let message = format!(
                "the listener `{}` has neither a service nor routes",
                name.escape_debug()
            );
            let diagnostic =
                Diagnostic::new(Code::Missing, name.span.clone(), message, "leads nowhere");
            let first = file
                .service
                .as_ref()
                .and_then(|map| map.value.first())
                .map_or("shop", |(name, _)| name.as_str());
            out.push(diagnostic.help(format!("service = \"{first}\"")));
        }
    }
}

fn services_have_servers(file: &ConfigFile, out: &mut Diagnostics) {
    for (name, service) in file.service.iter().flat_map(|map| &map.value) {
        let listed = service
            .servers
            .as_ref()
            .is_some_and(|list| !list.value.is_empty());
        // A list whose every item was refused has been reported already.
        let inside =
            |span: &TextRange, list: &TextRange| list.start <= span.start && span.end <= list.end;
        let refused = service.servers.as_ref().is_some_and(|list| {
            out.list().iter().any(|diagnostic| {
                diagnostic.severity() == Severity::Error && inside(&diagnostic.span, &list.span)
            })
        });
        if !listed && !refused && service.run.is_none() && service.discover.is_none() {
            let message = format!("the service `{}` has no servers", name.escape_debug());
            let diagnostic = Diagnostic::new(
                Code::Missing,
                name.span.clone(),
                message,
                "nothing would answer",
            );
            out.push(diagnostic.help("servers = [\"127.0.0.1:9001\", \"127.0.0.1:9002\"], a [service.NAME.run] section, or discover = { dns = \"shop.internal:8080\" }"));
        }
    }
}

/// Incidents of evenkeel's own are those of a service with its name.
fn services_are_not_ourselves(file: &ConfigFile, out: &mut Diagnostics) {
    let names = file.service.iter().flat_map(|map| &map.value);
    for (name, _) in names.filter(|(name, _)| name.value == SELF) {
        let message =
            format!("a service cannot be called `{SELF}`: incidents of evenkeel itself are");
        let diagnostic = Diagnostic::new(Code::BadName, name.span.clone(), message, "taken");
        out.push(diagnostic.help("any other name"));
    }
}

fn servers_are_unique(file: &ConfigFile, draft: &Draft, out: &mut Diagnostics) {
    for (service, spans) in draft.plan.services.iter().zip(&draft.server_spans) {
        let mut addresses: BTreeMap<SocketAddr, (&ServerPlan, &TextRange)> = BTreeMap::new();
        let mut names: BTreeMap<&str, &TextRange> = BTreeMap::new();
        for (server, span) in service.servers.iter().zip(spans) {
            let twin = server
                .address
                .and_then(|address| addresses.get(&address).copied());
            let namesake = names.get(server.name.as_str()).copied();
            if let Some(address) = server.address
                && let Some((twin, place)) = twin
            {
                let (line, _) = out.position(place.start);
                let message = format!(
                    "{address} is already the server `{}` of `{}` (line {line})",
                    twin.name, service.name
                );
                let diagnostic = Diagnostic::new(
                    Code::Duplicate,
                    span.clone(),
                    message,
                    "the same address again",
                );
                out.push(
                    diagnostic.help(
                        "remove one of them; to send a server more traffic, raise its `weight`",
                    ),
                );
            } else if let Some(place) = namesake {
                let (line, _) = out.position(place.start);
                let message = format!(
                    "two servers of `{}` are named `{}` (the other one in line {line})",
                    service.name, server.name
                );
                let diagnostic = Diagnostic::new(
                    Code::Duplicate,
                    span.clone(),
                    message,
                    "the same name again",
                );
                out.push(diagnostic.help("rename one of them: { name = \"…\", address = \"…\" }"));
            }
            if let Some(address) = server.address {
                addresses.entry(address).or_insert((server, span));
            }
            names.entry(&server.name).or_insert(span);
        }
    }
    processes_have_their_port(file, draft, out);
}

/// Two processes that evenkeel starts cannot listen on the same port, also if they belong to different services.
fn processes_have_their_port(file: &ConfigFile, _draft: &Draft, out: &mut Diagnostics) {
    let mut seen: Vec<(u64, TextRange, &str)> = Vec::new();
    for (name, service) in file.service.iter().flat_map(|map| &map.value) {
        let ports = service
            .run
            .iter()
            .flat_map(|run| &run.ports)
            .flat_map(|ports| &ports.value);
        for port in ports {
            let twin = seen
                .iter()
                .find(|(number, _, owner)| *number == port.value && *owner != name.as_str());
            if let Some((_, place, owner)) = twin {
                let (line, _) = out.position(place.start);
                let message = format!(
                    "port {} is already run by the service `{owner}` (line {line})",
                    port.value
                );
                out.push(Diagnostic::new(
                    Code::Duplicate,
                    port.span.clone(),
                    message,
                    "the same port again",
                ));
            }
            seen.push((port.value, port.span.clone(), name));
        }
    }
}

fn addresses_are_free(file: &ConfigFile, draft: &Draft, out: &mut Diagnostics) {
    let mut taken: Vec<(SocketAddr, String)> = Vec::new();
    let admin = file.admin.as_ref().and_then(|admin| admin.address.as_ref());
    for (name, listen) in file.listen.iter().flat_map(|map| &map.value) {
        let Some(address) = &listen.address else {
            continue;
        };
        let what = format!("the listener `{}`", name.value);
        one_owner(address.value, &what, &address.span, &taken, out);
        taken.push((address.value, what));
        calls_itself(address.value, &address.span, name, draft, out);
    }
    let address = draft.plan.admin.address;
    match admin {
        Some(typed) => one_owner(address, "the admin address", &typed.span, &taken, out),
        None => {
            // The default meets a listener: the listener is what the user can see.
            for (_, listen) in file.listen.iter().flat_map(|map| &map.value) {
                if let Some(typed) = listen
                    .address
                    .as_ref()
                    .filter(|typed| overlap(typed.value, address))
                {
                    let message = format!("{} is the default address of [admin]", typed.value);
                    let diagnostic = Diagnostic::new(
                        Code::Duplicate,
                        typed.span.clone(),
                        message,
                        "the same address again",
                    );
                    out.push(diagnostic.help("take another port, or give [admin] another address"));
                }
            }
        }
    }
}

fn one_owner(
    address: SocketAddr,
    what: &str,
    span: &TextRange,
    taken: &[(SocketAddr, String)],
    out: &mut Diagnostics,
) {
    if let Some((other, owner)) = taken.iter().find(|(other, _)| overlap(*other, address)) {
        let message = format!("{what} cannot have {address}: {owner} listens on {other}");
        out.push(
            Diagnostic::new(Code::Duplicate, span.clone(), message, "taken")
                .help("take another port"),
        );
    }
}

fn calls_itself(
    address: SocketAddr,
    span: &TextRange,
    listener: &str,
    draft: &Draft,
    out: &mut Diagnostics,
) {
    for service in &draft.plan.services {
        let own = |server: SocketAddr| {
            address.port() != 0
                && server.port() == address.port()
                && (server.ip() == address.ip()
                    || (address.ip().is_unspecified() && server.ip().is_loopback()))
        };
        if let Some(server) = service
            .servers
            .iter()
            .find(|server| server.address.is_some_and(own))
        {
            let message = format!(
                "the listener `{listener}` has the address of the server `{}` of `{}`",
                server.name, service.name
            );
            let diagnostic = Diagnostic::new(
                Code::Contradiction,
                span.clone(),
                message,
                "evenkeel would connect to itself",
            );
            out.push(diagnostic.help(
                "the listener takes the address that clients use, the server gets another port",
            ));
        }
    }
}

/// Whether both cannot be listened on at the same time. Port 0 is always free.
fn overlap(left: SocketAddr, right: SocketAddr) -> bool {
    let any = |ip: IpAddr| ip.is_unspecified();
    left.port() != 0
        && left.port() == right.port()
        && (left.ip() == right.ip()
            || ((any(left.ip()) || any(right.ip())) && left.is_ipv4() == right.is_ipv4()))
}

fn playbooks_are_unique(file: &ConfigFile, out: &mut Diagnostics) {
    for (_, service) in file.service.iter().flat_map(|map| &map.value) {
        let playbooks = service
            .recover
            .iter()
            .flat_map(|recover| &recover.playbook)
            .flat_map(|list| &list.value);
        let faults: Vec<_> = playbooks
            .flat_map(|playbook| &playbook.when)
            .flat_map(|list| &list.value)
            .collect();
        for (index, fault) in faults.iter().enumerate() {
            if let Some(twin) = faults[..index]
                .iter()
                .find(|twin| twin.value == fault.value)
            {
                let (line, _) = out.position(twin.span.start);
                let message = format!(
                    "`{}` has a playbook already (line {line})",
                    fault.value.word()
                );
                let diagnostic = Diagnostic::new(
                    Code::Duplicate,
                    fault.span.clone(),
                    message,
                    "would never be used",
                );
                out.push(diagnostic.help("put all its actions into one playbook"));
            }
        }
    }
}
