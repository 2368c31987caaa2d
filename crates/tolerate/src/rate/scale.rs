//! The arithmetic of a token bucket: what was earned follows from the time alone, what was spent only grows.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_core::{Instant, duration_from_seconds};

use super::RateOptions;

const NANOS: u64 = 1_000_000_000;
/// Units a second at most, so that a hundred years fit.
const MOST_PER_SECOND: f64 = 2.9e9;
const MOST_BURST: f64 = 4e18;

/// A bucket's arithmetic in integers: a token is a power of ten of units.
#[derive(Debug, Clone, Copy)]
pub(super) struct BucketScale {
    pub(super) token: u64,
    per_second: u64,
    pub(super) burst: u64,
}

impl BucketScale {
    /// In the finest units that can count a hundred years.
    pub(super) fn new(options: RateOptions) -> Self {
        // NaN stays NaN, fits nothing, and is zero as an integer.
        let per_second = options.per_second.clamp(0.0, 1e9);
        let burst = f64::from(options.burst.clamp(1, 1_000_000_000));
        let fits = |token: &u64| {
            let token = *token as f64;
            per_second * token <= MOST_PER_SECOND && burst * token <= MOST_BURST
        };
        let token = (0..=15).rev().map(|power| 10_u64.pow(power)).find(fits);
        let token = token.unwrap_or(1);
        Self {
            token,
            per_second: (per_second * token as f64).round() as u64,
            burst: burst as u64 * token,
        }
    }

    /// Units earned until `now`, the initial burst included.
    pub(super) const fn earned(self, now: Instant) -> u64 {
        let (seconds, nanos) = (now.as_nanos() / NANOS, now.as_nanos() % NANOS);
        self.burst
            .saturating_add(seconds.saturating_mul(self.per_second))
            .saturating_add(nanos * self.per_second / NANOS)
    }

    /// Units spent after taking a token, if one is available. What was earned beyond the burst is lost.
    pub(super) fn spend(self, spent: u64, now: Instant) -> Option<u64> {
        let earned = self.earned(now);
        let spent = spent.max(earned.saturating_sub(self.burst));
        let after = spent.saturating_add(self.token);
        (after <= earned).then_some(after)
    }

    /// How long after `now` the next token is available.
    pub(super) fn wait(self, spent: u64, now: Instant) -> Duration {
        let needed = spent.saturating_add(self.token).saturating_sub(self.burst);
        if self.per_second == 0 {
            return Duration::MAX;
        }
        let nanos = (u128::from(needed) * u128::from(NANOS)).div_ceil(u128::from(self.per_second));
        let at = Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        at.since(now)
    }

    /// Units spent after taking the next token, and when it is available, if that is before `latest`.
    pub(super) fn reserve(
        self,
        spent: u64,
        now: Instant,
        latest: Instant,
    ) -> Option<(u64, Instant)> {
        let earned = self.earned(now);
        let spent = spent.max(earned.saturating_sub(self.burst));
        let after = spent.saturating_add(self.token);
        let at = if after <= earned {
            now
        } else {
            now + self.wait(spent, now)
        };
        (at < latest).then_some((after, at))
    }

    /// What is spent of a bucket of the scale `to`, with the same tokens or the same debt as one of this scale of which so much is.
    pub(super) fn rescaled(&self, spent: u64, to: &Self, now: Instant) -> u64 {
        let earned = self.earned(now);
        let spent = spent.max(earned.saturating_sub(self.burst));
        let rescaled = |units: u64| {
            let tokens = units as f64 / self.token as f64;
            (tokens * to.token as f64) as u64
        };
        let there = rescaled(earned.saturating_sub(spent)).min(to.burst);
        let owed = rescaled(spent.saturating_sub(earned));
        to.earned(now).saturating_sub(there).saturating_add(owed)
    }

    /// How long it takes to fill an empty bucket.
    pub(super) fn fills_in(self) -> Duration {
        duration_from_seconds(self.burst as f64 / self.per_second as f64)
    }

    /// Takes a token from the bucket whose spending is `spent`.
    pub(super) fn take(self, spent: &AtomicU64, now: Instant) -> Result<(), Duration> {
        spent
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |spent| {
                self.spend(spent, now)
            })
            .map(|_| ())
            .map_err(|spent| self.wait(spent, now))
    }
}
