//! The server answers correctly, but much more slowly than its peers.

use evenkeel_core::ProbeOutcome;

use crate::diagnose::Evidence;
use crate::diagnose::evidence::finding;
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
    let succeeded = evidence.facts.attempts.succeeded;
    let warm_up = evidence.facts.process.warms_up(evidence.now, succeeded);
    words.extend(warm_up.map(|age| {
        format!(
            "it is warming up (warm-up): its process was started {:.1} s ago; a restart would start that over",
            age.as_secs_f64()
        )
    }));
    words.extend(evidence.examined());
    words.extend(evidence.attempts_in_words());
    finding(
        FaultKind::SlowServer,
        if slow.enough { 0.9 } else { 0.4 },
        words,
    )
}
