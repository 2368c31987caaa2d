//! The server accepts connections and answers, but too often with errors or truncated responses.

use evenkeel_core::ProbeOutcome;

use crate::diagnose::Evidence;
use crate::diagnose::evidence::finding;
use crate::incident::Finding;
use crate::kind::FaultKind;

pub(super) fn judge(evidence: &Evidence<'_>) -> Option<Finding> {
    if evidence.is_down() || evidence.connects() == Some(false) {
        return None;
    }
    let failures = evidence.failures();
    let is_error = |outcome: Option<ProbeOutcome>| matches!(outcome, Some(ProbeOutcome::WrongStatus(status)) if status >= 500);
    let probe_answers_error = !evidence.facts.probe_red_traffic_green(evidence.now)
        && (is_error(evidence.facts.probes.last)
            || is_error(evidence.http().map(|(outcome, _)| outcome)));
    let confidence = if failures.errors > 0 && failures.mostly(failures.errors) {
        0.92
    } else if failures.mostly(failures.errors + failures.broken) {
        0.65
    } else if probe_answers_error {
        0.8
    } else {
        return None;
    };
    let tally = evidence.facts.attempts.tally(evidence.now);
    let mut words = Vec::new();
    if tally.total > 0 {
        words.push(format!(
            "{} of {} recent attempts failed",
            tally.hits, tally.total
        ));
    }
    words.extend(evidence.attempts_in_words());
    words.extend(evidence.examined());
    finding(FaultKind::ErrorBurst, confidence, words)
}
