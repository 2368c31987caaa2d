//! Signals: single observations, the only input of the fault path.

use std::net::SocketAddr;
use std::time::Duration;

use crate::{Instant, Outcome, RequestShape, ServerId};

/// One observation of one server.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// When it was observed.
    pub at: Instant,
    /// The server it is about.
    pub server: ServerId,
    /// The observation.
    pub observation: Observation,
}

/// An observation of a server.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// An attempt of a real request ended.
    Attempt {
        /// How it ended.
        outcome: Outcome,
        /// From the request fully written to the response's head, or to the failure.
        latency: Duration,
        /// The expected value.
        shape: RequestShape,
    },
    /// A probe ended.
    Probe {
        /// How it ended.
        outcome: ProbeOutcome,
        /// From its start to its end.
        latency: Duration,
    },
    /// The supervised process was started.
    Started {
        /// Its process id.
        pid: u32,
        /// The change of its program before this start, if there was one.
        changed: Option<Box<ProgramChange>>,
    },
    /// The supervised process ended.
    Exited(Box<Exit>),
    /// The supervised process could not be started at all.
    StartFailed(Box<StartFailure>),
    /// The slot has another server now, at this address; none if absent.
    Moved(Option<SocketAddr>),
}

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProbeOutcome {
    /// As expected.
    Passed,
    /// Nothing listens at the address.
    Refused,
    /// No connection within the timeout.
    ConnectTimeout,
    /// The network says that the address cannot be reached.
    Unreachable,
    /// Connected, but no answer within the timeout.
    NoAnswer,
    /// Answered with a status outside `expect`.
    WrongStatus(u16),
    /// Closed or reset before an answer.
    Reset,
    /// Somebody answered, but not the server: a process that is none of its own listens on its port.
    PortTaken,
    /// The answer was not HTTP, or the probe could not be carried out.
    Invalid,
    /// evenkeel had no descriptor, local port or memory left to send it: it says nothing about the server.
    LocalError,
}

impl ProbeOutcome {
    /// The word for it in metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Refused => "refused",
            Self::ConnectTimeout => "connect-timeout",
            Self::Unreachable => "unreachable",
            Self::NoAnswer => "no-answer",
            Self::WrongStatus(_) => "wrong-status",
            Self::Reset => "reset",
            Self::PortTaken => "port-taken",
            Self::Invalid => "invalid",
            Self::LocalError => "local-error",
        }
    }

    /// Whether it ended as expected.
    #[must_use]
    pub const fn passed(self) -> bool {
        matches!(self, Self::Passed)
    }
}

/// How a supervised process ended. Exactly one of `code` and `signal` is present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The exit status, if it exited.
    pub code: Option<i32>,
    /// The number of the signal that killed it, if one did.
    pub signal: Option<i32>,
    /// Whether evenkeel had asked for it (a stop or a restart in progress).
    pub asked: bool,
    /// How long it had been running.
    pub uptime: Duration,
    /// The last lines it printed, oldest first; at most 20, each at most 500 bytes.
    pub last_lines: Vec<String>,
    /// How the guardian ended, in words, if the process ended with it and not by itself.
    pub guardian: Option<String>,
    /// The process that listens on its port after its exit, in words, if there is one.
    pub port_holder: Option<String>,
    /// The change of its program before this start, if there was one.
    pub changed: Option<ProgramChange>,
    /// What of its program has been changed since it was started: the next process is the first of it.
    pub changed_since: Option<ProgramChange>,
}

/// A file of a program's command was changed, and no process of it has lived long enough since to be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramChange {
    /// The file.
    pub path: String,
    /// When it was changed, in milliseconds since 1970-01-01T00:00:00Z.
    pub modified_millis: i64,
}

/// Why a supervised process could not be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartFailure {
    /// In words, with the command and the operating system's reason.
    pub reason: String,
    /// The change of its program before this start, if there was one.
    pub changed: Option<ProgramChange>,
}
