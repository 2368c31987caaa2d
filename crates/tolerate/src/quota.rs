//! Two other ways to pay for retries, for who must behave as the clients of AWS or gRPC do: the retry quota of the AWS SDKs and
//! gRPC's retry throttling.
//!
//! Intuition: as with [`Budget`](crate::Budget), only successes pay, so a lasting outage is not met with retries. They
//! differ in what they count. The quota gives back what a retry took if it helped, so hiding single failures is nearly
//! free and only retries that were in vain use it up. The throttle counts all failures, also those that nobody wants
//! to retry, and stops when the stock is half gone: it measures how well the server is rather than what retries cost.
//!
//! Neither has a floor in time: with little traffic after an outage, it takes many successes until there are retries again.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// The retry quota of the AWS SDKs. Default: [`QuotaOptions::aws_2_1`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuotaOptions {
    /// Tokens at most, and at the start. Default 500.
    pub capacity: u32,
    /// What a retry takes. Default 14: no more than 35 in a row, and one in 14 successes when all of them fail (2.0: 5).
    pub retry: u32,
    /// What a retry after a timeout takes. Default 14 (2.0: 10, since it held the server for longer).
    pub timeout: u32,
    /// What a retry after being throttled takes. Default 5: it is cheap for the server and follows a long delay.
    pub throttled: u32,
    /// What a success without a retry gives. Default 1.
    pub success: u32,
}

impl Default for QuotaOptions {
    fn default() -> Self {
        Self::aws_2_1()
    }
}

impl QuotaOptions {
    /// By the retry specification 2.1.
    #[must_use]
    pub const fn aws_2_1() -> Self {
        Self {
            capacity: 500,
            retry: 14,
            timeout: 14,
            throttled: 5,
            success: 1,
        }
    }

    /// By the retry specification 2.0, which most SDKs have.
    #[must_use]
    pub const fn aws_2_0() -> Self {
        Self {
            retry: 5,
            timeout: 10,
            ..Self::aws_2_1()
        }
    }
}

/// Why an attempt is to be repeated: it decides what that takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryCause {
    /// It failed.
    Failed,
    /// There was no answer in time.
    Timeout,
    /// The server said that there are too many requests.
    Throttled,
}

/// What a retry took. Goes to [`Quota::succeed`] if the retry succeeds; dropped, it is gone.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a retry that succeeds gives it back"]
pub struct QuotaTaken(u32);

/// Tokens that pay for retries, shared by all workers.
#[derive(Debug)]
pub struct Quota {
    options: QuotaOptions,
    tokens: AtomicU32,
    granted: AtomicU64,
    refused: AtomicU64,
}

/// What a quota or a retry throttle knows, for metrics and status.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuotaSnapshot {
    /// Tokens that are there.
    pub tokens: f64,
    /// Tokens at most.
    pub capacity: f64,
    /// Retries that were allowed, ever.
    pub granted: u64,
    /// Retries that were not, ever.
    pub refused: u64,
}

impl Quota {
    /// A full quota.
    #[must_use]
    pub const fn new(options: QuotaOptions) -> Self {
        Self {
            options,
            tokens: AtomicU32::new(options.capacity),
            granted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Pays for a retry, before its delay. `None`: there is not enough, do not retry.
    #[must_use]
    pub fn try_take(&self, cause: RetryCause) -> Option<QuotaTaken> {
        let cost = match cause {
            RetryCause::Failed => self.options.retry,
            RetryCause::Timeout => self.options.timeout,
            RetryCause::Throttled => self.options.throttled,
        };
        let taken = self
            .tokens
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| {
                tokens.checked_sub(cost)
            });
        let count = if taken.is_ok() {
            &self.granted
        } else {
            &self.refused
        };
        count.fetch_add(1, Ordering::Relaxed);
        taken.is_ok().then_some(QuotaTaken(cost))
    }

    /// A request succeeded. `last` is what its last retry took, if there was one: it comes back. What earlier retries took is
    /// gone. Costs a read while the quota is full.
    pub fn succeed(&self, last: Option<QuotaTaken>) {
        let more = last.map_or(self.options.success, |taken| taken.0);
        let capacity = self.options.capacity;
        let add =
            |tokens: u32| (tokens < capacity).then(|| tokens.saturating_add(more).min(capacity));
        let _full: Result<u32, u32> =
            self.tokens
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// How it stands.
    #[must_use]
    pub fn snapshot(&self) -> QuotaSnapshot {
        QuotaSnapshot {
            tokens: f64::from(self.tokens.load(Ordering::Relaxed)),
            capacity: f64::from(self.options.capacity),
            granted: self.granted.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

/// gRPC's retry throttling (gRFC A6).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryThrottleOptions {
    /// Tokens at most, and at the start, 1 to 1000. Default 10, as in the proposal: five failures in a row stop retries.
    pub max_tokens: u32,
    /// What a success gives, above 0; counted in thousandths, at least one. Default 0.1, as in the proposal: retries stop
    /// while more than one in eleven attempts fails.
    pub token_ratio: f64,
}

impl Default for RetryThrottleOptions {
    fn default() -> Self {
        Self {
            max_tokens: 10,
            token_ratio: 0.1,
        }
    }
}

/// Thousandths in a token.
const TOKEN: u32 = 1_000;

/// Counts failures against successes, and allows retries and hedges only while the stock is more than half full. Shared by
/// all workers; one per server name.
#[derive(Debug)]
pub struct RetryThrottle {
    max: u32,
    gain: u32,
    tokens: AtomicU32,
    granted: AtomicU64,
    refused: AtomicU64,
}

impl RetryThrottle {
    /// Full.
    #[must_use]
    pub fn new(options: RetryThrottleOptions) -> Self {
        let max = options.max_tokens.clamp(1, 1_000) * TOKEN;
        // What is not a number gives nothing, and so the least.
        let gain = (options.token_ratio * f64::from(TOKEN)).round() as u32;
        Self {
            max,
            gain: gain.clamp(1, max),
            tokens: AtomicU32::new(max),
            granted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// An attempt succeeded. Costs a read while it is full.
    pub fn succeed(&self) {
        let add = |tokens: u32| (tokens < self.max).then(|| (tokens + self.gain).min(self.max));
        let _full: Result<u32, u32> =
            self.tokens
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// An attempt failed in a way that can be retried, or its server said not to retry. Count each, also the last. Whether a
    /// retry is allowed after it.
    #[must_use]
    pub fn fail(&self) -> bool {
        let less = |tokens: u32| tokens.saturating_sub(TOKEN);
        let before = self
            .tokens
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| {
                Some(less(tokens))
            });
        // The closure never declines.
        let allowed = self.above_half(less(before.unwrap_or_default()));
        let count = if allowed {
            &self.granted
        } else {
            &self.refused
        };
        count.fetch_add(1, Ordering::Relaxed);
        allowed
    }

    /// Whether a hedge may be sent.
    #[must_use]
    pub fn may_hedge(&self) -> bool {
        self.above_half(self.tokens.load(Ordering::Relaxed))
    }

    const fn above_half(&self, tokens: u32) -> bool {
        tokens > self.max / 2
    }

    /// How it stands.
    #[must_use]
    pub fn snapshot(&self) -> QuotaSnapshot {
        let tokens = |thousandths| f64::from(thousandths) / f64::from(TOKEN);
        QuotaSnapshot {
            tokens: tokens(self.tokens.load(Ordering::Relaxed)),
            capacity: tokens(self.max),
            granted: self.granted.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn in_an_outage_it_is_used_up_and_a_retry_in_vain_is_paid_by_successes() {
        for (options, retries, timeouts) in [
            (QuotaOptions::aws_2_0(), 100, 50),
            (QuotaOptions::aws_2_1(), 35, 35),
        ] {
            let run = |cause| {
                let quota = Quota::new(options);
                (0..1_000)
                    .filter(|_| quota.try_take(cause).is_some())
                    .count()
            };
            assert_eq!(run(RetryCause::Failed), retries);
            assert_eq!(run(RetryCause::Timeout), timeouts);
            assert_eq!(run(RetryCause::Throttled), 100);
        }
        let quota = Quota::new(QuotaOptions::aws_2_1());
        while quota.try_take(RetryCause::Failed).is_some() {}
        for _ in 0..1_400 {
            quota.succeed(None);
            let _lost: Option<QuotaTaken> = quota.try_take(RetryCause::Failed);
        }
        // 10 were left of 500, and 1,400 came: 14 for each.
        assert_eq!(quota.snapshot().granted, 35 + 100);
    }

    #[test]
    fn in_an_outage_five_failures_stop_retries_and_eleven_percent_too() {
        let throttle = RetryThrottle::new(RetryThrottleOptions::default());
        let allowed: Vec<_> = (0..6).map(|_| throttle.fail()).collect();
        assert_eq!(allowed, [true, true, true, true, false, false]);
        assert!(!throttle.may_hedge());
        // One failure in twelve attempts gains, one in ten loses.
        for (successes, ends) in [(11, 10.0), (9, 0.0)] {
            let throttle = RetryThrottle::new(RetryThrottleOptions::default());
            for _ in 0..1_000 {
                let _allowed: bool = throttle.fail();
                (0..successes).for_each(|_| throttle.succeed());
            }
            let tokens = throttle.snapshot().tokens;
            assert!((tokens - ends).abs() < 1.0, "{tokens}");
        }
    }

    #[test]
    fn odd_options() {
        let none = Quota::new(QuotaOptions {
            capacity: 0,
            ..QuotaOptions::default()
        });
        none.succeed(None);
        assert!(none.try_take(RetryCause::Failed).is_none());
        for token_ratio in [f64::NAN, -1.0, 0.0, 0.0004, 1e30] {
            let throttle = RetryThrottle::new(RetryThrottleOptions {
                max_tokens: 0,
                token_ratio,
            });
            assert!(!throttle.fail());
            for _ in 0..1_000 {
                throttle.succeed();
            }
            let snapshot = throttle.snapshot();
            assert!((snapshot.tokens - snapshot.capacity).abs() < 1e-9);
        }
    }

    #[test]
    fn workers_together_take_no_more_than_there_is() {
        let quota = Arc::new(Quota::new(QuotaOptions::aws_2_1()));
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let quota = Arc::clone(&quota);
                thread::spawn(move || {
                    for n in 0..5_000 {
                        let taken = quota.try_take(RetryCause::Failed);
                        if n % 2 == 0 && taken.is_some() {
                            quota.succeed(taken);
                        }
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().expect("no panic");
        }
        let snapshot = quota.snapshot();
        assert_eq!(snapshot.granted + snapshot.refused, 20_000);
        assert!(snapshot.tokens < 14.0, "35 were lost: {snapshot:?}");
    }

    proptest! {
        #[test]
        fn never_more_than_the_capacity(capacity in 0_u32..100, steps: Vec<(bool, u8)>) {
            let quota = Quota::new(QuotaOptions { capacity, ..QuotaOptions::default() });
            let throttle = RetryThrottle::new(RetryThrottleOptions { max_tokens: capacity, token_ratio: 0.7 });
            let mut held = None;
            for (take, cause) in steps {
                if take {
                    let causes = [RetryCause::Failed, RetryCause::Timeout, RetryCause::Throttled];
                    held = quota.try_take(causes[usize::from(cause % 3)]);
                    let allowed = throttle.fail();
                    prop_assert_eq!(allowed, throttle.may_hedge());
                } else {
                    quota.succeed(held.take());
                    throttle.succeed();
                }
                for snapshot in [quota.snapshot(), throttle.snapshot()] {
                    prop_assert!(snapshot.tokens <= snapshot.capacity);
                }
            }
        }
    }
}
