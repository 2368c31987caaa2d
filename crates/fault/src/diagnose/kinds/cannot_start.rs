//! The process cannot be started, or ends before it was ever ready.

use crate::detect::exit_in_words;
use crate::diagnose::{Evidence, finding};
use crate::incident::Finding;
use crate::kind::FaultKind;
use crate::signal::Down;

pub(super) fn judge(evidence: &Evidence<'_>) -> Option<Finding> {
    match evidence.facts.process.down.as_ref()? {
        Down::Stopped => None,
        Down::NotStarted { reason, .. } => finding(
            FaultKind::CannotStart,
            0.97,
            vec![format!("it could not be started: {reason}")],
        ),
        Down::Ended(ended) if ended.ready_for.is_some() || ended.exit.guardian.is_some() => None,
        Down::Ended(ended) => {
            let mut words = vec![
                format!("exit status: {}", exit_in_words(&ended.exit)),
                format!(
                    "it ended {} ms after its start and had never passed a probe",
                    ended.exit.uptime.as_millis()
                ),
            ];
            words.extend(
                ended
                    .exit
                    .last_lines
                    .iter()
                    .rev()
                    .take(3)
                    .rev()
                    .map(|line| format!("it printed: {line}")),
            );
            finding(FaultKind::CannotStart, 0.93, words)
        }
    }
}
