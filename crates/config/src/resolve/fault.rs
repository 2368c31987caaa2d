//! Resolves a service's options for the fault path: detection, diagnosis, recovery, objective.

use evenkeel_core::ServiceId;
use evenkeel_fault::policy::{
    ActionLimit, DetectOptions, FaultOptions, Objective, Playbook, ProbeKind, ProbeOptions,
    RatioOptions, RecoverOptions, RestartBackoff, SlowServerOptions, VerifyOptions,
};
use evenkeel_request::route::HostRule;

use super::typed::{check_cap, pick, pick_whole, section};
use crate::defaults;
use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::file::Located;
use crate::file::detect::{DetectConfig, ProbeConfig};
use crate::file::recover::RecoverConfig;
use crate::file::service::ServiceConfig;
use crate::file::value::OrDisabled;
use crate::plan::{ListenerPlan, ServicePlan};

/// The options of `service`.
pub(crate) fn resolve_fault(service: &ServiceConfig, out: &mut Diagnostics) -> FaultOptions {
    let diagnose = section(service.diagnose.as_ref());
    let objective = service.objective.as_ref().map(|objective| Objective {
        availability: objective.availability.as_ref().map_or(0.0, |at| at.value),
        latency: objective.latency.as_ref().and_then(|latency| {
            Some((
                latency.quantile.as_ref()?.value,
                latency.under.as_ref()?.value,
            ))
        }),
        window: pick(objective.window.as_ref(), defaults::OBJECTIVE_WINDOW),
    });
    FaultOptions {
        detect: resolve_detect(
            &section(service.detect.as_ref()),
            mixes_differ(service),
            out,
        ),
        diagnose_timeout: pick(diagnose.timeout.as_ref(), defaults::DIAGNOSE_TIMEOUT),
        recover: resolve_recover(&section(service.recover.as_ref()), out),
        objective,
    }
}

/// Whether each server gets requests of its own: those of a key, or of clients that stay.
fn mixes_differ(service: &ServiceConfig) -> bool {
    let balance = section(service.balance.as_ref());
    let policy = pick(balance.policy.as_ref(), defaults::POLICY);
    policy.hashes() || balance.sticky.is_some()
}

fn resolve_detect(
    typed: &DetectConfig,
    mixes_differ: bool,
    out: &mut Diagnostics,
) -> DetectOptions {
    let ratio = switched(typed.failure_ratio.as_ref()).map(|ratio| RatioOptions {
        above: pick(ratio.above.as_ref(), defaults::RATIO_ABOVE),
        window: pick(ratio.window.as_ref(), defaults::RATIO_WINDOW),
        minimum_attempts: pick_whole(ratio.minimum_attempts.as_ref(), defaults::RATIO_MINIMUM),
    });
    let slow = switched(typed.slow.as_ref()).map(|slow| SlowServerOptions {
        times_peers: pick(slow.times_peers.as_ref(), defaults::SLOW_TIMES_PEERS),
        window: pick(slow.window.as_ref(), defaults::SLOW_WINDOW),
        minimum_attempts: pick_whole(slow.minimum_attempts.as_ref(), defaults::SLOW_MINIMUM),
        mixes_differ,
    });
    DetectOptions {
        probe: resolve_probe(typed.probe.as_ref(), out),
        consecutive_failures: pick_whole(
            typed.consecutive_failures.as_ref(),
            defaults::CONSECUTIVE_FAILURES,
        ),
        failure_ratio: ratio,
        slow,
    }
}

/// The table of a detector that is not turned off.
fn switched<T: Clone + Default>(at: Option<&Located<OrDisabled<T>>>) -> Option<T> {
    match at.map(|at| &at.value) {
        None => Some(T::default()),
        Some(OrDisabled::On(table)) => Some(table.clone()),
        Some(OrDisabled::Off) => None,
    }
}

fn resolve_probe(at: Option<&Located<ProbeConfig>>, out: &mut Diagnostics) -> ProbeOptions {
    let typed = section(at);
    ProbeOptions {
        kind: resolve_probe_kind(&typed, at, out),
        every: pick(typed.every.as_ref(), defaults::PROBE_EVERY),
        timeout: pick(typed.timeout.as_ref(), defaults::PROBE_TIMEOUT),
        fall: pick_whole(typed.fall.as_ref(), defaults::PROBE_FALL),
        rise: pick_whole(typed.rise.as_ref(), defaults::PROBE_RISE),
        fast: pick(typed.fast.as_ref(), defaults::PROBE_FAST),
    }
}

fn resolve_probe_kind(
    typed: &ProbeConfig,
    at: Option<&Located<ProbeConfig>>,
    out: &mut Diagnostics,
) -> ProbeKind {
    let Some(http) = &typed.http else {
        check_tcp_probe(typed, at, out);
        return ProbeKind::Tcp;
    };
    if let Some(tcp) = typed.tcp.as_ref().filter(|tcp| tcp.value) {
        let message = "a probe is either `tcp` or `http`";
        let diagnostic = Diagnostic::new(
            Code::Contradiction,
            tcp.key.clone(),
            message,
            "and `http` is there too",
        );
        out.push(diagnostic.help("an HTTP probe connects anyway: remove `tcp`"));
    }
    let visible = |text: &str| text.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    if !http.starts_with('/') || !visible(http) {
        let message = format!("\"{}\" is not a path", http.escape_debug());
        let diagnostic = Diagnostic::new(Code::BadRule, http.span.clone(), message, "not a path");
        out.push(diagnostic.help("a path begins with a slash: \"/health\""));
    }
    if let Some(host) = typed.host.as_ref().filter(|host| !visible(host)) {
        let message = format!("\"{}\" cannot be a Host header", host.escape_debug());
        out.push(Diagnostic::new(
            Code::BadRule,
            host.span.clone(),
            message,
            "not a host",
        ));
    }
    ProbeKind::Http {
        path: http.value.clone(),
        host: typed.host.as_ref().map(|host| host.value.clone()),
        expect: resolve_expect(typed.expect.as_ref(), out),
    }
}

/// The `Host` of HTTP probes that name none, and of load probes: the first one that a route to the service names literally.
/// Applications that check the host refuse an address.
pub(crate) fn fill_probe_hosts(services: &mut [ServicePlan], listeners: &[ListenerPlan]) {
    for (service, id) in services.iter_mut().zip((0..).map(ServiceId)) {
        let mut name = routed_host(listeners, id);
        if let ProbeKind::Http { host, .. } = &mut service.fault.detect.probe.kind {
            if host.is_none() {
                host.clone_from(&name);
            }
            name.clone_from(host);
        }
        if let (Some(ask), Some(name)) = (&mut service.ask, name) {
            ask.host = name;
        }
    }
}

fn routed_host(listeners: &[ListenerPlan], service: ServiceId) -> Option<String> {
    let routes = listeners.iter().flat_map(|listener| &listener.routes);
    routes
        .filter(|route| route.target.services().any(|to| to == service))
        .find_map(|route| match &route.host {
            Some(HostRule::Exact(name)) => Some(name.clone()),
            Some(HostRule::Ipv6(address)) => Some(format!("[{address}]")),
            Some(HostRule::Suffix(_)) | None => None,
        })
}

/// A TCP probe has nothing of an HTTP probe.
fn check_tcp_probe(typed: &ProbeConfig, at: Option<&Located<ProbeConfig>>, out: &mut Diagnostics) {
    for (key, name) in [
        (typed.expect.as_ref(), "expect"),
        (typed.host.as_ref(), "host"),
    ] {
        if let Some(key) = key {
            let message = format!("`{name}` belongs to an HTTP probe");
            let diagnostic = Diagnostic::new(
                Code::Contradiction,
                key.key.clone(),
                message,
                "but there is no `http`",
            );
            out.push(diagnostic.help("add `http = \"/health\"`"));
        }
    }
    if let (Some(at), Some(false)) = (at, typed.tcp.as_ref().map(|tcp| tcp.value)) {
        let message = "the probe has neither `tcp` nor `http`";
        let diagnostic = Diagnostic::new(Code::Missing, at.span.clone(), message, "probes nothing");
        out.push(diagnostic.help("add `http = \"/health\"`, or `tcp = true`"));
    }
}

fn resolve_expect(typed: Option<&Located<String>>, out: &mut Diagnostics) -> (u16, u16) {
    let text = typed.map_or(defaults::PROBE_EXPECT.value, |expect| expect.as_str());
    parse_expect(text).unwrap_or_else(|| {
        let span = typed.map_or(0..0, |expect| expect.span.clone());
        let message = "expected statuses like \"200\" or \"200-399\"";
        let diagnostic = Diagnostic::new(Code::OutOfRange, span, message, "not statuses");
        out.push(diagnostic.help("from 100 to 599, the lower one first"));
        (100, 599)
    })
}

fn parse_expect(text: &str) -> Option<(u16, u16)> {
    let status = |text: &str| -> Option<u16> {
        let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse()
            .ok()
            .filter(|status| digits && (100..=599).contains(status))
    };
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let range = (status(low.trim())?, status(high.trim())?);
    (range.0 <= range.1).then_some(range)
}

fn resolve_recover(typed: &RecoverConfig, out: &mut Diagnostics) -> RecoverOptions {
    let limit = section(typed.limit.as_ref());
    let verify = section(typed.verify.as_ref());
    let backoff = section(typed.backoff.as_ref());
    let waits = RestartBackoff {
        base: pick(backoff.base.as_ref(), defaults::RESTART_BACKOFF_BASE),
        cap: pick(backoff.cap.as_ref(), defaults::RESTART_BACKOFF_CAP),
        reset_after: pick(backoff.reset_after.as_ref(), defaults::RESTART_RESET_AFTER),
    };
    check_cap((waits.base, waits.cap), backoff.base.or(backoff.cap), out);
    RecoverOptions {
        mode: pick(typed.mode.as_ref(), defaults::MODE),
        keep_serving: pick(typed.keep_serving.as_ref(), defaults::KEEP_SERVING),
        at_once: pick_whole(typed.at_once.as_ref(), defaults::AT_ONCE),
        hang_wait: pick(typed.hang_wait.as_ref(), defaults::HANG_WAIT),
        limit: ActionLimit {
            actions: pick_whole(limit.actions.as_ref(), defaults::LIMIT_ACTIONS),
            within: pick(limit.within.as_ref(), defaults::LIMIT_WITHIN),
        },
        backoff: waits,
        verify: VerifyOptions {
            probes: pick_whole(verify.probes.as_ref(), defaults::VERIFY_PROBES),
            every: pick(verify.every.as_ref(), defaults::VERIFY_EVERY),
            within: pick(verify.within.as_ref(), defaults::VERIFY_WITHIN),
        },
        playbooks: resolve_playbooks(typed),
    }
}

fn resolve_playbooks(typed: &RecoverConfig) -> Vec<Playbook> {
    let playbooks = typed.playbook.iter().flat_map(|list| &list.value);
    playbooks
        .map(|playbook| Playbook {
            when: playbook
                .when
                .iter()
                .flat_map(|list| &list.value)
                .map(|at| at.value)
                .collect(),
            actions: playbook
                .actions
                .iter()
                .flat_map(|list| &list.value)
                .map(|at| at.value.clone())
                .collect(),
        })
        .collect()
}
