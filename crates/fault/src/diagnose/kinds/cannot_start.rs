//! The process cannot be started, exits before it was ever ready, or runs and does not become ready in time.

use evenkeel_core::ProbeOutcome;

use crate::diagnose::Evidence;
use crate::diagnose::evidence::finding;
use crate::incident::Finding;
use crate::kind::FaultKind;
use crate::signal::DownReason;

pub(super) fn judge(evidence: &Evidence<'_>) -> Option<Finding> {
    let Some(down) = evidence.facts.process.down.as_ref() else {
        return too_slow(evidence);
    };
    let confidence = match down {
        DownReason::Stopped => return None,
        DownReason::NotStarted { .. } => 0.97,
        DownReason::Ended(ended) if ended.ready_for.is_some() || ended.exit.guardian.is_some() => {
            return None;
        }
        DownReason::Ended(_) => 0.93,
    };
    let mut words = evidence.start_failure();
    if !evidence.followers.is_empty() {
        let others = evidence.followers.join(", ");
        words.push(format!("{others} cannot start either"));
    }
    finding(FaultKind::CannotStart, confidence, words)
}

/// It lives, and has neither answered nor listened anywhere since its start.
fn too_slow(evidence: &Evidence<'_>) -> Option<Finding> {
    let age = evidence.starting_for()?;
    let silent = matches!(
        evidence.facts.probes.last,
        Some(ProbeOutcome::Refused | ProbeOutcome::NoAnswer)
    );
    let listens_elsewhere = evidence
        .process()
        .is_some_and(|process| !process.listens_at.is_empty());
    if !silent || listens_elsewhere {
        return None;
    }
    let mut words = vec![format!(
        "it is slow: its process has been running for {:.1} s and has not passed a probe yet",
        age.as_secs_f64()
    )];
    words
        .push("if it needs longer to start, `recover.verify.within` gives it more time".to_owned());
    words.extend(evidence.examined());
    finding(FaultKind::CannotStart, 0.96, words)
}
