//! It answers rightly, but much slower than its peers.

use evenkeel_core::ProbeOutcome;

use crate::diagnose::{Evidence, finding};
use crate::incident::Finding;
use crate::kind::FaultKind;

pub(super) fn judge(evidence: &Evidence<'_>) -> Option<Finding> {
    let slow = evidence.slow?;
    let silent = evidence
        .http()
        .is_some_and(|(outcome, _)| outcome == ProbeOutcome::NoAnswer);
    if evidence.is_down() || silent || evidence.connects() == Some(false) {
        return None;
    }
    let mut words = vec![slow.text()];
    words.extend(evidence.examined());
    words.extend(evidence.attempts_in_words());
    finding(
        FaultKind::SlowServer,
        if slow.enough { 0.9 } else { 0.4 },
        words,
    )
}
