//! Detects that the process exited by itself or could not be started: one report suffices.

use std::time::Duration;

use crate::signal::{DownReason, ServerHistory};

use super::{Detection, Detector};

/// What a process breaks off that ends is seen so soon before its end is known.
const NEAR: Duration = Duration::from_millis(100);

/// Judges the process. An exit requested by evenkeel is not a fault.
#[must_use]
pub fn exit(facts: &ServerHistory) -> Option<Detection> {
    let (at, text) = match facts.process.down.as_ref()? {
        DownReason::Stopped => return None,
        DownReason::Ended(ended) => (
            ended.at,
            match &ended.exit.guardian {
                Some(guardian) => format!("{guardian}, and with it the process"),
                None => format!("the process exited: {}", in_words(&ended.exit)),
            },
        ),
        DownReason::NotStarted { at, reason, .. } => {
            (*at, format!("the process could not be started: {reason}"))
        }
    };
    let onset = facts.attempts.broke_off_before(at, NEAR).unwrap_or(at);
    Some(Detection {
        by: Detector::Supervisor,
        onset,
        text,
    })
}

/// An exit in words: `signal 9 (SIGKILL)`, `status 1`.
#[must_use]
pub(crate) fn in_words(exit: &evenkeel_core::Exit) -> String {
    match (exit.signal, exit.code) {
        (Some(signal), _) => match signal_name(signal) {
            Some(name) => format!("signal {signal} ({name})"),
            None => format!("signal {signal}"),
        },
        (None, Some(code)) => format!("status {code}"),
        (None, None) => "unknown status".to_owned(),
    }
}

const fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return None,
    })
}
