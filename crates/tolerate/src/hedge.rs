//! When a second attempt is made while the first one is late, and what pays for it.
//!
//! Most requests that are very late are late by chance: they met a server that was busy for a moment. A second attempt
//! elsewhere, made when the first has taken longer than nearly all do, cuts the tail for a few percent of additional load (Dean
//! and Barroso, The Tail at Scale, 2013). Its moment is a quantile of the latencies themselves and not a fixed time, so that it
//! follows the service, and each one takes a token of the budget that pays for retries too: when everything is slow, everything
//! is late, and hedging would double the load just then.

use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_core::stat::CoarseHistogram;
use serde::{Deserialize, Serialize};

/// The window of latencies has two halves; after this the older one is forgotten.
const HALF: Duration = Duration::from_secs(15);
/// How long a quantile is used before it is computed again.
const KEPT_FOR: Duration = Duration::from_millis(250);

/// After what time a second attempt is made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HedgeAfter {
    /// This.
    Delay(#[serde(with = "crate::wire::duration")] Duration),
    /// This quantile, from 0 to 1, of the latencies of the last 15 to 30 seconds.
    Quantile(f64),
}

/// When a second attempt is made while the first one is late.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct HedgeOptions {
    /// After what time.
    pub after: HedgeAfter,
    /// How many of them a request may have.
    pub limit: u32,
    /// Never earlier than this, whatever the quantile is.
    #[serde(with = "crate::wire::duration")]
    pub floor: Duration,
    /// A quantile of fewer latencies than this says nothing, and nothing is hedged.
    pub minimum_attempts: u64,
}

impl Default for HedgeOptions {
    /// After the quantile 0.95, once, not before 1 ms, when 100 latencies are known: one call in twenty is hedged, and the
    /// budget bounds that.
    fn default() -> Self {
        Self {
            after: HedgeAfter::Quantile(0.95),
            limit: 1,
            floor: Duration::from_millis(1),
            minimum_attempts: 100,
        }
    }
}

/// The latencies of a service as one thread sees them, and what follows from them.
#[derive(Debug, Clone)]
pub struct HedgeDelay {
    options: HedgeOptions,
    now: CoarseHistogram,
    before: CoarseHistogram,
    half: u64,
    delay: Option<Duration>,
    until: Instant,
}

impl HedgeDelay {
    /// Nothing known yet.
    #[must_use]
    pub fn new(options: HedgeOptions) -> Self {
        Self {
            options,
            now: CoarseHistogram::default(),
            before: CoarseHistogram::default(),
            half: 0,
            delay: None,
            until: Instant::ZERO,
        }
    }

    /// What a user chose.
    #[must_use]
    pub const fn options(&self) -> &HedgeOptions {
        &self.options
    }

    /// An attempt has taken so long; also one that was given up for a quicker one, which would have taken longer: without
    /// those the quantile would fall with each one that is cut off.
    pub fn note(&mut self, now: Instant, took: Duration) {
        if matches!(self.options.after, HedgeAfter::Quantile(_)) {
            self.turn(now);
            self.now.add(took);
        }
    }

    /// After how long a second attempt is made now; nothing if too little is known.
    pub fn after(&mut self, now: Instant) -> Option<Duration> {
        let quantile = match self.options.after {
            HedgeAfter::Delay(delay) => return Some(delay.max(self.options.floor)),
            HedgeAfter::Quantile(quantile) => quantile,
        };
        if now >= self.until {
            self.turn(now);
            let enough = self.now.count() + self.before.count() >= self.options.minimum_attempts;
            let found = enough.then(|| self.now.quantile_with(&self.before, quantile));
            self.delay = found.map(|found| found.max(self.options.floor));
            self.until = now + KEPT_FOR;
        }
        self.delay
    }

    fn turn(&mut self, now: Instant) {
        let half = now.as_nanos() / HALF.as_nanos() as u64;
        if half > self.half {
            std::mem::swap(&mut self.now, &mut self.before);
            self.now.clear();
            if half > self.half + 1 {
                self.before.clear();
            }
            self.half = half;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hedge(after: HedgeAfter) -> HedgeDelay {
        HedgeDelay::new(HedgeOptions {
            after,
            limit: 1,
            floor: Duration::from_millis(1),
            minimum_attempts: 100,
        })
    }

    fn near(found: Option<Duration>, millis: f64) -> bool {
        found.is_some_and(|found| (found.as_secs_f64() * 1e3 / millis - 1.0).abs() < 0.07)
    }

    #[test]
    fn a_fixed_delay_needs_to_know_nothing() {
        let mut fixed = hedge(HedgeAfter::Delay(Duration::from_millis(10)));
        assert_eq!(fixed.after(Instant::ZERO), Some(Duration::from_millis(10)));
        let mut least = hedge(HedgeAfter::Delay(Duration::ZERO));
        assert_eq!(least.after(Instant::ZERO), Some(Duration::from_millis(1)));
    }

    #[test]
    fn a_quantile_follows_the_service() {
        let mut live = hedge(HedgeAfter::Quantile(0.95));
        let at = Instant::from_millis;
        (0..99).for_each(|n| live.note(at(n), Duration::from_millis(5)));
        assert_eq!(live.after(at(99)), None, "too few");
        (0..6).for_each(|n| live.note(at(100 + n), Duration::from_millis(80)));
        assert!(near(live.after(at(400)), 80.0));
        (0..50).for_each(|n| live.note(at(401 + n), Duration::from_millis(5)));
        assert!(near(live.after(at(700)), 5.0));
        // It becomes slower, and what was before is forgotten in half a minute.
        (0..200).for_each(|n| live.note(at(20_000 + n), Duration::from_millis(40)));
        (0..200).for_each(|n| live.note(at(31_000 + n), Duration::from_millis(50)));
        assert!(near(live.after(at(32_000)), 50.0));
        assert_eq!(live.after(at(90_000)), None, "all of it is old");
    }

    #[test]
    fn never_before_the_floor() {
        let mut live = hedge(HedgeAfter::Quantile(0.5));
        (0..200).for_each(|_| live.note(Instant::ZERO, Duration::from_micros(20)));
        assert_eq!(
            live.after(Instant::from_millis(300)),
            Some(Duration::from_millis(1))
        );
    }
}
