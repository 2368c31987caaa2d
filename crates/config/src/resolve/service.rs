//! Resolves a service's options: typed values, and defaults for the rest.

use evenkeel_balance::{BalanceOptions, next_prime};
use evenkeel_core::ServiceId;
use evenkeel_request::headers::{Side, check_name};
use evenkeel_request::{HashOn, HoldOptions};

use super::ask::resolve_ask;
use super::breaker::resolve_breaker;
use super::environment::Environment;
use super::fault::resolve_fault;
use super::headers::resolve_headers;
use super::limit::resolve_limit;
use super::mirror::resolve_mirror;
use super::policies::service_policies;
use super::server::resolve_servers;
use super::spread::{resolve_sticky, resolve_subset};
use super::typed::{pick, pick_whole, section};
use crate::defaults;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, TextRange};
use crate::file::service::{BalanceConfig, HoldRequestsConfig};
use crate::file::{ConfigFile, Located};
use crate::plan::{ServerPlan, ServicePlan};

/// The services of `file`, and the place of each server.
pub(crate) fn resolve_services(
    file: &ConfigFile,
    around: &Environment<'_>,
    out: &mut Diagnostics,
) -> (Vec<ServicePlan>, Vec<Vec<TextRange>>) {
    let mut services = Vec::new();
    let mut spans = Vec::new();
    for (name, typed) in file.service.iter().flat_map(|map| &map.value) {
        let zone = file.zone.as_ref().map(|zone| zone.value.as_str());
        let (servers, discover) = resolve_servers(name, typed, zone, around, out);
        let (mut servers, server_spans): (Vec<ServerPlan>, Vec<_>) = servers.into_iter().unzip();
        for (index, server) in (0..).zip(&mut servers) {
            server.index = index;
        }
        spans.push(server_spans);
        let policies = service_policies(file, services.len(), typed, out);
        services.push(ServicePlan {
            id: ServiceId(u32::try_from(services.len()).unwrap_or(u32::MAX)),
            name: name.value.clone(),
            servers,
            discover,
            balance: resolve_balance(&section(typed.balance.as_ref()), out),
            hash_on: resolve_hash_on(&section(typed.balance.as_ref())),
            sticky: resolve_sticky(section(typed.balance.as_ref()).sticky.as_ref(), around, out),
            limit: resolve_limit(
                &section(typed.limit.as_ref()),
                policies.timeout.attempt,
                out,
            ),
            hold_requests: typed.hold_requests.as_ref().map(resolve_hold),
            load_header: resolve_load_header(&section(typed.balance.as_ref()), out),
            ask: resolve_ask(&section(typed.balance.as_ref()), out),
            policies,
            breaker: (typed.breaker.as_ref()).map(|breaker| resolve_breaker(&breaker.value)),
            request_headers: resolve_headers(typed.request_headers.as_ref(), Side::Request, out),
            response_headers: resolve_headers(typed.response_headers.as_ref(), Side::Response, out),
            mirror: resolve_mirror(file, typed.mirror.as_ref(), out),
            fault: resolve_fault(typed, out),
        });
    }
    (services, spans)
}

fn resolve_balance(typed: &BalanceConfig, out: &mut Diagnostics) -> BalanceOptions {
    let maglev_table = pick_whole(typed.maglev_table.as_ref(), defaults::MAGLEV_TABLE);
    if let Some(given) = &typed.maglev_table
        && next_prime(maglev_table) != maglev_table
    {
        let message = format!("{maglev_table} is not a prime number");
        let diagnostic =
            Diagnostic::new(Code::OutOfRange, given.span.clone(), message, "not prime");
        let next = next_prime(maglev_table);
        out.push(diagnostic.help(format!("the next one is {next}")));
    }
    if let Some(subset) = &typed.subset
        && pick(typed.policy.as_ref(), defaults::POLICY).hashes()
    {
        let message = "`subset` cannot be combined with a hashing policy";
        let diagnostic = Diagnostic::new(
            Code::Contradiction,
            subset.key.clone(),
            message,
            "not with this policy",
        );
        out.push(diagnostic.help(
            "equal requests would reach different servers on each evenkeel: remove one of the two",
        ));
    }
    BalanceOptions {
        policy: pick(typed.policy.as_ref(), defaults::POLICY),
        panic_below: pick(typed.panic_below.as_ref(), defaults::PANIC_BELOW),
        slow_start: pick(typed.slow_start.as_ref(), defaults::SLOW_START),
        bounded_load: typed.bounded_load.as_ref().map(|factor| factor.value),
        maglev_table,
        overprovisioning: pick(typed.overprovisioning.as_ref(), defaults::OVERPROVISIONING),
        subset: resolve_subset(typed.subset.as_ref()),
    }
}

fn resolve_hold(typed: &Located<HoldRequestsConfig>) -> HoldOptions {
    let typed = &typed.value;
    HoldOptions {
        up_to: pick(typed.up_to.as_ref(), defaults::HOLD_UP_TO),
        requests: pick_whole(typed.requests.as_ref(), defaults::HOLD_REQUESTS),
        bytes: typed
            .bytes
            .as_ref()
            .map_or(defaults::HOLD_BYTES.value.0, |bytes| bytes.value) as u64,
    }
}

fn resolve_hash_on(typed: &BalanceConfig) -> HashOn {
    let typed = typed.hash_on.as_ref().map(|typed| typed.value.clone());
    typed.unwrap_or(defaults::HASH_ON.value)
}

fn resolve_load_header(typed: &BalanceConfig, out: &mut Diagnostics) -> Option<String> {
    let name = typed.load_header.as_ref()?;
    if let Err(why) = check_name(name, Side::Response) {
        let diagnostic = Diagnostic::new(Code::BadRule, name.span.clone(), why, "this field");
        out.push(diagnostic.help("for example \"endpoint-load-metrics\""));
    }
    Some(name.to_lowercase())
}
