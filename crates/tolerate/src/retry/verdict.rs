//! What an attempt's end means for trying again, and what a call allows: the two words that every decision is made of.
//!
//! Apart from HTTP: a status, a gRPC code, a database's error or an `io::Error` is mapped to a [`Verdict`] once, where it is
//! known what it means, and everything behind that is the same for all of them. Whether a call may be repeated is not guessed
//! from its error but said by who makes it: an [`Idempotency`], which has no default.

use std::time::Duration;

use crate::{Class, Deadline};

/// What the end of one attempt means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It worked.
    Good,
    /// It failed, and may work the next time.
    Transient {
        /// How long the server asks to wait.
        wait: Option<Duration>,
    },
    /// The server has too much to do, and says so. Retried like [`Verdict::Transient`]; a limit learns from it.
    Throttled {
        /// How long the server asks to wait.
        wait: Option<Duration>,
    },
    /// It took too long. It may still be running there.
    Timeout,
    /// It failed and will fail again: not found, forbidden, invalid.
    Fatal,
    /// There is proof that the application saw nothing of it: refused, not connected, a closed pooled connection. Any call may be
    /// repeated, and the first one on a server costs nothing.
    Unsent,
    /// The connection died after something was sent. Whoever may repeat it does so at once and free, but once per call: it may be
    /// the request that kills.
    Lost,
    /// It was not made: a fault was injected on purpose. Treated like [`Verdict::Transient`], and told apart in the log.
    Injected,
}

impl Verdict {
    /// [`Verdict::Transient`] without a wish to wait.
    pub const TRANSIENT: Self = Self::Transient { wait: None };
    /// [`Verdict::Throttled`] without a wish to wait.
    pub const THROTTLED: Self = Self::Throttled { wait: None };

    /// How long the server asks to wait.
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

    /// Whether it worked.
    #[must_use]
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Good)
    }

    /// The usual meaning of an HTTP status. 429 and 503 say "too much"; 408, 500, 502 and 504 may pass; every other one from 400 is
    /// final.
    #[must_use]
    pub const fn of_status(status: u16, wait: Option<Duration>) -> Self {
        match status {
            ..400 => Self::Good,
            429 | 503 => Self::Throttled { wait },
            408 | 500 | 502 | 504 => Self::Transient { wait },
            _ => Self::Fatal,
        }
    }

    /// The usual meaning of a gRPC status code: 14 (unavailable) and 10 (aborted) may pass, 8 (resource exhausted) says "too
    /// much", 4 (deadline exceeded) took too long; every other one but 0 is final.
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

    /// The usual meaning of an I/O error. Only what fails before a connection exists is [`Verdict::Unsent`].
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

    /// The word for metrics and logs.
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

/// Whether a call may be made more than once. Said by who makes the call; there is no default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Idempotency {
    /// Twice is the same as once: it may be repeated, and made twice at the same time.
    Idempotent,
    /// Each attempt carries the same key, and the server answers a known key with the first answer. It may be repeated, but not
    /// made twice at the same time: many servers refuse a key that is in work.
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

    /// The word for metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Idempotent => "idempotent",
            Self::Keyed => "keyed",
            Self::Once => "once",
        }
    }
}

/// One call, as its maker describes it.
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

    /// How important it is, where a limit has shares.
    #[must_use]
    pub const fn class(mut self, class: Class) -> Self {
        self.class = Some(class);
        self
    }

    /// The deadline of whoever waits for it. The policy's own never makes it later.
    #[must_use]
    pub const fn until(mut self, deadline: Deadline) -> Self {
        self.deadline = deadline;
        self
    }

    /// What it is called in events and incidents.
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

    /// Its maker's deadline.
    #[must_use]
    pub const fn deadline(&self) -> Deadline {
        self.deadline
    }
}
