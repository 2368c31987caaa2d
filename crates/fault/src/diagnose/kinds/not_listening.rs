//! Connections are refused: nothing listens at the address, although the process (if evenkeel runs it) is alive.

use evenkeel_core::ProbeOutcome;

use crate::contract::Managed;
use crate::diagnose::Evidence;
use crate::diagnose::evidence::finding;
use crate::incident::Finding;
use crate::kind::FaultKind;

pub(super) fn judge(evidence: &Evidence<'_>) -> Option<Finding> {
    if evidence.is_down() || evidence.facts.probe_red_traffic_green(evidence.now) {
        return None;
    }
    let failures = evidence.failures();
    let was_refused = failures.refused > 0 && failures.mostly(failures.refused)
        || evidence.facts.probes.last == Some(ProbeOutcome::Refused);
    let refused = match evidence.tcp() {
        Some((outcome, _)) => outcome == ProbeOutcome::Refused,
        None => was_refused,
    };
    let process_gone = evidence
        .process()
        .is_some_and(|process| process.pid.is_none());
    if !refused || process_gone && evidence.managed == Managed::Child {
        return None;
    }
    let mut words = evidence.examined();
    let confidence = match (evidence.living(), evidence.tcp()) {
        (Some(_), Some(_)) => 0.95,
        (None, Some(_)) => 0.85,
        (_, None) => 0.6,
    };
    if evidence.living().is_none() {
        words.push(
            "it is not known whether its process is alive: evenkeel does not run it".to_owned(),
        );
    }
    words.extend(evidence.attempts_in_words());
    finding(FaultKind::NotListening, confidence, words)
}
