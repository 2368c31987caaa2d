//! The protocol between evenkeel and its guardian: one JSON object per line.

use serde::{Deserialize, Serialize};

/// From evenkeel to the guardian.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case")]
pub(crate) enum GuardianCommand {
    /// Start a process.
    Spawn {
        /// A number for it, never used before.
        spawn: u64,
        /// Program and arguments.
        command: Vec<String>,
        /// Working directory.
        directory: Option<String>,
        /// Added to the environment.
        environment: Vec<(String, String)>,
    },
    /// Send a signal to the process and all of its group.
    Signal {
        /// Which process.
        spawn: u64,
        /// The signal's number.
        signal: i32,
    },
}

/// From the guardian to evenkeel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum GuardianEvent {
    /// The process runs.
    Started {
        /// Which.
        spawn: u64,
        /// Its process id.
        pid: u32,
    },
    /// The process could not be started.
    StartFailed {
        /// Which.
        spawn: u64,
        /// Why.
        reason: String,
    },
    /// The process printed a line.
    Output {
        /// Which.
        spawn: u64,
        /// The line, without its end.
        line: String,
    },
    /// It printed more than is passed on: so much was dropped since the last such event.
    Dropped {
        /// Which.
        spawn: u64,
        /// Lines.
        lines: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// The process ended; nothing of its group is left.
    Exited {
        /// Which.
        spawn: u64,
        /// Its exit status.
        code: Option<i32>,
        /// Or the signal that killed it.
        signal: Option<i32>,
    },
}
