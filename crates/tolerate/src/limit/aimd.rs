//! AIMD: the limit grows by one for each good window, and shrinks by a tenth for each window with a drop.
//!
//! Intuition: the only signal that is always right is a request that was rejected or timed out. Additive increase and
//! multiplicative decrease give many clients of one server equal shares (Chiu and Jain, 1989), which nothing based on round
//! trips does. The price: it finds the limit by exceeding it. Use it where the server itself rejects excess load. Rule and
//! defaults are those of Netflix's concurrency-limits.

use std::time::Duration;

use evenkeel_core::Instant;
use serde::{Deserialize, Serialize};

use super::reason::{LimitReason, bounded};

/// The options of [`Aimd`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AimdOptions {
    /// The initial limit. Default 20 (Netflix).
    pub initial: u32,
    /// The minimum (at least 1). Default 20 (Netflix).
    pub min: u32,
    /// The maximum. Default 200 (Netflix).
    pub max: u32,
    /// The factor after a drop, 0.5 to below 1. Default 0.9 (Netflix).
    pub backoff: f64,
    /// A longer round trip counts as a drop. Default 5 s (Netflix).
    pub timeout: Duration,
}

impl Default for AimdOptions {
    fn default() -> Self {
        Self {
            initial: 20,
            min: 20,
            max: 200,
            backoff: 0.9,
            timeout: Duration::from_secs(5),
        }
    }
}

/// The algorithm. One owner; see [`AdaptiveLimit`](super::AdaptiveLimit) for many.
#[derive(Debug, Clone)]
pub struct Aimd {
    options: AimdOptions,
    limit: u32,
    why: LimitReason,
}

impl Aimd {
    /// Before the first sample.
    #[must_use]
    pub fn new(options: AimdOptions) -> Self {
        Self {
            limit: bounded(options.initial, options.min, options.max),
            options,
            why: LimitReason::Initial,
        }
    }

    /// Adds the sample of a window: its round trip, the maximum in flight when its requests began, and whether any was
    /// dropped. Returns the new limit.
    pub fn sample(&mut self, _now: Instant, rtt: Duration, in_flight: u32, dropped: bool) -> u32 {
        let AimdOptions { min, max, .. } = self.options;
        if dropped || rtt > self.options.timeout {
            let less = f64::from(self.limit) * self.options.backoff.clamp(0.0, 1.0);
            self.limit = bounded(less as u32, min, max);
            self.why = LimitReason::Dropped;
        } else if u64::from(in_flight) * 2 < u64::from(self.limit) {
            self.why = LimitReason::AppLimited;
        } else {
            let more = bounded(self.limit.saturating_add(1), min, max);
            if more > self.limit {
                self.why = LimitReason::Grew;
            }
            self.limit = more;
        }
        self.limit
    }

    /// The limit on requests in flight.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// The reason for the present limit.
    #[must_use]
    pub const fn why(&self) -> LimitReason {
        self.why
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn machine(initial: u32) -> Aimd {
        Aimd::new(AimdOptions {
            initial,
            min: 5,
            ..AimdOptions::default()
        })
    }

    #[test]
    fn one_more_or_a_tenth_less() {
        let mut machine = machine(10);
        assert_eq!(machine.sample(Instant::ZERO, MS, 5, false), 11);
        assert_eq!(machine.why(), LimitReason::Grew);
        assert_eq!(machine.sample(Instant::ZERO, MS, 5, false), 11);
        assert_eq!(machine.why(), LimitReason::AppLimited, "5 · 2 < 11");
        assert_eq!(machine.sample(Instant::ZERO, MS, 0, true), 9, "9.9");
        assert_eq!(machine.why(), LimitReason::Dropped);
        let slow = Duration::from_millis(5_001);
        assert_eq!(machine.sample(Instant::ZERO, slow, 9, false), 8);
        assert_eq!(machine.sample(Instant::ZERO, slow - MS, 9, false), 9);
    }

    #[test]
    fn stays_within_its_bounds() {
        let mut machine = machine(10);
        for _ in 0..100 {
            machine.sample(Instant::ZERO, MS, 1_000, true);
        }
        assert_eq!(machine.limit(), 5);
        for _ in 0..1_000 {
            machine.sample(Instant::ZERO, MS, 1_000, false);
        }
        assert_eq!((machine.limit(), machine.why()), (200, LimitReason::Grew));
        assert_eq!(Aimd::new(AimdOptions::default()).limit(), 20);
    }
}
