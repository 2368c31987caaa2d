//! What a policy is made of: plain data, from code or from any serde format, with defaults that suit a call within a
//! data centre.
//!
//! Apart from the policy that runs, so that it can be compared, printed, sent, and replaced as a whole.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::retry::RetryRules;
use crate::{
    BackoffOptions, BreakerOptions, BudgetOptions, Deadline, HedgeOptions, InjectOptions, Jitter,
    LimitOptions, QueueOptions, RateOptions, ShedOptions, ThrottleOptions, serde_duration,
};

/// A recovery policy as data. Durations are text with a unit ("250ms").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RecoveryOptions {
    /// For the whole call with its retries and waits. Default 10 s: people do not wait longer. None: only the caller's.
    #[serde(with = "serde_duration::optional")]
    pub deadline: Option<Duration>,
    /// For each attempt. Default 3 s, so that three fit into the deadline. None: the deadline alone.
    #[serde(with = "serde_duration::optional")]
    pub attempt_timeout: Option<Duration>,
    /// Retries that count, at most. Default 2: the third attempt of a call succeeds seldom where the first two did not.
    pub retries: u32,
    /// Of these, how many may follow a timeout. Default 1: each costs a whole attempt's time, and the first may still be running.
    pub retries_after_timeout: u32,
    /// How long to wait before a retry. Default 50 ms doubling up to 20 s with full jitter: the AWS specification 2.1.
    pub backoff: BackoffOptions,
    /// How much longer than the back-off a server's wish to wait may be. Default 5 s: the AWS specification 2.1.
    #[serde(with = "serde_duration")]
    pub max_pushback: Duration,
    /// What pays for retries and hedges. Default 0.2 a success, 1 a second, 35 saved up.
    pub budget: BudgetOptions,
    /// Second attempts while the first is late. Default none: they are worth it for reads whose slowest answers matter.
    pub hedge: Option<HedgeOptions>,
    /// Attempts at the same time, of all calls together. Default none.
    pub limit: Option<LimitOptions>,
    /// Which class may use how much of the limit.
    pub shares: ShedOptions,
    /// Attempts that find the limit full wait here for a place, by class, up to the deadline. Default none: they are refused.
    pub queue: Option<QueueOptions>,
    /// Attempts a second, of all calls together. Who finds no token waits for one if it is there before the deadline. Default none.
    pub rate: Option<RateOptions>,
    /// Stops asking a server that fails: a breaker for each server number picked, for at most 1,024 of them; one for all where no
    /// server is picked. Default none.
    pub breaker: Option<BreakerOptions>,
    /// Asks a service that refuses most only about as often as it accepts. Default none.
    pub throttle: Option<ThrottleOptions>,
    /// Faults on purpose: some attempts are delayed, some fail without being made. Default none.
    pub inject: Option<InjectOptions>,
    /// Runs of the repair function for one call, at most. Default 1.
    pub repairs: u32,
}

impl Default for RecoveryOptions {
    fn default() -> Self {
        Self {
            deadline: Some(Duration::from_secs(10)),
            attempt_timeout: Some(Duration::from_secs(3)),
            retries: 2,
            retries_after_timeout: 1,
            backoff: BackoffOptions::exponential(
                Duration::from_millis(50),
                Duration::from_secs(20),
                Jitter::Full,
            ),
            max_pushback: RetryRules::MAX_PUSHBACK,
            budget: BudgetOptions {
                ratio: 0.2,
                floor_per_second: 1.0,
                burst: 35.0,
            },
            hedge: None,
            limit: None,
            shares: ShedOptions::default(),
            queue: None,
            rate: None,
            breaker: None,
            throttle: None,
            inject: None,
            repairs: 1,
        }
    }
}

impl RecoveryOptions {
    pub(crate) const fn rules(&self) -> RetryRules<'_> {
        RetryRules {
            limit: self.retries,
            timeout_limit: self.retries_after_timeout,
            backoff: &self.backoff,
            max_pushback: self.max_pushback,
        }
    }

    /// The deadline of a call that begins now and whose maker has one of its own.
    pub(crate) fn deadline_from(&self, now: evenkeel_core::Instant, callers: Deadline) -> Deadline {
        match self.deadline.map(|total| Deadline::new(now, total)) {
            Some(own) if own.end() < callers.end() => own,
            _ => callers,
        }
    }
}
