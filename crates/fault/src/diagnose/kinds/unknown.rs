//! Something is wrong, and no other kind explains it. Always a finding, so that a diagnosis is never empty.

use crate::diagnose::Evidence;
use crate::diagnose::evidence::finding;
use crate::incident::Finding;
use crate::kind::FaultKind;

pub(super) fn judge(evidence: &Evidence<'_>) -> Option<Finding> {
    let mut words: Vec<String> = evidence.wrong_status().into_iter().collect();
    words.extend(evidence.examined());
    words.extend(evidence.attempts_in_words());
    if words.is_empty() {
        words.push("no examination was possible and no attempt failed".to_owned());
    }
    finding(FaultKind::Unknown, 0.1, words)
}
