//! Lints for zones, limits and queues.

use super::subject::LintSubject;
use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::file::ConfigFile;

/// Zones of servers that nothing is compared with.
pub(super) fn zone_unknown(file: &ConfigFile, out: &mut Diagnostics) {
    if file.zone.is_some() {
        return;
    }
    let services = file.service.iter().flat_map(|map| &map.value);
    let servers = services.flat_map(|(_, service)| service.value.servers.iter());
    let zones = servers
        .flat_map(|list| &list.value)
        .filter_map(|server| server.value.zone.as_ref());
    for zone in zones {
        let message = "servers have zones, and evenkeel does not know its own";
        let help = "set it at the top of the file: zone = \"…\"";
        let diagnostic = Diagnostic::new(
            Code::ZoneUnknown,
            zone.span.clone(),
            message,
            "has no effect",
        );
        out.push(diagnostic.help(help));
    }
}

/// A queue without effect.
pub(super) fn queue_without_bound(subject: &LintSubject<'_>, out: &mut Diagnostics) {
    let limit = subject.typed.limit.as_ref();
    let Some(queue) = limit.and_then(|limit| limit.queue.as_ref()) else {
        return;
    };
    if subject
        .plan
        .servers
        .iter()
        .any(|server| server.max_requests > 0)
    {
        return;
    }
    let message = "the queue has no effect: no server has a concurrency limit";
    let help = "set `limit.concurrency`, or `max_requests` of servers";
    let diagnostic = Diagnostic::new(
        Code::QueueWithoutBound,
        queue.key.clone(),
        message,
        "has no effect",
    );
    out.push(diagnostic.help(help));
}

/// Options for limits without a limit, or without an adaptive one.
pub(super) fn limit_without_effect(subject: &LintSubject<'_>, out: &mut Diagnostics) {
    let Some(limit) = &subject.typed.limit else {
        return;
    };
    let limit = &limit.value;
    let is_found = subject.plan.limit.adaptive.is_some();
    if let Some(adaptive) = limit.adaptive.as_ref().filter(|_| !is_found) {
        let message = "without `concurrency = \"adaptive\"`, these options have no effect";
        let help = "set `concurrency = \"adaptive\"`, or leave `adaptive` out";
        out.push(without_effect(adaptive.key.clone(), message, help));
    }
    let has_bounds = (subject.plan.servers.iter()).any(|server| server.max_requests > 0);
    if let Some(shares) = limit.shares.as_ref().filter(|_| !has_bounds) {
        let message = "no server has a concurrency limit, so shares have no effect";
        let help = "set `limit.concurrency`, or `max_requests` of servers";
        out.push(without_effect(shares.key.clone(), message, help));
    }
}

fn without_effect(span: std::ops::Range<usize>, message: &str, help: &str) -> Diagnostic {
    Diagnostic::new(Code::LimitWithoutEffect, span, message, "has no effect").help(help)
}
