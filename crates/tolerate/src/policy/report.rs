//! The result of a call: the value or the last error, the attempts, and why it stopped.

use std::fmt;
use std::time::Duration;

use evenkeel_core::Instant;

use super::Repaired;
use crate::{StopReason, Verdict};

/// A report has this many attempts at most, the first ones.
const REMEMBERED: usize = 32;

/// Why a call stopped where it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stopped {
    /// It succeeded.
    Good,
    /// It failed in a way that a retry does not change.
    Fatal,
    /// The server may have acted, and the call must not be made twice.
    Once,
    /// What it sends was no longer available.
    Body,
    /// The limit on retries was reached.
    Attempts,
    /// The limit on retries after timeouts was reached.
    Timeouts,
    /// The budget was empty.
    Budget,
    /// The deadline left no time.
    Deadline,
    /// The breaker was open.
    Open,
    /// The limit on attempts at the same time was reached.
    Shed,
    /// There was no server to try.
    NoServer,
    /// The service rejects most attempts, so this one was not made.
    Throttled,
    /// No token of the rate would have been available before the deadline.
    Rate,
    /// The queue for a slot was full, or an attempt of a higher class displaced it.
    QueueFull,
    /// Its time was over while it waited for a slot.
    Expired,
    /// It waited too long for a slot while all others did too (CoDel).
    ShedLate,
}

impl Stopped {
    /// All of them, in the order of [`Stopped::index`].
    pub const ALL: [Self; 16] = [
        Self::Good,
        Self::Fatal,
        Self::Once,
        Self::Body,
        Self::Attempts,
        Self::Timeouts,
        Self::Budget,
        Self::Deadline,
        Self::Open,
        Self::Shed,
        Self::NoServer,
        Self::Throttled,
        Self::Rate,
        Self::QueueFull,
        Self::Expired,
        Self::ShedLate,
    ];

    /// Its index, for arrays of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word for metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Fatal => "fatal",
            Self::Once => "once",
            Self::Body => "body",
            Self::Attempts => "attempts",
            Self::Timeouts => "timeouts",
            Self::Budget => "budget",
            Self::Deadline => "deadline",
            Self::Open => "open",
            Self::Shed => "shed",
            Self::NoServer => "no-server",
            Self::Throttled => "throttled",
            Self::Rate => "rate",
            Self::QueueFull => "queue-full",
            Self::Expired => "expired",
            Self::ShedLate => "shed-codel",
        }
    }
}

impl From<StopReason> for Stopped {
    fn from(reason: StopReason) -> Self {
        match reason {
            StopReason::NotRetryable => Self::Fatal,
            StopReason::Method => Self::Once,
            StopReason::Body => Self::Body,
            StopReason::Limit => Self::Attempts,
            StopReason::TimeoutLimit => Self::Timeouts,
            StopReason::Budget => Self::Budget,
            StopReason::Deadline => Self::Deadline,
        }
    }
}

/// One attempt that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptSummary {
    /// Which one, from 1.
    pub number: u32,
    /// Whether it was a hedge.
    pub hedge: bool,
    /// The server, if one was picked.
    pub server: Option<u32>,
    /// When it began.
    pub began: Instant,
    /// How long it took.
    pub took: Duration,
    /// Its verdict; `None` if it was cancelled because another one decided the call.
    pub verdict: Option<Verdict>,
}

/// What happened during a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallReport {
    pub(crate) call: &'static str,
    pub(crate) attempts: u32,
    pub(crate) first: Option<AttemptSummary>,
    /// Allocated when there is a second attempt.
    pub(crate) more: Vec<AttemptSummary>,
    pub(crate) took: Duration,
    pub(crate) waited: Duration,
    /// Allocated when there is something to say.
    pub(crate) extras: Option<Box<ReportExtras>>,
    pub(crate) repaired: Option<Repaired>,
    pub(crate) fell_back: bool,
}

/// What only few calls have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ReportExtras {
    pub(crate) queued: Duration,
    pub(crate) paced: Duration,
    pub(crate) stale_age: Option<Duration>,
}

impl CallReport {
    pub(crate) const fn new(call: &'static str) -> Self {
        Self {
            call,
            attempts: 0,
            first: None,
            more: Vec::new(),
            took: Duration::ZERO,
            waited: Duration::ZERO,
            extras: None,
            repaired: None,
            fell_back: false,
        }
    }

    pub(crate) fn note(&mut self, record: AttemptSummary) {
        if self.first.is_none() {
            self.first = Some(record);
        } else if self.more.len() + 1 < REMEMBERED {
            self.more.push(record);
        }
    }

    pub(crate) fn extras(&mut self) -> &mut ReportExtras {
        self.extras.get_or_insert_default()
    }

    /// The name of the call.
    #[must_use]
    pub const fn call(&self) -> &'static str {
        self.call
    }

    /// Attempts that were made.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The attempts in the order of their ends, at most the first 32.
    pub fn log(&self) -> impl Iterator<Item = &AttemptSummary> {
        self.first.iter().chain(&self.more)
    }

    /// How long the whole call took.
    #[must_use]
    pub const fn took(&self) -> Duration {
        self.took
    }

    /// How much of that was waiting between attempts, with repairs.
    #[must_use]
    pub const fn waited(&self) -> Duration {
        self.waited
    }

    /// How much of it its attempts waited in the queue for a slot.
    #[must_use]
    pub fn queued(&self) -> Duration {
        self.extras.as_ref().map_or(Duration::ZERO, |it| it.queued)
    }

    /// How much of it its attempts waited for a token of the rate.
    #[must_use]
    pub fn paced(&self) -> Duration {
        self.extras.as_ref().map_or(Duration::ZERO, |it| it.paced)
    }

    /// The age of the value, if it is that of an earlier call.
    #[must_use]
    pub fn stale_age(&self) -> Option<Duration> {
        self.extras.as_ref()?.stale_age
    }

    /// The result of the last repair, if there was one.
    #[must_use]
    pub const fn repaired(&self) -> Option<Repaired> {
        self.repaired
    }

    /// Whether the value is the fallback's.
    #[must_use]
    pub const fn fell_back(&self) -> bool {
        self.fell_back
    }
}

/// The result of a call, with its report.
#[derive(Debug, Clone)]
#[must_use = "it holds the value, or the error"]
pub struct Recovered<T, E> {
    pub(crate) result: Option<Result<T, E>>,
    pub(crate) stopped: Stopped,
    pub(crate) report: CallReport,
}

impl<T, E> Recovered<T, E> {
    /// Why it stopped.
    pub const fn stopped(&self) -> Stopped {
        self.stopped
    }

    /// Whether an attempt succeeded, the first or a later one. A fallback's value does not count.
    pub const fn is_good(&self) -> bool {
        matches!(self.stopped, Stopped::Good)
    }

    /// What happened.
    pub const fn report(&self) -> &CallReport {
        &self.report
    }

    /// The last value or error, if there was one: an attempt that timed out leaves neither.
    pub const fn last(&self) -> Option<&Result<T, E>> {
        self.result.as_ref()
    }

    /// Uses `value` if there is none.
    pub fn or_value(mut self, value: T) -> Self {
        if !matches!(self.result, Some(Ok(_))) {
            self.result = Some(Ok(value));
            self.report.fell_back = true;
        }
        self
    }

    /// The value; also one that was not judged good, if there is no better one (a last response with status 503). Check
    /// [`Recovered::is_good`] if that matters.
    ///
    /// # Errors
    /// The last error, the reason to stop, and the report.
    pub fn into_result(self) -> Result<T, Failed<E>> {
        let error = match self.result {
            Some(Ok(value)) => return Ok(value),
            Some(Err(error)) => Some(error),
            None => None,
        };
        Err(Failed {
            error,
            stopped: self.stopped,
            report: Box::new(self.report),
        })
    }
}

/// A call without a value.
#[derive(Debug, Clone)]
pub struct Failed<E> {
    /// The last error of an attempt. `None` if there was no attempt, or none that ended.
    pub error: Option<E>,
    /// Why there was no further attempt.
    pub stopped: Stopped,
    /// What happened.
    pub report: Box<CallReport>,
}

impl<E> Failed<E> {
    /// An error from before the first attempt.
    #[cfg(feature = "tower")]
    pub(crate) fn before(call: &'static str, error: E) -> Self {
        Self {
            error: Some(error),
            stopped: Stopped::Fatal,
            report: Box::new(CallReport::new(call)),
        }
    }
}

impl<E: fmt::Display> fmt::Display for Failed<E> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = &self.report;
        let s = if report.attempts == 1 { "" } else { "s" };
        write!(
            to,
            "{} failed after {} attempt{s} in {:?} (stopped: {})",
            report.call,
            report.attempts,
            report.took,
            self.stopped.word()
        )?;
        match &self.error {
            Some(error) => write!(to, ": {error}"),
            None => Ok(()),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for Failed<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.as_ref().map(|error| error as _)
    }
}
