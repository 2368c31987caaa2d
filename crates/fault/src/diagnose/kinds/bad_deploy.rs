//! A server cannot start since a change: of a file of its program, or of something that it shares with other servers
//! that ran well before and cannot start either.

use evenkeel_core::ProgramChange;

use crate::diagnose::Evidence;
use crate::diagnose::evidence::finding;
use crate::incident::Finding;
use crate::kind::FaultKind;
use crate::maintenance::calendar;
use crate::signal::DownReason;

pub(super) fn judge(evidence: &Evidence<'_>) -> Option<Finding> {
    let process = &evidence.facts.process;
    let changed = match process.down.as_ref()? {
        DownReason::Stopped => return None,
        DownReason::NotStarted { changed, .. } => changed.as_ref(),
        DownReason::Ended(ended) if ended.ready_for.is_some() || ended.exit.guardian.is_some() => {
            return None;
        }
        DownReason::Ended(ended) => ended.exit.changed.as_ref(),
    };
    let with_others = process.was_ready && !evidence.followers.is_empty();
    if changed.is_none() && !with_others {
        return None;
    }
    let mut words: Vec<String> = changed.map(in_words).into_iter().collect();
    if process.was_ready {
        words.push("it had started well before".to_owned());
    }
    if !evidence.followers.is_empty() {
        words.push(format!(
            "{} cannot start either",
            evidence.followers.join(", ")
        ));
    }
    words.extend(evidence.start_failure());
    let confidence = if changed.is_some() { 0.98 } else { 0.975 };
    finding(FaultKind::BadDeploy, confidence, words)
}

fn in_words(change: &ProgramChange) -> String {
    let at = calendar(change.modified_millis);
    format!("{} was changed at {at}", change.path)
}
