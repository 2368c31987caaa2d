//! Resolves the servers of a service: listed ones, those that evenkeel runs, and slots for those from DNS.

use std::net::{Ipv4Addr, SocketAddr};

use super::discover::{follow, resolve_address, resolve_discover};
use super::environment::Environment;
use super::limit::resolve_bound;
use super::typed::{pick, pick_whole, section};
use crate::defaults;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, TextRange};
use crate::file::recover::placeholders;
use crate::file::service::{ManagedByConfig, RunConfig, ServerConfig, ServiceConfig};
use crate::file::value::{bad_name, is_name};
use crate::file::{Address, Located};
use crate::plan::{ChildPlan, DiscoverPlan, ManagedPlan, RollBackPlan, ServerPlan};

/// The servers of `service`, each with its place, and which of them come from DNS.
pub(crate) fn resolve_servers(
    name: &str,
    service: &ServiceConfig,
    zone: Option<&str>,
    around: &Environment<'_>,
    out: &mut Diagnostics,
) -> (Vec<(ServerPlan, TextRange)>, Vec<DiscoverPlan>) {
    let (mut servers, mut groups) = (Vec::new(), Vec::new());
    let place = |servers: &[_]| u32::try_from(servers.len()).unwrap_or(u32::MAX);
    for typed in service.servers.iter().flat_map(|list| &list.value) {
        let Some(server) = resolve_server(service, typed, zone, around, out) else {
            continue;
        };
        if let Some(Address::Name(host, port)) = typed.address.as_ref().map(|at| &at.value) {
            groups.push(follow(host, *port, &server, place(&servers)));
        }
        servers.push((server, typed.span.clone()));
    }
    if let Some(run) = &service.run {
        let bound = resolve_bound(service, None);
        servers.extend(resolve_run(name, run, (bound, zone.is_some()), around, out));
    }
    if let Some(typed) = &service.discover
        && let Some((plan, slots)) =
            resolve_discover(typed, (place(&servers), resolve_bound(service, None)), out)
    {
        groups.push(plan);
        servers.extend(slots);
    }
    (servers, groups)
}

fn resolve_server(
    service: &ServiceConfig,
    typed: &Located<ServerConfig>,
    zone: Option<&str>,
    around: &Environment<'_>,
    out: &mut Diagnostics,
) -> Option<ServerPlan> {
    let address = typed.address.as_ref()?;
    let name = match &typed.name {
        Some(name) => {
            if !is_name(name) {
                out.push(bad_name(name, name.span.clone()));
            }
            name.value.clone()
        }
        None => address.server_name(),
    };
    let managed = typed
        .managed_by
        .as_ref()
        .map_or(ManagedPlan::Nothing, |managed| {
            resolve_managed(managed, out)
        });
    Some(ServerPlan {
        index: 0, // its place, which is known when all are
        name,
        address: resolve_address(address, around, out),
        weight: pick_whole(typed.weight.as_ref(), defaults::SERVER_WEIGHT),
        tier: pick(typed.tier.as_ref(), defaults::SERVER_TIER).0,
        near: zone.is_some_and(|zone| typed.zone.as_ref().is_some_and(|own| own.value == zone)),
        max_requests: resolve_bound(service, typed.max_requests.as_ref()),
        managed,
    })
}

fn resolve_managed(typed: &Located<ManagedByConfig>, out: &mut Diagnostics) -> ManagedPlan {
    let exec = section(typed.exec.as_ref());
    if typed.exec.is_some() && exec.restart.is_none() && exec.stop.is_none() {
        let diagnostic = Diagnostic::new(
            Code::Missing,
            typed.span.clone(),
            "neither `restart` nor `stop` is given",
            "no command",
        );
        out.push(diagnostic.help("{ exec = { restart = [\"./restart.sh\", \"{server}\"] } }"));
    }
    let mut command = |typed: Option<Located<Vec<Located<String>>>>| -> Option<Vec<String>> {
        let arguments = typed?.value;
        for argument in &arguments {
            placeholders(
                argument,
                &argument.span,
                &["service", "server", "address"],
                out,
            );
        }
        Some(
            arguments
                .into_iter()
                .map(|argument| argument.value)
                .collect(),
        )
    };
    let (restart, stop) = (command(exec.restart), command(exec.stop));
    if restart.is_none() && stop.is_none() {
        return ManagedPlan::Nothing;
    }
    ManagedPlan::Commands { restart, stop }
}

/// How the service rolls back. A copy is kept if it is to be started, or if the command uses it.
fn resolve_roll_back(
    service: &str,
    run: &Located<RunConfig>,
    around: &Environment<'_>,
    out: &mut Diagnostics,
) -> Option<RollBackPlan> {
    let keeps = pick(run.keep_previous.as_ref(), defaults::KEEP_PREVIOUS);
    let words = run.roll_back.as_ref().map(|command| &command.value);
    let known = ["service", "server", "address", "previous"];
    for word in words.into_iter().flatten() {
        placeholders(word, &word.span, &known, out);
    }
    let command: Option<Vec<String>> =
        words.map(|words| words.iter().map(|word| word.value.clone()).collect());
    let asks = command
        .iter()
        .flatten()
        .any(|word| word.contains("{previous}"));
    let folder = around.state_dir.join("previous").join(service);
    let folder = std::path::absolute(&folder).unwrap_or(folder);
    let keep_in = (keeps || asks).then_some(folder);
    (command.is_some() || keeps).then_some(RollBackPlan { command, keep_in })
}

fn resolve_run(
    service: &str,
    run: &Located<RunConfig>,
    (bound, near): (u32, bool),
    around: &Environment<'_>,
    out: &mut Diagnostics,
) -> Vec<(ServerPlan, TextRange)> {
    let known = ["port", "name"];
    let command: &[Located<String>] = run.command.as_ref().map_or(&[], |command| &command.value);
    let environment = section(run.environment.as_ref());
    for argument in command {
        placeholders(argument, &argument.span, &known, out);
    }
    for (name, value) in &environment {
        placeholders(value, &value.span, &known, out);
        if name.is_empty() || name.contains('=') || name.contains('\0') {
            let message = format!("`{}` cannot be the name of a variable", name.escape_debug());
            out.push(Diagnostic::new(
                Code::BadName,
                name.span.clone(),
                message,
                "not a name",
            ));
        }
    }
    let stop = section(run.stop.as_ref());
    let roll_back = resolve_roll_back(service, run, around, out);
    let ports = run.ports.iter().flat_map(|ports| &ports.value);
    ports
        .enumerate()
        .filter_map(|(index, port)| {
            let number = u16::try_from(port.value).ok()?;
            let name = format!("{service}-{}", index + 1);
            let filled = |text: &str| {
                text.replace("{port}", &number.to_string())
                    .replace("{name}", &name)
            };
            let child = ChildPlan {
                command: command.iter().map(|argument| filled(argument)).collect(),
                directory: run
                    .directory
                    .as_ref()
                    .map(|directory| around.base_dir.join(&directory.value)),
                environment: environment
                    .iter()
                    .map(|(name, value)| (name.value.clone(), filled(value)))
                    .collect(),
                stop_signal: pick(stop.signal.as_ref(), defaults::STOP_SIGNAL).number(),
                stop_wait: pick(stop.wait.as_ref(), defaults::STOP_WAIT),
                roll_back: roll_back.clone(),
            };
            let server = ServerPlan {
                index: 0,
                name: name.clone(),
                address: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, number))),
                weight: defaults::SERVER_WEIGHT.value,
                tier: 0,
                near,
                max_requests: bound,
                managed: ManagedPlan::Child(Box::new(child)),
            };
            Some((server, port.span.clone()))
        })
        .collect()
}
