//! When a second attempt is made while the first one is late, and what limits that.
//!
//! Most very late requests are late by chance: they met a server that was busy for a moment. A second attempt elsewhere,
//! made when the first has taken longer than nearly all do, cuts the tail for a few percent of additional load (Dean and
//! Barroso, The Tail at Scale, 2013). The delay is a quantile of the latencies and not a fixed time, so that it follows the
//! service. Each hedge takes a token of the budget that pays for retries too: when everything is slow, everything is late,
//! and hedging would double the load just then. Hedges also have a share of their own: no more of the attempts than the
//! quantile leaves, and never the lower half of the budget, which is for retries.

use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_core::stat::CoarseHistogram;
use serde::{Deserialize, Serialize};

/// Latencies are counted in two halves of a window; after this time the older half is dropped.
const HALF: Duration = Duration::from_secs(15);
/// Hedges that may be made at once beyond their share, after a time without any.
const BURST: f64 = 10.0;
/// How long a quantile is used before it is computed again.
const QUANTILE_TTL: Duration = Duration::from_millis(250);

/// After what time a hedge is made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HedgeAfter {
    /// After this time.
    Delay(#[serde(with = "crate::serde_duration")] Duration),
    /// After this quantile, from 0 to 1, of the latencies of the last 15 to 30 seconds.
    Quantile(f64),
}

/// When hedges are made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct HedgeOptions {
    /// After what time.
    pub after: HedgeAfter,
    /// Hedges per request, at most.
    pub limit: u32,
    /// Never earlier than this, whatever the quantile is.
    #[serde(with = "crate::serde_duration")]
    pub floor: Duration,
    /// With fewer latencies than this nothing is hedged.
    pub minimum_attempts: u64,
}

impl Default for HedgeOptions {
    /// After the quantile 0.95, once, not before 1 ms, with at least 100 latencies: one call in twenty is hedged, within the
    /// budget.
    fn default() -> Self {
        Self {
            after: HedgeAfter::Quantile(0.95),
            limit: 1,
            floor: Duration::from_millis(1),
            minimum_attempts: 100,
        }
    }
}

/// The latencies of a service as one thread sees them, and the delay of hedges.
#[derive(Debug, Clone)]
pub struct HedgeDelay {
    options: HedgeOptions,
    now: CoarseHistogram,
    before: CoarseHistogram,
    half: u64,
    delay: Option<Duration>,
    until: Instant,
    /// Hedges that may be made now.
    allowance: f64,
}

impl HedgeDelay {
    /// Without latencies.
    #[must_use]
    pub fn new(options: HedgeOptions) -> Self {
        Self {
            options,
            allowance: BURST,
            now: CoarseHistogram::default(),
            before: CoarseHistogram::default(),
            half: 0,
            delay: None,
            until: Instant::ZERO,
        }
    }

    /// Its options.
    #[must_use]
    pub const fn options(&self) -> &HedgeOptions {
        &self.options
    }

    /// Replaces the options; the latencies stay.
    pub const fn reconfigure(&mut self, options: HedgeOptions) {
        self.options = options;
        self.until = Instant::ZERO;
    }

    /// Whether a hedge that is due may be made now; counts it. After a quantile q, no more than 1 − q of the attempts that
    /// asked [`HedgeDelay::after`] are hedged, and ten at once beyond that: when a service becomes slow, all attempts are
    /// later than the earlier quantile. After a fixed delay only the budget limits them.
    pub fn may_hedge(&mut self) -> bool {
        if self.share().is_none() {
            return true;
        }
        let may = self.allowance >= 1.0;
        if may {
            self.allowance -= 1.0;
        }
        may
    }

    /// The share of attempts that may be hedged, if there is one.
    fn share(&self) -> Option<f64> {
        match self.options.after {
            HedgeAfter::Delay(_) => None,
            HedgeAfter::Quantile(quantile) => Some((1.0 - quantile).clamp(0.0, 1.0)),
        }
    }

    /// The latency of an attempt; also of one that was cancelled for a quicker one, which would have taken longer: without
    /// those the quantile would fall with each one that is cut off.
    pub fn note(&mut self, now: Instant, took: Duration) {
        if matches!(self.options.after, HedgeAfter::Quantile(_)) {
            self.rotate(now);
            self.now.add(took);
        }
    }

    /// After how long the attempt that begins now is hedged; `None` if too few latencies are known. Called once for each
    /// attempt.
    pub fn after(&mut self, now: Instant) -> Option<Duration> {
        if let Some(share) = self.share() {
            self.allowance = (self.allowance + share).min(BURST);
        }
        let quantile = match self.options.after {
            HedgeAfter::Delay(delay) => return Some(delay.max(self.options.floor)),
            HedgeAfter::Quantile(quantile) => quantile,
        };
        if now >= self.until {
            self.rotate(now);
            let enough = self.now.count() + self.before.count() >= self.options.minimum_attempts;
            // The upper edge: from the middle of a bucket on, half of those that lie in it would be late.
            let found = enough.then(|| self.now.upper_quantile_with(&self.before, quantile));
            self.delay = found.map(|found| found.max(self.options.floor));
            self.until = now + QUANTILE_TTL;
        }
        self.delay
    }

    fn rotate(&mut self, now: Instant) {
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
        found.is_some_and(|found| (0.99..1.13).contains(&(found.as_secs_f64() * 1e3 / millis)))
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

    /// 95 % in 10 ms and 5 % in 100 ms, and the same a few percent slower or faster: buckets do not matter.
    #[test]
    fn one_in_twenty_is_hedged_whatever_the_distribution() {
        for (quick, slow, least) in [
            (9.3, 0.04, 700),
            (10.0, 0.04, 700),
            (11.7, 0.04, 700),
            // Just at the quantile, which is now the one and now the other.
            (10.0, 0.05, 100),
            (10.9, 0.05, 100),
        ] {
            let mut live = hedge(HedgeAfter::Quantile(0.95));
            let mut random = evenkeel_core::Random::seeded(3);
            let mut hedged = 0;
            for n in 0..20_000 {
                let now = Instant::from_millis(n * 5);
                let millis = if random.unit() < slow { 100.0 } else { quick };
                let took = Duration::from_secs_f64(millis / 1e3);
                let is_late = live.after(now).is_some_and(|delay| took > delay);
                hedged += u32::from(is_late && live.may_hedge());
                live.note(now, took);
            }
            assert!((least..=1_010).contains(&hedged), "{quick}: {hedged}");
        }
    }

    #[test]
    fn a_service_that_becomes_slow_is_not_asked_twice() {
        let mut live = hedge(HedgeAfter::Quantile(0.95));
        let mut hedged = 0;
        for n in 0..1_000 {
            let now = Instant::from_millis(n * 5);
            let took = Duration::from_millis(if n < 500 { 10 } else { 1_000 });
            let is_late = live.after(now).is_some_and(|delay| took > delay);
            hedged += u32::from(is_late && live.may_hedge());
            if n < 500 {
                live.note(now, took);
            }
        }
        assert!(
            (10..=35).contains(&hedged),
            "a twentieth of 500, and ten: {hedged}"
        );
        let mut fixed = hedge(HedgeAfter::Delay(Duration::from_millis(1)));
        assert!((0..100).all(|_| fixed.may_hedge()));
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
