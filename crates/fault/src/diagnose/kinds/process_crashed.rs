//! The process exited by itself after it had served: proved by its exit status.

use crate::contract::Managed;
use crate::detect::exit_in_words;
use crate::diagnose::Evidence;
use crate::diagnose::evidence::finding;
use crate::incident::Finding;
use crate::kind::FaultKind;

use super::crash_loop::ENOUGH;

pub(super) fn judge(evidence: &Evidence<'_>) -> Option<Finding> {
    let Some(ended) = evidence.ended() else {
        return vanished(evidence);
    };
    let guardian = ended.exit.guardian.as_ref();
    if guardian.is_none() && ended.ready_for.is_none() || evidence.short_lives().len() >= ENOUGH {
        return None;
    }
    let mut words = vec![
        format!("exit status: {}", exit_in_words(&ended.exit)),
        format!("it had run for {:.1} s", ended.exit.uptime.as_secs_f64()),
    ];
    if let Some(guardian) = guardian {
        words.insert(0, format!("{guardian}, and with it all server processes"));
    }
    words.extend(evidence.attempts_in_words());
    words.extend(
        ended
            .exit
            .last_lines
            .last()
            .map(|line| format!("its last line: {line}")),
    );
    finding(
        FaultKind::ProcessCrashed,
        if ended.exit.signal.is_some() {
            0.97
        } else {
            0.95
        },
        words,
    )
}

/// Its exit was not reported, yet the examination did not find it.
fn vanished(evidence: &Evidence<'_>) -> Option<Finding> {
    let gone = evidence.managed == Managed::Child
        && !evidence.is_down()
        && evidence
            .process()
            .is_some_and(|process| process.pid.is_none());
    if !gone {
        return None;
    }
    let mut words = evidence.examined();
    words.extend(evidence.attempts_in_words());
    finding(FaultKind::ProcessCrashed, 0.8, words)
}
