//! Connections are neither accepted nor refused: they time out, or the network reports that there is no route.

use evenkeel_core::ProbeOutcome;

use crate::diagnose::Evidence;
use crate::diagnose::evidence::finding;
use crate::incident::Finding;
use crate::kind::FaultKind;

pub(super) fn judge(evidence: &Evidence<'_>) -> Option<Finding> {
    if evidence.is_down() || evidence.facts.probe_red_traffic_green(evidence.now) {
        return None;
    }
    let failures = evidence.failures();
    let before = failures.unreachable > 0 && failures.mostly(failures.unreachable)
        || matches!(
            evidence.facts.probes.last,
            Some(ProbeOutcome::ConnectTimeout | ProbeOutcome::Unreachable)
        );
    let confidence = match evidence.tcp().map(|(outcome, _)| outcome) {
        Some(ProbeOutcome::Unreachable) => 0.95,
        Some(ProbeOutcome::ConnectTimeout) if evidence.queues_connections() == Some(false) => 0.9,
        Some(ProbeOutcome::ConnectTimeout) if evidence.living().is_some() => 0.5,
        Some(ProbeOutcome::ConnectTimeout) => 0.85,
        None if before => 0.6,
        _ => return None,
    };
    let mut words = evidence.examined();
    if evidence.queues_connections() == Some(false) {
        words.push("no connection waits to be accepted: connections do not arrive".to_owned());
    }
    words.extend(evidence.attempts_in_words());
    finding(FaultKind::Unreachable, confidence, words)
}
