//! Two other budgets in common use: the retry quota of AWS, and gRPC's retry throttling.
//!
//! Both are fed by successes only, as [`Budget`](crate::Budget) is, but without a floor over time: in a total outage they give out and
//! stay out. They are here for who has to behave as those clients do; for anyone else `Budget` gives the same protection
//! and finds back by itself.
//!
//! [`Quota`] knows what kind of failure a retry is for, and gives back what a retry took once it succeeds. [`Throttling`] takes
//! for each failure, retried or not, and lets retry only above half.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// How a [`Quota`] is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuotaOptions {
    /// Tokens at the start, and at most. Default 500 (AWS).
    pub capacity: u32,
    /// What a retry takes. Default 14 (AWS 2.1).
    pub retry: u32,
    /// What a retry after a timeout takes. Default 14 (AWS 2.1 does not tell it from others).
    pub timeout: u32,
    /// What a retry after throttling takes. Default 5 (AWS 2.1): a server that refuses is cheaper to ask again than one that fails.
    pub throttled: u32,
    /// What a success without a retry gives. Default 1 (AWS).
    pub success: u32,
}

impl Default for QuotaOptions {
    fn default() -> Self {
        Self {
            capacity: 500,
            retry: 14,
            timeout: 14,
            throttled: 5,
            success: 1,
        }
    }
}

impl QuotaOptions {
    /// The AWS retry specification, version 2.0: a retry takes 5, one after a timeout 10.
    #[must_use]
    pub const fn aws_2_0() -> Self {
        Self {
            capacity: 500,
            retry: 5,
            timeout: 10,
            throttled: 5,
            success: 1,
        }
    }
}

/// What a retry is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum For {
    /// An error that may pass.
    Error,
    /// A timeout.
    Timeout,
    /// The server refused for overload.
    Throttled,
}

impl For {
    /// The word for metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Throttled => "throttled",
        }
    }
}

/// What the last retry of a request took. It goes back with the request's success, and is lost with its failure.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a success gives it back"]
pub struct Taken(u32);

impl Taken {
    /// Tokens.
    #[must_use]
    pub const fn tokens(&self) -> u32 {
        self.0
    }
}

/// What a quota or a throttling knows, for metrics and status.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuotaSnapshot {
    /// Tokens that are there.
    pub tokens: f64,
    /// Tokens that there may be.
    pub capacity: f64,
    /// Retries that were allowed, ever.
    pub allowed: u64,
    /// Retries that were denied, ever.
    pub denied: u64,
}

/// The retry quota of AWS clients. Shared by all workers; no locks.
#[derive(Debug)]
pub struct Quota {
    options: QuotaOptions,
    tokens: AtomicU64,
    counts: Counts,
}

impl Quota {
    /// Full.
    #[must_use]
    pub fn new(options: QuotaOptions) -> Self {
        Self {
            tokens: AtomicU64::new(options.capacity.into()),
            counts: Counts::default(),
            options,
        }
    }

    /// Takes what a retry costs, before its back-off. `None`: there is not enough, so there is no retry.
    #[must_use]
    pub fn try_take(&self, retry: For) -> Option<Taken> {
        let cost = match retry {
            For::Error => self.options.retry,
            For::Timeout => self.options.timeout,
            For::Throttled => self.options.throttled,
        };
        let taken = self
            .tokens
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| {
                tokens.checked_sub(cost.into())
            });
        self.counts.note(taken.is_ok());
        taken.ok().map(|_| Taken(cost))
    }

    /// A request succeeded: `last` is what its last retry took, if there was one.
    pub fn succeeded(&self, last: Option<Taken>) {
        let given = last.map_or(self.options.success, |taken| taken.tokens());
        add(&self.tokens, given.into(), self.options.capacity.into());
    }

    /// Tokens that are there.
    #[must_use]
    pub fn tokens(&self) -> u32 {
        // Never more than the capacity, which fits.
        self.tokens.load(Ordering::Relaxed) as u32
    }

    /// What it knows.
    #[must_use]
    pub fn snapshot(&self) -> QuotaSnapshot {
        self.counts
            .snapshot(self.tokens().into(), self.options.capacity.into())
    }
}

/// How a [`Throttling`] is counted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ThrottlingOptions {
    /// Tokens at the start, and at most, above 0 to 1000. Default 10 (gRFC A6's example).
    pub max_tokens: f64,
    /// What a success gives, above 0; three decimals count. Default 0.1 (gRFC A6's example).
    pub token_ratio: f64,
}

impl Default for ThrottlingOptions {
    fn default() -> Self {
        Self {
            max_tokens: 10.0,
            token_ratio: 0.1,
        }
    }
}

/// Tokens are counted in thousandths: three decimals of the ratio count.
const TOKEN: u64 = 1_000;

/// gRPC's retry throttling (gRFC A6), of one server's name. Shared by all workers; no locks.
#[derive(Debug)]
pub struct Throttling {
    max: u64,
    given: u64,
    tokens: AtomicU64,
    counts: Counts,
}

impl Throttling {
    /// Full.
    #[must_use]
    pub fn new(options: ThrottlingOptions) -> Self {
        // What is no number is nothing.
        let thousandths = |tokens: f64| (tokens.clamp(0.0, 1_000.0) * TOKEN as f64 + 1e-6) as u64;
        let max = thousandths(options.max_tokens);
        Self {
            max,
            given: thousandths(options.token_ratio),
            tokens: AtomicU64::new(max),
            counts: Counts::default(),
        }
    }

    /// An attempt failed in a way that is retried, or with a pushback that forbids it: takes a token. Whether a retry is allowed.
    #[must_use]
    pub fn failed(&self) -> bool {
        let less = |tokens: u64| Some(tokens.saturating_sub(TOKEN));
        // The closure never declines, so this cannot fail.
        let before = self
            .tokens
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .unwrap_or_default();
        let is_allowed = self.is_above_half(before.saturating_sub(TOKEN));
        self.counts.note(is_allowed);
        is_allowed
    }

    /// An attempt succeeded. One that failed in a way that is not retried, as with a malformed request, counts neither way (gRFC A6).
    pub fn succeeded(&self) {
        add(&self.tokens, self.given, self.max);
    }

    /// Whether a retry or a hedge is allowed now.
    #[must_use]
    pub fn allows(&self) -> bool {
        self.is_above_half(self.tokens.load(Ordering::Relaxed))
    }

    /// What it knows.
    #[must_use]
    pub fn snapshot(&self) -> QuotaSnapshot {
        let tokens = self.tokens.load(Ordering::Relaxed) as f64 / TOKEN as f64;
        self.counts.snapshot(tokens, self.max as f64 / TOKEN as f64)
    }

    const fn is_above_half(&self, tokens: u64) -> bool {
        tokens * 2 > self.max
    }
}

/// Each success comes by here, so what is full is only read: workers do not pass the word around.
fn add(tokens: &AtomicU64, given: u64, most: u64) {
    let more = |tokens: u64| (tokens < most).then(|| (tokens + given).min(most));
    let _full: Result<u64, u64> = tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
}

#[derive(Debug, Default)]
struct Counts {
    allowed: AtomicU64,
    denied: AtomicU64,
}

impl Counts {
    fn note(&self, is_allowed: bool) {
        let count = if is_allowed {
            &self.allowed
        } else {
            &self.denied
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn snapshot(&self, tokens: f64, capacity: f64) -> QuotaSnapshot {
        QuotaSnapshot {
            tokens,
            capacity,
            allowed: self.allowed.load(Ordering::Relaxed),
            denied: self.denied.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_timeout_costs() {
        let quota = Quota::new(QuotaOptions::aws_2_0());
        let count = std::iter::from_fn(|| quota.try_take(For::Timeout)).count();
        assert_eq!(count, 50, "in a total outage");
        let quota = Quota::new(QuotaOptions::default());
        let count = std::iter::from_fn(|| quota.try_take(For::Error)).count();
        assert_eq!((count, quota.tokens()), (35, 10));
        assert_eq!(
            quota.try_take(For::Throttled).map(|taken| taken.tokens()),
            Some(5)
        );
        let snapshot = quota.snapshot();
        assert_eq!((snapshot.allowed, snapshot.denied), (36, 1));
    }

    /// Retries stop when more than ratio / (1 + ratio) of the attempts fail: 9.09 % of them at 0.1.
    #[test]
    fn throttling_allows_a_tenth_and_no_more() {
        for (every, allowed) in [(12, true), (10, false)] {
            let throttling = Throttling::new(ThrottlingOptions::default());
            for n in 1..=10_000 {
                if n % every == 0 {
                    std::hint::black_box(throttling.failed());
                } else {
                    throttling.succeeded();
                }
            }
            assert_eq!(throttling.allows(), allowed, "one of {every}");
        }
    }

    #[test]
    fn odd_options_allow_nothing() {
        for max_tokens in [0.0, -1.0, f64::NAN] {
            let throttling = Throttling::new(ThrottlingOptions {
                max_tokens,
                token_ratio: f64::NAN,
            });
            throttling.succeeded();
            assert!(!throttling.allows() && !throttling.failed());
        }
    }

    proptest! {
        #[test]
        fn a_quota_stays_within_its_bounds(
            capacity in 0_u32..60, steps in proptest::collection::vec(0_u8..4, 0..200),
        ) {
            let quota = Quota::new(QuotaOptions { capacity, ..QuotaOptions::default() });
            let mut last = None;
            for step in steps {
                let before = quota.tokens();
                match step {
                    0 => { quota.succeeded(last.take()); }
                    1 => { quota.succeeded(None); }
                    _ => {
                        let kind = if step == 2 { For::Error } else { For::Throttled };
                        let taken = quota.try_take(kind);
                        prop_assert_eq!(quota.tokens(), before - taken.as_ref().map_or(0, Taken::tokens));
                        last = taken.or(last);
                    }
                }
                prop_assert!(quota.tokens() <= capacity);
            }
        }
    }
}
