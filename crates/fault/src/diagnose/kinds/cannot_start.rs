//! The process cannot be started, or ends before it was ever ready.

use crate::diagnose::{Evidence, finding};
use crate::incident::Finding;
use crate::kind::FaultKind;
use crate::signal::Down;

pub(super) fn judge(evidence: &Evidence<'_>) -> Option<Finding> {
    let confidence = match evidence.facts.process.down.as_ref()? {
        Down::Stopped => return None,
        Down::NotStarted { .. } => 0.97,
        Down::Ended(ended) if ended.ready_for.is_some() || ended.exit.guardian.is_some() => {
            return None;
        }
        Down::Ended(_) => 0.93,
    };
    let mut words = evidence.start_failure();
    if !evidence.followers.is_empty() {
        let others = evidence.followers.join(", ");
        words.push(format!("{others} cannot start either"));
    }
    finding(FaultKind::CannotStart, confidence, words)
}
