//! The states of a circuit breaker and why it opened, and what it returns to its callers.

use evenkeel_core::Instant;

use super::window::Ratios;

/// The end of an attempt, as a breaker counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BreakerOutcome {
    /// The server answered as it should.
    Good,
    /// It failed.
    Bad,
    /// It says nothing about the server: cancelled, or the caller's own mistake.
    Ignored,
}

/// The state of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum BreakerState {
    /// Everything is admitted.
    Closed,
    /// Nothing is admitted until its time is over.
    Open,
    /// A few trials are admitted.
    HalfOpen,
    /// Nothing is admitted: forced.
    ForcedOpen,
    /// Everything is admitted and counted, and nothing opens it: forced.
    ForcedClosed,
}

impl BreakerState {
    /// All states, in the order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::Closed,
        Self::Open,
        Self::HalfOpen,
        Self::ForcedOpen,
        Self::ForcedClosed,
    ];

    /// The label in metrics and status.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
            Self::ForcedOpen => "forced-open",
            Self::ForcedClosed => "forced-closed",
        }
    }
}

/// Why a breaker opened last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpenReason {
    /// Too many consecutive failures.
    Consecutive,
    /// The ratio of failures.
    Ratio,
    /// The ratio of slow attempts.
    Slow,
    /// A trial failed.
    Trial,
}

impl OpenReason {
    /// The label in metrics and status.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Consecutive => "consecutive-failures",
            Self::Ratio => "failure-ratio",
            Self::Slow => "slow",
            Self::Trial => "trial-failed",
        }
    }
}

/// The attempt is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerOpen {
    /// Not before then; `None` if it depends on trials under way, or is forced.
    pub until: Option<Instant>,
}

/// An admission without a guard, for callers that store it as a number and release it themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// The era it is from: an attempt from before a transition decides nothing after it.
    pub(super) era: u64,
    pub(super) is_trial: bool,
}

impl Admitted {
    /// As a number.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.era << 1 | self.is_trial as u64
    }

    /// From [`Admitted::to_bits`].
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            era: bits >> 1,
            is_trial: bits & 1 == 1,
        }
    }
}

/// A transition caused by the end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// It opened, for this reason, until then.
    Opened(OpenReason, Instant),
    /// It closed.
    Closed,
}

/// State and counts of a breaker, for metrics and status.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerSnapshot {
    /// The state.
    pub state: BreakerState,
    /// Until when it is open, if it is.
    pub until: Option<Instant>,
    /// Why it opened last, if it has ever opened.
    pub why: Option<OpenReason>,
    /// The counts of the window.
    pub ratios: Ratios,
    /// Consecutive failures.
    pub consecutive: u32,
    /// Trials under way.
    pub trials: u32,
    /// Transitions to each state, in the order of [`BreakerState::ALL`].
    pub changes: [u64; 5],
    /// Attempts that were not admitted, since it was made.
    pub refused: u64,
}
