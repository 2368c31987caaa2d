//! The process has reached its limit of file descriptors: it cannot accept connections, and serves only those that it
//! has.
//!
//! The kernel completes connections on its behalf, so it looks like a process that hangs, or like a wrong probe if
//! requests on kept-alive connections succeed. The number of descriptors tells it apart from both.

use crate::diagnose::Evidence;
use crate::diagnose::evidence::finding;
use crate::incident::Finding;
use crate::kind::FaultKind;
use crate::self_check::Usage;

pub(super) fn judge(evidence: &Evidence<'_>) -> Option<Finding> {
    let usage = evidence
        .process()?
        .descriptors
        .filter(|usage| is_used_up(*usage))?;
    let answers = evidence.http().is_some_and(|(outcome, _)| outcome.passed());
    if evidence.is_down() || answers {
        return None;
    }
    let mut words = vec![format!(
        "its process has {} open file descriptors, of at most {} (Max open files)",
        usage.used, usage.limit
    )];
    let (succeeded, failed) = evidence.facts.since_probes_fail();
    if evidence.facts.probes.failed_in_row > 0 && succeeded > 0 {
        words.push(format!(
            "new connections are not accepted, while on kept-alive ones {succeeded} attempts succeeded and {failed} failed"
        ));
    }
    words.extend(evidence.examined());
    words.extend(evidence.attempts_in_words());
    finding(FaultKind::DescriptorExhaustion, 0.96, words)
}

/// A process that closes one now and then is still at its limit.
const fn is_used_up(usage: Usage) -> bool {
    usage.used + 2 >= usage.limit
}
