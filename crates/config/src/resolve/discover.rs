//! Resolves discovery: the slots of a service whose servers come from DNS, and the queries that fill them.

use std::net::SocketAddr;

use super::environment::Environment;
use super::typed::{pick, pick_whole, section};
use crate::defaults;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, TextRange};
use crate::file::discover::DiscoverConfig;
use crate::file::{Address, Located};
use crate::plan::{DiscoverPlan, ManagedPlan, ServerPlan};

/// The slots of `typed`, whose first one is server number `first`.
pub(super) fn resolve_discover(
    typed: &Located<DiscoverConfig>,
    (first, bound): (u32, u32),
    out: &mut Diagnostics,
) -> Option<(DiscoverPlan, Vec<(ServerPlan, TextRange)>)> {
    let every = section(typed.every.as_ref());
    let (least, most) = (
        pick(every.least.as_ref(), defaults::DISCOVER_LEAST),
        pick(every.most.as_ref(), defaults::DISCOVER_MOST),
    );
    if least > most {
        let span = every
            .least
            .or(every.most)
            .map_or(typed.span.clone(), |at| at.span);
        let message = "`every.least` is longer than `every.most`";
        out.push(Diagnostic::new(
            Code::Contradiction,
            span,
            message,
            "cannot both hold",
        ));
    }
    let dns = typed.dns.as_ref()?;
    let resolver = typed.resolver.iter().flat_map(|list| &list.value);
    let slots = pick_whole(typed.slots.as_ref(), defaults::DISCOVER_SLOTS);
    let plan = DiscoverPlan {
        name: dns.0.clone(),
        port: dns.1,
        label: "dns".to_owned(),
        servers: (first..first.saturating_add(slots)).collect(),
        resolver: resolver.map(|address| address.value).collect(),
        family: pick(typed.family.as_ref(), defaults::DISCOVER_FAMILY),
        least,
        most: most.max(least),
        hold: pick(typed.hold.as_ref(), defaults::DISCOVER_HOLD),
        fixed: None,
    };
    let slots = (0..slots).map(|slot| {
        let server = ServerPlan {
            index: 0, // its place, which is known when all are
            name: plan.slot_name(slot),
            address: None,
            weight: defaults::SERVER_WEIGHT.value,
            tier: 0,
            near: false,
            max_requests: bound,
            managed: ManagedPlan::Nothing,
        };
        (server, dns.span.clone())
    });
    let slots = slots.collect();
    Some((plan, slots))
}

/// The query with which a listed server follows the first address of its name.
pub(super) fn follow(host: &str, port: u16, server: &ServerPlan, place: u32) -> DiscoverPlan {
    DiscoverPlan {
        name: host.to_owned(),
        port: Some(port),
        label: server.name.clone(),
        servers: vec![place],
        resolver: Vec::new(),
        family: defaults::DISCOVER_FAMILY.value,
        least: defaults::DISCOVER_LEAST.value,
        most: defaults::DISCOVER_MOST.value,
        hold: defaults::DISCOVER_HOLD.value,
        fixed: Some((server.weight, server.tier)),
    }
}

/// The address of a listed server; nothing if its name does not resolve now.
pub(super) fn resolve_address(
    typed: &Located<Address>,
    around: &Environment<'_>,
    out: &mut Diagnostics,
) -> Option<SocketAddr> {
    let (host, port) = match &typed.value {
        Address::Ip(address) => return Some(*address),
        Address::Name(host, port) => (host, port),
    };
    let found = (around.resolver)(&format!("{host}:{port}"));
    let reason = match found.as_deref() {
        Ok([only]) => return Some(*only),
        Ok([first, ..]) => {
            let number = found.as_ref().map_or(0, Vec::len);
            let message = format!("the name `{host}` has {number} addresses; {first} is used");
            let (code, label) = (Code::SeveralAddresses, "several addresses");
            let diagnostic = Diagnostic::new(code, typed.span.clone(), message, label);
            let help = format!("to use all of them: discover = {{ dns = \"{host}:{port}\" }}");
            out.push(diagnostic.help(help));
            return Some(*first);
        }
        Ok([]) => "it has no address".to_owned(),
        Err(reason) => reason.clone(),
    };
    let message = format!("the name `{host}` does not resolve: {reason}");
    let (code, label) = (Code::Unresolved, "does not resolve");
    let diagnostic = Diagnostic::new(code, typed.span.clone(), message, label);
    out.push(diagnostic.help("the server is down until the name resolves; check the spelling"));
    None
}
