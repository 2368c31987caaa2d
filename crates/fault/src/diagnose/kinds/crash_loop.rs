//! The process exits again and again soon after it became ready: three times within a minute.

use crate::detect::exit_in_words;
use crate::diagnose::Evidence;
use crate::diagnose::evidence::finding;
use crate::incident::Finding;
use crate::kind::FaultKind;

/// So many ends make a loop.
pub(super) const ENOUGH: usize = 3;

pub(super) fn judge(evidence: &Evidence<'_>) -> Option<Finding> {
    let ended = evidence.ended()?;
    let lives = evidence.short_lives();
    if lives.len() < ENOUGH || ended.ready_for.is_none() {
        return None;
    }
    let seconds: Vec<String> = lives
        .iter()
        .map(|life| format!("{:.1} s", life.ready_for.unwrap_or_default().as_secs_f64()))
        .collect();
    let mut words = vec![
        format!("the process exited {} times within 60 s", lives.len()),
        format!("it had been ready for {}", seconds.join(", ")),
        format!("exit status: {}", exit_in_words(&ended.exit)),
    ];
    words.extend(
        ended
            .exit
            .last_lines
            .last()
            .map(|line| format!("its last line: {line}")),
    );
    finding(FaultKind::CrashLoop, 0.95, words)
}
