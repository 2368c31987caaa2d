//! The words of a breaker: its states, why it changed, what attempts say, and what is known for metrics and status.

use std::sync::atomic::{AtomicU64, Ordering};

use evenkeel_core::Instant;

use super::window::Tally;

/// Its own state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum State {
    /// All pass.
    #[default]
    Closed = 0,
    /// None passes.
    Open = 1,
    /// A few pass, on trial.
    HalfOpen = 2,
}

impl State {
    /// The word for metrics and status.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// A decision that is taken out of a breaker's hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forced {
    /// None passes, until it is lifted.
    Open,
    /// All pass and nothing is measured.
    Closed,
    /// All pass, and the window shows what there is.
    MetricsOnly,
}

impl Forced {
    /// The word for metrics and status.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "forced-open",
            Self::Closed => "forced-closed",
            Self::MetricsOnly => "metrics-only",
        }
    }

    pub(super) const fn code(forced: Option<Self>) -> u8 {
        match forced {
            None => 0,
            Some(Self::Open) => 1,
            Some(Self::Closed) => 2,
            Some(Self::MetricsOnly) => 3,
        }
    }

    pub(super) const fn of_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Open),
            2 => Some(Self::Closed),
            3 => Some(Self::MetricsOnly),
            _ => None,
        }
    }
}

/// Why it is in its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Why {
    /// Nothing has happened yet.
    #[default]
    New,
    /// Too many bad attempts in a row.
    Consecutive,
    /// Too large a share of bad attempts.
    FailureRatio,
    /// Too large a share of slow attempts.
    SlowRatio,
    /// It was open long enough.
    Waited,
    /// The trial took too long; it began anew.
    TrialLapsed,
    /// Too many of the trial were bad.
    TrialFailed,
    /// Enough of the trial were good.
    TrialPassed,
    /// A person, or a program in its place.
    Forced,
}

impl Why {
    /// The word for metrics and status.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Consecutive => "consecutive",
            Self::FailureRatio => "failure-ratio",
            Self::SlowRatio => "slow-ratio",
            Self::Waited => "waited",
            Self::TrialLapsed => "trial-lapsed",
            Self::TrialFailed => "trial-failed",
            Self::TrialPassed => "trial-passed",
            Self::Forced => "forced",
        }
    }
}

/// What an attempt says about the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mark {
    /// The server did what it is for; also an answer that says that the request is wrong.
    Good,
    /// It did not.
    Bad,
    /// Nothing: cancelled, never sent.
    Neutral,
}

impl Mark {
    /// The word for metrics and status.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Neutral => "neutral",
        }
    }
}

/// An attempt was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Asking before this is in vain; [`Instant::NEVER`] if it was forced open. A trial may end earlier.
    pub until: Instant,
    /// What refused it: open, or a trial that has all its attempts out.
    pub state: State,
}

/// An attempt that may be made, for who keeps no [`Pass`](super::Pass).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "whoever is admitted owes a `record` or a `release`"]
pub struct Admitted {
    generation: u32,
    trial: bool,
}

impl Admitted {
    pub(super) const fn new(generation: u32, trial: bool) -> Self {
        Self { generation, trial }
    }

    pub(super) const fn generation(self) -> u32 {
        self.generation
    }

    /// Whether the attempt is part of a trial.
    #[must_use]
    pub const fn is_trial(self) -> bool {
        self.trial
    }
}

/// What a result changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The state that begins.
    pub to: State,
    /// Why it does.
    pub why: Why,
}

/// What a breaker knows, for metrics and status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BreakerSnapshot {
    /// Its own state.
    pub state: State,
    /// What holds in its place.
    pub forced: Option<Forced>,
    /// Why it is in its state.
    pub why: Why,
    /// Since when.
    pub since: Instant,
    /// When a trial may begin, or begins anew; none while closed.
    pub until: Option<Instant>,
    /// Bad attempts in a row now.
    pub row: u32,
    /// What the window holds. It is empty after each change.
    pub window: Tally,
    /// Attempts that passed, ever.
    pub passed: u64,
    /// Attempts that were refused, ever.
    pub refused: u64,
    /// Attempts that ended well, ever.
    pub good: u64,
    /// Attempts that ended badly, ever.
    pub bad: u64,
    /// Slow ones among both, ever.
    pub slow: u64,
    /// Attempts that said nothing, ever.
    pub neutral: u64,
    /// Results from before a change, which were not counted after it.
    pub late: u64,
    /// Results that found the window's lock taken and are in no share.
    pub skipped: u64,
    /// How often it opened.
    pub opened: u64,
    /// How often a trial began.
    pub half_opened: u64,
    /// How often it closed.
    pub closed: u64,
}

/// Counters that only grow.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) passed: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) late: AtomicU64,
    pub(super) skipped: AtomicU64,
    good: AtomicU64,
    bad: AtomicU64,
    slow: AtomicU64,
    neutral: AtomicU64,
    opened: AtomicU64,
    half_opened: AtomicU64,
    closed: AtomicU64,
}

impl Counts {
    pub(super) fn note(&self, mark: Mark, slow: bool) {
        let count = match mark {
            Mark::Good => &self.good,
            Mark::Bad => &self.bad,
            Mark::Neutral => &self.neutral,
        };
        count.fetch_add(1, Ordering::Relaxed);
        if slow {
            self.slow.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn entered(&self, state: State) {
        let count = match state {
            State::Closed => &self.closed,
            State::Open => &self.opened,
            State::HalfOpen => &self.half_opened,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self, rest: BreakerSnapshot) -> BreakerSnapshot {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        BreakerSnapshot {
            passed: read(&self.passed),
            refused: read(&self.refused),
            good: read(&self.good),
            bad: read(&self.bad),
            slow: read(&self.slow),
            neutral: read(&self.neutral),
            late: read(&self.late),
            skipped: read(&self.skipped),
            opened: read(&self.opened),
            half_opened: read(&self.half_opened),
            closed: read(&self.closed),
            ..rest
        }
    }
}
