//! The options of a policy: plain data, from code or from any serde format, with defaults for calls within a data centre.
//!
//! Separate from the policy, so that they can be compared, printed, sent, and replaced as a whole.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::retry::RetryRules;
use crate::{
    BackoffOptions, BreakerOptions, BudgetOptions, Deadline, HedgeOptions, InjectOptions, Jitter,
    LimitOptions, QueueOptions, RateOptions, ShedOptions, ThrottleOptions, serde_duration,
};

/// The options of a policy. Durations are text with a unit ("250ms").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RecoveryOptions {
    /// The deadline of the whole call with its retries and waits. Default 10 s: people do not wait longer. None: only the
    /// caller's.
    #[serde(with = "serde_duration::optional")]
    pub deadline: Option<Duration>,
    /// The timeout of each attempt. Default 3 s, so that three fit into the deadline. None: the deadline alone.
    #[serde(with = "serde_duration::optional")]
    pub attempt_timeout: Option<Duration>,
    /// Counted retries, at most. Default 2: a third attempt seldom succeeds where two have failed.
    pub retries: u32,
    /// Of these, how many may follow a timeout. Default 1: each costs a whole attempt's time, and the earlier attempt may
    /// still be running.
    pub retries_after_timeout: u32,
    /// The delays before retries. Default 50 ms doubling up to 20 s with full jitter: the AWS retry specification 2.1.
    pub backoff: BackoffOptions,
    /// How much longer than the back-off's delay a server's pushback may be. Default 5 s: the AWS retry specification 2.1.
    #[serde(with = "serde_duration")]
    pub max_pushback: Duration,
    /// What pays for retries and hedges. Default 0.2 per success, 1 per second, 35 saved.
    pub budget: BudgetOptions,
    /// Hedged attempts while the first is late. Default none: they are worth it for reads whose slowest responses matter.
    pub hedge: Option<HedgeOptions>,
    /// Concurrent attempts, of all calls together. Default none.
    pub limit: Option<LimitOptions>,
    /// The share of the limit for each class.
    pub shares: ShedOptions,
    /// Attempts that find the limit full wait in this queue, by class, up to the deadline. Default none: they are rejected.
    pub queue: Option<QueueOptions>,
    /// Attempts per second, of all calls together. An attempt without a token waits for one that is due before the deadline.
    /// Default none.
    pub rate: Option<RateOptions>,
    /// Stops calling a failing server: a circuit breaker for each server number picked, at most 1,024 of them; one for all
    /// attempts without a picked server. Default none.
    pub breaker: Option<BreakerOptions>,
    /// Sends less to a service that rejects most attempts. Default none.
    pub throttle: Option<ThrottleOptions>,
    /// Fault injection: some attempts are delayed, some fail without being made. Default none.
    pub inject: Option<InjectOptions>,
    /// Runs of the repair function per call, at most. Default 1.
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

    /// The deadline of a call that begins now and has a deadline of its own.
    pub(crate) fn deadline_from(&self, now: evenkeel_core::Instant, callers: Deadline) -> Deadline {
        match self.deadline.map(|total| Deadline::new(now, total)) {
            Some(own) if own.end() < callers.end() => own,
            _ => callers,
        }
    }
}
