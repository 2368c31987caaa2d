//! What the end of an attempt means for a retry, and what a call permits: the two inputs of every decision.
//!
//! A status, a gRPC code, a database's error or an `io::Error` is mapped to a [`Verdict`] once, where its meaning is known;
//! everything after that is the same for all protocols. Whether a call may be repeated is not guessed from its error but
//! stated by its caller: an [`Idempotency`], which has no default.

use std::time::Duration;

use crate::{Class, Deadline};

/// The meaning of the end of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It succeeded.
    Good,
    /// It failed, and may succeed next time.
    Transient {
        /// How long the server asks to wait (pushback).
        wait: Option<Duration>,
    },
    /// The server is overloaded and says so. Retried like [`Verdict::Transient`]; a limit learns from it.
    Throttled {
        /// How long the server asks to wait (pushback).
        wait: Option<Duration>,
    },
    /// It took too long. The server may still be working on it.
    Timeout,
    /// It failed and would fail again: not found, forbidden, invalid.
    Fatal,
    /// The application provably saw nothing of it: refused, not connected, a closed pooled connection, a refused stream. Any call
    /// may be repeated, and the first time on a server is free.
    Unsent,
    /// The connection broke after something was sent. If the call may be repeated, it is at once and free, but once per
    /// call: it may be the request that crashes servers.
    Lost,
    /// It was not made: a fault was injected. Treated like [`Verdict::Transient`], with a label of its own.
    Injected,
}

impl Verdict {
    /// [`Verdict::Transient`] without pushback.
    pub const TRANSIENT: Self = Self::Transient { wait: None };
    /// [`Verdict::Throttled`] without pushback.
    pub const THROTTLED: Self = Self::Throttled { wait: None };

    /// The pushback, if there is one.
    #[must_use]
    pub const fn wait(self) -> Option<Duration> {
        match self {
            Self::Transient { wait } | Self::Throttled { wait } => wait,
            Self::Good
            | Self::Timeout
            | Self::Fatal
            | Self::Unsent
            | Self::Lost
            | Self::Injected => None,
        }
    }

    /// Whether it is [`Verdict::Good`].
    #[must_use]
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Good)
    }

    /// The usual verdict on an HTTP status. 429 and 503 are throttling; 408, 500, 502 and 504 are transient; all others from
    /// 400 are fatal.
    #[must_use]
    pub const fn of_status(status: u16, wait: Option<Duration>) -> Self {
        match status {
            ..400 => Self::Good,
            429 | 503 => Self::Throttled { wait },
            408 | 500 | 502 | 504 => Self::Transient { wait },
            _ => Self::Fatal,
        }
    }

    /// The usual verdict on a gRPC status code: 14 (unavailable) and 10 (aborted) are transient, 8 (resource exhausted) is
    /// throttling, 4 (deadline exceeded) a timeout; all others but 0 are fatal.
    #[must_use]
    pub const fn of_grpc(code: u32, wait: Option<Duration>) -> Self {
        match code {
            0 => Self::Good,
            4 => Self::Timeout,
            8 => Self::Throttled { wait },
            10 | 14 => Self::Transient { wait },
            _ => Self::Fatal,
        }
    }

    /// The usual verdict on an I/O error. Only errors from before a connection exists are [`Verdict::Unsent`].
    #[must_use]
    pub fn of_io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Kind;
        match error.kind() {
            Kind::ConnectionRefused
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::AddrNotAvailable => Self::Unsent,
            Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::BrokenPipe
            | Kind::UnexpectedEof => Self::Lost,
            Kind::TimedOut => Self::Timeout,
            Kind::Interrupted | Kind::WouldBlock | Kind::NotConnected | Kind::NetworkDown => {
                Self::TRANSIENT
            }
            _ => Self::Fatal,
        }
    }

    /// The label in metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Transient { .. } => "transient",
            Self::Throttled { .. } => "throttled",
            Self::Timeout => "timeout",
            Self::Fatal => "fatal",
            Self::Unsent => "unsent",
            Self::Lost => "lost",
            Self::Injected => "injected",
        }
    }
}

/// Whether a call may be made more than once. Stated by its caller; there is no default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Idempotency {
    /// Twice is the same as once: it may be repeated, and attempts may overlap.
    Idempotent,
    /// Each attempt carries the same idempotency key, and the server answers a known key with the first response. It may be
    /// repeated, but attempts must not overlap: many servers reject a key that is in progress.
    Keyed,
    /// Twice is not once: repeated only if the application provably saw nothing.
    Once,
}

impl Idempotency {
    /// Whether it may be repeated after the application may have seen it.
    #[must_use]
    pub const fn may_repeat(self) -> bool {
        matches!(self, Self::Idempotent | Self::Keyed)
    }

    /// Whether a second attempt may be made while the first is under way (a hedge).
    #[must_use]
    pub const fn may_overlap(self) -> bool {
        matches!(self, Self::Idempotent)
    }

    /// The label in metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Idempotent => "idempotent",
            Self::Keyed => "keyed",
            Self::Once => "once",
        }
    }
}

/// One call, as its caller describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    name: &'static str,
    idempotency: Idempotency,
    class: Option<Class>,
    deadline: Deadline,
}

impl Call {
    /// A call that may be repeated.
    #[must_use]
    pub const fn idempotent(name: &'static str) -> Self {
        Self::new(name, Idempotency::Idempotent)
    }

    /// A call whose attempts all carry one idempotency key.
    #[must_use]
    pub const fn keyed(name: &'static str) -> Self {
        Self::new(name, Idempotency::Keyed)
    }

    /// A call that may be made once only.
    #[must_use]
    pub const fn once(name: &'static str) -> Self {
        Self::new(name, Idempotency::Once)
    }

    /// A call of any kind.
    #[must_use]
    pub const fn new(name: &'static str, idempotency: Idempotency) -> Self {
        Self {
            name,
            idempotency,
            class: None,
            deadline: Deadline::never(),
        }
    }

    /// Its class, for a limit with shares and for a queue.
    #[must_use]
    pub const fn class(mut self, class: Class) -> Self {
        self.class = Some(class);
        self
    }

    /// The caller's deadline. The policy's own deadline never extends it.
    #[must_use]
    pub const fn until(mut self, deadline: Deadline) -> Self {
        self.deadline = deadline;
        self
    }

    /// Its name in events and incidents.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it may be repeated.
    #[must_use]
    pub const fn idempotency(&self) -> Idempotency {
        self.idempotency
    }

    /// Its class, if it has one.
    #[must_use]
    pub const fn importance(&self) -> Option<Class> {
        self.class
    }

    /// The caller's deadline.
    #[must_use]
    pub const fn deadline(&self) -> Deadline {
        self.deadline
    }
}
