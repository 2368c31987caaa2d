//! The words of a breaker: what it does and why, what it grants and what it is told.

use evenkeel_core::Instant;

use super::window::Ratios;

/// How an attempt ended, as far as a breaker is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BreakerOutcome {
    /// The server answered as it should.
    Good,
    /// It failed.
    Bad,
    /// It says nothing: cancelled, or the caller's own mistake.
    Ignored,
}

/// What a breaker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum BreakerState {
    /// Everything passes.
    Closed,
    /// Nothing passes until its time is over.
    Open,
    /// A few pass, to see.
    HalfOpen,
    /// Nothing passes, by order.
    ForcedOpen,
    /// Everything passes and is counted, and nothing opens it, by order.
    ForcedClosed,
}

impl BreakerState {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::Closed,
        Self::Open,
        Self::HalfOpen,
        Self::ForcedOpen,
        Self::ForcedClosed,
    ];

    /// The word for metrics and status.
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
    /// So many failures in a row.
    Consecutive,
    /// The share of failures.
    Ratio,
    /// The share of slow ones.
    Slow,
    /// A trial failed.
    Trial,
}

impl OpenReason {
    /// The word for metrics and status.
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

/// Do not ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerOpen {
    /// Until then at least; `None` if it depends on trials that are under way, or on an order.
    pub until: Option<Instant>,
}

/// A permission to ask, without a guard: for those who keep it as a number and give it back themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// The state that it is from: what was asked before a change decides nothing after it.
    pub(super) era: u64,
    pub(super) is_trial: bool,
}

impl Admitted {
    /// As one number, for who has room for nothing else.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.era << 1 | self.is_trial as u64
    }

    /// What [`Admitted::to_bits`] gave.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            era: bits >> 1,
            is_trial: bits & 1 == 1,
        }
    }
}

/// What changed when an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// It opened, until then.
    Opened(OpenReason, Instant),
    /// It closed.
    Closed,
}

/// What a breaker knows, for metrics and status.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerSnapshot {
    /// What it does.
    pub state: BreakerState,
    /// Until when it is open, if it is.
    pub until: Option<Instant>,
    /// Why it opened last, if it ever did.
    pub why: Option<OpenReason>,
    /// What the window holds.
    pub ratios: Ratios,
    /// Failures in a row.
    pub consecutive: u32,
    /// Trials under way.
    pub trials: u32,
    /// How often it changed to each state, in the order of [`BreakerState::ALL`].
    pub changes: [u64; 5],
    /// How many were refused, ever.
    pub refused: u64,
}
