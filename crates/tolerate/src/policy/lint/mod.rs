//! What is wrong with a policy before it runs: found by arithmetic, not by an outage.
//!
//! A [`Lint`] that can only be a mistake fails the build; the rest are warnings, which
//! [`Recovery::lints`](super::Recovery::lints) returns.

mod mechanisms;
mod rules;

use std::fmt;
use std::time::Duration;

pub use rules::lint;

/// The load of a service and its capacity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Calls per second.
    pub per_second: f64,
    /// Attempts per second that it can answer.
    pub capacity: f64,
}

/// One finding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Lint {
    /// λ(1+b)+m ≥ C: after a stall the retries alone keep the service busy, and it does not recover.
    Unstable {
        /// λ(1+b)+m, in attempts per second.
        sustained: f64,
        /// C.
        capacity: f64,
        /// The greatest ratio that is stable; negative if none is.
        most_ratio: f64,
    },
    /// A limit of zero lets nothing through.
    LimitZero,
    /// A deadline or an attempt timeout of zero: every attempt times out.
    NoTime,
    /// NaN, below zero, or a quantile that is not between 0 and 1.
    NotANumber(&'static str),
    /// A budget that never holds a whole token pays for no retry.
    BudgetBelowOne,
    /// All attempts with their timeouts and back-offs exceed the deadline: the last ones are cut or not made.
    BeyondDeadline {
        /// What they take at most.
        worst: Duration,
        /// The deadline.
        deadline: Duration,
    },
    /// An attempt may take as long as the whole call, so an attempt that hangs leaves nothing for a retry.
    AttemptFillsDeadline,
    /// A hedge after the attempt's own timeout is never made.
    HedgeAfterTimeout,
    /// A limit of zero hedges, or a limit on attempts of one: hedging is configured and never happens.
    HedgeNever,
    /// More retries after timeouts than retries.
    TimeoutsBeyondRetries,
    /// Neither a deadline nor an attempt timeout: a call that hangs does so forever.
    Endless,
    /// This option is zero: nothing is admitted, or it has no effect.
    Zero(&'static str),
    /// A queue without a limit: nothing ever waits in it.
    QueueWithoutLimit,
    /// An entry that waits in the queue as long as it may has no time left.
    QueueFillsDeadline,
    /// No rule opens the breaker.
    BreakerNever,
    /// A breaker and a throttle react to the same failures: one of them never acts.
    BreakerAndThrottle,
}

impl Lint {
    /// Whether it can only be a mistake.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        matches!(
            self,
            Self::Unstable { .. }
                | Self::LimitZero
                | Self::NoTime
                | Self::NotANumber(_)
                | Self::Zero(_)
                | Self::QueueWithoutLimit
        )
    }
}

impl fmt::Display for Lint {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unstable {
                sustained,
                capacity,
                most_ratio,
            } => {
                write!(
                    to,
                    "unstable: {sustained:.0} attempts per second for a capacity of {capacity:.0}; "
                )?;
                if *most_ratio > 0.0 {
                    write!(to, "stable with a budget ratio below {most_ratio:.3}")
                } else {
                    to.write_str("no budget ratio is stable at this load")
                }
            }
            Self::LimitZero => to.write_str("a limit of 0 admits nothing"),
            Self::NoTime => to.write_str("with a timeout of 0 every attempt times out"),
            Self::NotANumber(key) => write!(to, "{key} is not a valid number"),
            Self::BudgetBelowOne => to.write_str("a budget with a burst below 1 pays for no retry"),
            Self::BeyondDeadline { worst, deadline } => write!(
                to,
                "all attempts take up to {worst:?}, the deadline is {deadline:?}: the last ones are cut short"
            ),
            Self::AttemptFillsDeadline => to
                .write_str("an attempt that hangs uses the whole deadline, so it is never retried"),
            Self::HedgeAfterTimeout => {
                to.write_str("a hedge would come after the attempt's timeout")
            }
            Self::HedgeNever => to.write_str("hedging is configured and can never happen"),
            Self::TimeoutsBeyondRetries => to.write_str("more retries after timeouts than retries"),
            Self::Endless => to
                .write_str("no deadline and no attempt timeout: a call that hangs does so forever"),
            Self::Zero(key) => write!(to, "{key} is 0: it admits nothing, or has no effect"),
            Self::QueueWithoutLimit => to.write_str("a queue without a limit: nothing waits in it"),
            Self::QueueFillsDeadline => {
                to.write_str("an entry that waits in the queue for its full time has no time left")
            }
            Self::BreakerNever => to.write_str("a breaker without a rule that opens it"),
            Self::BreakerAndThrottle => to.write_str(
                "a breaker and a throttle react to the same failures: one of them never acts",
            ),
        }
    }
}

/// Why a policy was not built: at least one of these is an error.
#[derive(Debug, Clone, PartialEq)]
pub struct Lints(pub Vec<Lint>);

impl fmt::Display for Lints {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, lint) in self.0.iter().enumerate() {
            let between = if index == 0 { "" } else { "; " };
            write!(to, "{between}{lint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Lints {}
