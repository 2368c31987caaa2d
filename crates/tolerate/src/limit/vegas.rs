//! Vegas: the limit follows an estimate of how many requests wait at the server.
//!
//! Intuition (TCP Vegas, 1994): with a limit L and a known fastest round trip, `L · (1 − fastest/now)` of the requests in
//! flight wait and are not being served. Keep that number between two small bounds. It reacts to fewer queued requests than
//! [Gradient2](super::Gradient2), and suits requests that all take about the same time; where they differ, the fastest round
//! trip of a small request makes all others look queued. Formula and defaults are those of Netflix's concurrency-limits,
//! which re-measures the fastest round trip by accepting a sample from time to time.

use std::time::Duration;

use evenkeel_core::{Instant, Random};
use serde::{Deserialize, Serialize};

use super::reason::{LimitReason, bounded};

/// The options of [`Vegas`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VegasOptions {
    /// The initial limit. Default 20 (Netflix).
    pub initial: u32,
    /// The minimum (at least 1). Default 1 (Netflix).
    pub min: u32,
    /// The maximum. Default 1000 (Netflix).
    pub max: u32,
    /// The weight of a newly computed limit, above 0 to 1. Default 1 (Netflix).
    pub smoothing: f64,
    /// With fewer waiting than `alpha · log10(L)` the limit grows. Default 3 (Netflix).
    pub alpha: u32,
    /// With more waiting than `beta · log10(L)` it shrinks. Default 6 (Netflix).
    pub beta: u32,
    /// The factor by which it shrinks, instead of by subtracting `log10(L)`. Default none (Netflix).
    pub shrink_to: Option<f64>,
    /// The fastest round trip is measured again after `remeasure · L` samples, each time a random half to all of that.
    /// Default 30 (Netflix).
    pub remeasure: u32,
}

impl Default for VegasOptions {
    fn default() -> Self {
        Self {
            initial: 20,
            min: 1,
            max: 1_000,
            smoothing: 1.0,
            alpha: 3,
            beta: 6,
            shrink_to: None,
            remeasure: 30,
        }
    }
}

/// The algorithm. One owner; see [`AdaptiveLimit`](super::AdaptiveLimit) for many.
#[derive(Debug, Clone)]
pub struct Vegas {
    options: VegasOptions,
    limit: f64,
    fastest: Option<Duration>,
    /// Samples since the fastest round trip was measured, and the random part of the longest time between measurements.
    samples: u32,
    jitter: f64,
    why: LimitReason,
    rng: Random,
}

impl Vegas {
    /// Before the first sample. `seed` is for the jitter of measurements only.
    #[must_use]
    pub fn new(options: VegasOptions, seed: u64) -> Self {
        let mut rng = Random::seeded(seed);
        Self {
            limit: f64::from(bounded(options.initial, options.min, options.max)),
            options,
            fastest: None,
            samples: 0,
            jitter: jitter(&mut rng),
            why: LimitReason::Initial,
            rng,
        }
    }

    /// Adds the sample of a window: its round trip, the maximum in flight when its requests began, and whether any was
    /// dropped. Returns the new limit.
    pub fn sample(&mut self, _now: Instant, rtt: Duration, in_flight: u32, dropped: bool) -> u32 {
        let rtt = rtt.max(Duration::from_nanos(1));
        self.samples = self.samples.saturating_add(1);
        if self.jitter * f64::from(self.options.remeasure) * self.limit <= f64::from(self.samples) {
            self.jitter = jitter(&mut self.rng);
            self.samples = 0;
            self.fastest = Some(rtt);
            self.why = LimitReason::Probing;
            return self.limit();
        }
        let Some(fastest) = self.fastest.filter(|fastest| rtt >= *fastest) else {
            self.fastest = Some(rtt);
            return self.limit();
        };
        if !dropped && f64::from(in_flight) * 2.0 < self.limit {
            self.why = LimitReason::AppLimited;
            return self.limit();
        }
        let wanted = if dropped {
            Some(self.smaller())
        } else {
            self.wanted(waiting(self.limit, fastest, rtt))
        };
        if let Some(wanted) = wanted {
            self.move_towards(wanted, dropped);
        }
        self.limit()
    }

    /// The limit on requests in flight.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.limit as u32
    }

    /// The reason for the present limit.
    #[must_use]
    pub const fn why(&self) -> LimitReason {
        self.why
    }

    /// The fastest round trip, if one was measured.
    #[must_use]
    pub const fn baseline(&self) -> Option<Duration> {
        self.fastest
    }

    /// The wanted limit with this many waiting; `None` if the present one is right.
    fn wanted(&self, waiting: f64) -> Option<f64> {
        let step = log10(self.limit);
        let beta = f64::from(self.options.beta) * step;
        if waiting <= step {
            Some(self.limit + beta)
        } else if waiting < f64::from(self.options.alpha) * step {
            Some(self.limit + step)
        } else if waiting > beta {
            Some(self.smaller())
        } else {
            None
        }
    }

    fn smaller(&self) -> f64 {
        match self.options.shrink_to {
            Some(part) => self.limit * part.clamp(0.0, 1.0),
            None => self.limit - log10(self.limit),
        }
    }

    fn move_towards(&mut self, wanted: f64, dropped: bool) {
        let VegasOptions { min, max, .. } = self.options;
        let wanted = wanted.clamp(
            f64::from(bounded(min, min, max)),
            f64::from(bounded(max, min, max)),
        );
        let smoothing = self.options.smoothing.clamp(0.0, 1.0);
        let next = self.limit.mul_add(1.0 - smoothing, wanted * smoothing);
        if next.is_nan() {
            return;
        }
        let why = LimitReason::of_change(self.limit, next).unwrap_or(self.why);
        self.why = if dropped { LimitReason::Dropped } else { why };
        self.limit = next;
    }
}

/// `ceil(L · (1 − fastest / rtt))`.
fn waiting(limit: f64, fastest: Duration, rtt: Duration) -> f64 {
    (limit * (1.0 - fastest.as_secs_f64() / rtt.as_secs_f64())).ceil()
}

/// The integer part of log10, at least 1.
fn log10(limit: f64) -> f64 {
    limit.max(1.0).log10().floor().max(1.0)
}

/// A random half to all.
fn jitter(rng: &mut Random) -> f64 {
    rng.unit().mul_add(0.5, 0.5)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Round trip in ms, in flight → limit.
    fn run(options: VegasOptions, samples: &[(u64, u32)]) -> Vec<u32> {
        let mut machine = Vegas::new(options, 1);
        samples
            .iter()
            .map(|&(rtt, in_flight)| {
                machine.sample(Instant::ZERO, Duration::from_millis(rtt), in_flight, false)
            })
            .collect()
    }

    fn published() -> VegasOptions {
        VegasOptions {
            initial: 10,
            max: 20,
            ..VegasOptions::default()
        }
    }

    /// The cases of Netflix's VegasLimitTest.
    #[test]
    fn published_points() {
        let large = VegasOptions {
            initial: 10_000,
            max: 20_000,
            ..VegasOptions::default()
        };
        assert_eq!(
            run(large, &[(10_000, 5_000), (10_000, 6_000)]),
            [10_000, 10_024]
        );
        assert_eq!(run(published(), &[(10, 10), (10, 11)]), [10, 16]);
        assert_eq!(run(published(), &[(10, 10), (50, 11)]), [10, 9]);
        assert_eq!(run(published(), &[(10, 10), (14, 14)]), [10, 10]);
        let halving = VegasOptions {
            initial: 100,
            max: 200,
            shrink_to: Some(0.5),
            ..VegasOptions::default()
        };
        let samples = [(10, 100), (20, 100), (20, 100)];
        assert_eq!(run(halving, &samples), [100, 50, 25]);
        let smooth = VegasOptions {
            smoothing: 0.5,
            ..halving
        };
        assert_eq!(run(smooth, &samples), [100, 75, 56]);
    }

    #[test]
    fn a_drop_shrinks_even_without_a_crowd_and_nothing_grows_without_one() {
        let mut machine = Vegas::new(published(), 1);
        let rtt = Duration::from_millis(10);
        machine.sample(Instant::ZERO, rtt, 4, false);
        assert_eq!(machine.sample(Instant::ZERO, rtt, 4, false), 10);
        assert_eq!(machine.why(), LimitReason::AppLimited);
        assert_eq!(machine.sample(Instant::ZERO, rtt, 4, true), 9);
        assert_eq!(machine.why(), LimitReason::Dropped);
    }

    #[test]
    fn the_fastest_round_trip_is_forgotten_after_a_while() {
        let mut machine = Vegas::new(published(), 5);
        let mut sampled = 0;
        machine.sample(Instant::ZERO, Duration::from_millis(1), 10, false);
        while machine.baseline() == Some(Duration::from_millis(1)) {
            machine.sample(Instant::ZERO, Duration::from_millis(30), 10, false);
            sampled += 1;
            assert!(sampled <= 300);
        }
        // The limit is 1 by then: between 15 and 30 samples for each that was left.
        assert!(sampled >= 15, "{sampled}");
        assert_eq!(machine.baseline(), Some(Duration::from_millis(30)));
        assert_eq!(machine.why(), LimitReason::Probing);
    }

    proptest! {
        #[test]
        fn stays_within_its_bounds_whatever_comes(
            initial: u32, min in 0_u32..300, max in 0_u32..3_000,
            samples in proptest::collection::vec((0_u64..1_000_000, any::<u32>(), any::<bool>()), 0..300),
        ) {
            let mut machine = Vegas::new(VegasOptions { initial, min, max, ..VegasOptions::default() }, 1);
            for (micros, in_flight, dropped) in samples {
                let limit = machine.sample(Instant::ZERO, Duration::from_micros(micros), in_flight, dropped);
                prop_assert!(limit >= bounded(min, min, max) && limit <= bounded(max, min, max));
            }
        }
    }
}
