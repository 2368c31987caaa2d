//! The process is alive and connections succeed, but nothing is ever answered. The connection distinguishes it from
//! `not-listening`, the missing answer from `slow-server`.

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
    let silent = failures.timeouts > 0 && failures.mostly(failures.timeouts)
        || evidence.facts.probes.last == Some(ProbeOutcome::NoAnswer);
    let alive = evidence.living().is_some();
    let stopped = evidence
        .process()
        .is_some_and(|process| matches!(process.state, Some('T' | 't')));
    let http = evidence.http().map(|(outcome, _)| outcome);
    let confidence = match evidence.tcp().map(|(outcome, _)| outcome) {
        Some(ProbeOutcome::Passed) if http == Some(ProbeOutcome::NoAnswer) && alive => 0.95,
        Some(ProbeOutcome::Passed) if http == Some(ProbeOutcome::NoAnswer) => 0.85,
        Some(ProbeOutcome::Passed) if http.is_none() && silent => 0.7,
        // A process that takes nothing from its full queue of connections looks like this.
        Some(ProbeOutcome::ConnectTimeout) if stopped => 0.9,
        // Nobody waits to be accepted: connections do not get there.
        Some(ProbeOutcome::ConnectTimeout) if evidence.queues_connections() == Some(false) => {
            return None;
        }
        Some(ProbeOutcome::ConnectTimeout) if alive => 0.85,
        None if silent => 0.6,
        _ => return None,
    };
    let mut words = evidence.examined();
    words.extend(evidence.attempts_in_words());
    finding(FaultKind::ProcessHung, confidence, words)
}
