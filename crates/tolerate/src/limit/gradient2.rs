//! Gradient2: the limit follows how much slower requests are now than usual.
//!
//! Intuition: a server that is not full answers as fast as ever, whatever the limit; once it is full, more concurrency only
//! makes requests wait. So compare the present round trip (short) with its long average, and let the limit shrink by their
//! ratio and grow by a small constant: `L' = (1−s)·L + s·(g·L + q)`, `g = clamp(tolerance · long / short, 0.5, 1)`. Formula
//! and defaults are those of Netflix's concurrency-limits.
//!
//! What those lack: the long average is measured under the limit's own queue, so a lasting queue becomes "usual", and the
//! limit creeps up on a busy server without end. Here the baseline is measured again every 30 to 60 seconds (jittered, so
//! that a fleet does not do it at once): the limit is lowered to a quarter for the few round trips that thirty samples take,
//! and their round trip is the new baseline, lower or higher. If so few requests are in flight anyway, nothing is lowered.

use std::time::Duration;

use evenkeel_core::{Instant, Random, duration_from_seconds};
use serde::{Deserialize, Serialize};

use super::reason::{LimitReason, bounded};

/// The options of [`Gradient2`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gradient2Options {
    /// The initial limit. Default 20 (Netflix).
    pub initial: u32,
    /// The minimum (at least 1). Default 20 (Netflix).
    pub min: u32,
    /// The maximum. Default 200 (Netflix).
    pub max: u32,
    /// The weight of a newly computed limit, above 0 to 1. Default 0.2 (Netflix).
    pub smoothing: f64,
    /// Requests that may wait at the server; the limit grows by this. Default 4 (Netflix).
    pub queue: u32,
    /// Round trips up to this many times the usual one are tolerated, from 1. Default 1.5 (Netflix).
    pub tolerance: f64,
    /// Samples in the long average. Default 600 (Netflix), ten minutes of windows of a second.
    pub long_window: u32,
    /// How the baseline is measured again; `None` for never (as Netflix).
    pub remeasure: Option<RemeasureOptions>,
    /// The round trip of an unloaded server, if it is known beforehand. Default none.
    pub usual: Option<Duration>,
}

impl Default for Gradient2Options {
    fn default() -> Self {
        Self {
            initial: 20,
            min: 20,
            max: 200,
            smoothing: 0.2,
            queue: 4,
            tolerance: 1.5,
            long_window: 600,
            remeasure: Some(RemeasureOptions::default()),
            usual: None,
        }
    }
}

impl Gradient2Options {
    /// For a server that is overloaded already, as long as that lasts. `initial` and `usual` (zero: unknown) are its limit
    /// and round trip from before. The limit may become very low; the baseline is measured every few seconds, since the load
    /// may have another cause; and no sample in between is taken as usual.
    #[must_use]
    pub fn for_overload(initial: u32, usual: Duration) -> Self {
        Self {
            initial: if initial == 0 { 20 } else { initial },
            min: 1,
            max: 100_000,
            long_window: 6_000,
            remeasure: Some(RemeasureOptions {
                every: OVERLOAD_EVERY,
                floor: 1,
                ..RemeasureOptions::default()
            }),
            usual: (!usual.is_zero()).then_some(usual),
            ..Self::default()
        }
    }
}

/// How the baseline of [`Gradient2`] is measured again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RemeasureOptions {
    /// The longest time between measurements, or 400 round trips if that is longer; each time a random half to all of it
    /// (Envoy measures every 60 s). Default 60 s.
    pub every: Duration,
    /// The share of the limit that stays meanwhile, above 0 to 1. It drains a queue that makes requests up to `1/share`
    /// times as slow. Default 0.25.
    pub share: f64,
    /// But never a lower limit than this (Envoy measures at 3). Default 3.
    pub floor: u32,
    /// A measurement is given up after this time, or 12 round trips if that is longer. Default 1 s.
    pub within: Duration,
}

impl Default for RemeasureOptions {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(60),
            share: 0.25,
            floor: 3,
            within: Duration::from_secs(1),
        }
    }
}

/// The longest time between measurements during an overload.
const OVERLOAD_EVERY: Duration = Duration::from_secs(5);
/// Samples at the lowered limit that make a baseline.
const QUIET_SAMPLES: u32 = 3;
/// Samples before the long average forgets (Netflix).
const WARM_UP: u32 = 10;
/// If requests are more than this many times as fast as usual, the average is pulled down …
const FAR_BELOW: f64 = 2.0;
/// … by this factor per sample (Netflix).
const HELP_DOWN: f64 = 0.95;
/// The round trips of a measurement, at most …
const ROUND_TRIPS: f64 = 12.0;
/// … of this many, so that slow requests are not measured all the time.
const ROUND_TRIPS_BETWEEN: f64 = 400.0;

/// The algorithm. One owner; see [`AdaptiveLimit`](super::AdaptiveLimit) for many.
#[derive(Debug, Clone)]
pub struct Gradient2 {
    options: Gradient2Options,
    limit: f64,
    long: LongAverage,
    gradient: Option<f64>,
    measuring: Option<BaselineProbe>,
    /// When the next measurement is due.
    due: Instant,
    why: LimitReason,
    rng: Random,
}

/// A measurement under way.
#[derive(Debug, Clone, Copy)]
struct BaselineProbe {
    limit: u32,
    until: Instant,
    quiet: u32,
    sum: f64,
}

impl Gradient2 {
    /// Before the first sample. `seed` is for the jitter of measurements only.
    #[must_use]
    pub fn new(options: Gradient2Options, now: Instant, seed: u64) -> Self {
        let mut new = Self {
            limit: f64::from(bounded(options.initial, options.min, options.max)),
            long: LongAverage::new(options.long_window),
            options,
            gradient: None,
            measuring: None,
            due: Instant::NEVER,
            why: LimitReason::Initial,
            rng: Random::seeded(seed),
        };
        if let Some(usual) = options.usual {
            new.long.restart(usual.as_secs_f64());
        }
        new.plan_measuring(now, 0.0);
        new
    }

    /// Adds the sample of a window: its round trip, and the maximum in flight when its requests began. Drops are ignored:
    /// the only signal of this algorithm is time, and a timeout has taken its time. Returns the new limit.
    pub fn sample(&mut self, now: Instant, rtt: Duration, in_flight: u32, _dropped: bool) -> u32 {
        let short = rtt.as_secs_f64().max(1e-9);
        if let Some(measuring) = self.measuring {
            self.measure(measuring, now, short, in_flight);
            return self.limit();
        }
        self.long.add(short);
        if self.long.value / short > FAR_BELOW {
            self.long.value *= HELP_DOWN;
        }
        if now >= self.due && self.begin_measuring(now, short, in_flight) {
            return self.limit();
        }
        if f64::from(in_flight) < self.limit / 2.0 {
            self.why = LimitReason::AppLimited;
            return self.limit();
        }
        let gradient = gradient(self.options.tolerance, self.long.value, short);
        self.gradient = Some(gradient);
        let next = self.next(gradient);
        self.why = LimitReason::of_change(self.limit, next).unwrap_or(self.why);
        self.limit = next;
        self.limit()
    }

    /// The limit on requests in flight.
    #[must_use]
    pub fn limit(&self) -> u32 {
        // `next` keeps it within `u32`.
        self.measuring
            .map_or(self.limit as u32, |measuring| measuring.limit)
    }

    /// The reason for the present limit.
    #[must_use]
    pub const fn why(&self) -> LimitReason {
        self.why
    }

    /// The usual round trip, once something was measured.
    #[must_use]
    pub fn baseline(&self) -> Option<Duration> {
        (self.long.count > 0).then(|| duration_from_seconds(self.long.value))
    }

    /// The last gradient, 0.5 to 1: below 1 the server is slower than usual.
    #[must_use]
    pub const fn gradient(&self) -> Option<f64> {
        self.gradient
    }

    /// Whether the limit is lowered for a measurement: then samples are wanted at once, not when a window is full.
    #[must_use]
    pub const fn is_measuring(&self) -> bool {
        self.measuring.is_some()
    }

    fn next(&self, gradient: f64) -> f64 {
        let Gradient2Options { min, max, .. } = self.options;
        let next = next_limit(
            self.limit,
            gradient,
            self.options.smoothing,
            self.options.queue,
        );
        if next.is_nan() {
            return self.limit;
        }
        next.clamp(
            f64::from(bounded(min, min, max)),
            f64::from(bounded(max, min, max)),
        )
    }

    /// The measurement is due: false if this sample already is one.
    fn begin_measuring(&mut self, now: Instant, short: f64, in_flight: u32) -> bool {
        let Some(options) = self.options.remeasure else {
            return false;
        };
        let share = self.limit * options.share.clamp(0.0, 1.0);
        let low = (share as u32).max(options.floor).max(1);
        if in_flight <= low {
            self.long.restart(short);
            self.plan_measuring(now, short);
            return false;
        }
        let patience = options
            .within
            .max(duration_from_seconds(short * ROUND_TRIPS));
        self.why = LimitReason::Probing;
        self.measuring = Some(BaselineProbe {
            limit: low,
            until: now + patience,
            quiet: 0,
            sum: 0.0,
        });
        true
    }

    /// A sample while the limit is lowered. Those of requests that began at a higher concurrency are ignored.
    fn measure(&mut self, mut measuring: BaselineProbe, now: Instant, short: f64, in_flight: u32) {
        if in_flight <= measuring.limit {
            measuring.quiet += 1;
            measuring.sum += short;
        }
        let done = measuring.quiet >= QUIET_SAMPLES;
        if done {
            self.long
                .restart(measuring.sum / f64::from(measuring.quiet));
        }
        if done || now >= measuring.until {
            self.measuring = None;
            self.plan_measuring(now, short);
        } else {
            self.measuring = Some(measuring);
        }
    }

    fn plan_measuring(&mut self, now: Instant, short: f64) {
        let Some(RemeasureOptions { every, .. }) = self.options.remeasure else {
            return;
        };
        let half = every.max(duration_from_seconds(short * ROUND_TRIPS_BETWEEN)) / 2;
        self.due = now + half + self.rng.duration_up_to(half);
    }
}

/// `clamp(tolerance · long / short, 0.5, 1)`.
fn gradient(tolerance: f64, long: f64, short: f64) -> f64 {
    (tolerance * long / short).clamp(0.5, 1.0)
}

/// `(1−s)·L + s·(g·L + q)`.
fn next_limit(limit: f64, gradient: f64, smoothing: f64, queue: u32) -> f64 {
    let wanted = gradient.mul_add(limit, f64::from(queue));
    let smoothing = smoothing.clamp(0.0, 1.0);
    limit.mul_add(1.0 - smoothing, wanted * smoothing)
}

/// A moving average by samples, `2/(n+1)` of each, after a plain average of the first ten.
#[derive(Debug, Clone, Copy)]
struct LongAverage {
    value: f64,
    count: u32,
    part: f64,
}

impl LongAverage {
    fn new(samples: u32) -> Self {
        Self {
            value: 0.0,
            count: 0,
            part: 2.0 / (f64::from(samples.max(1)) + 1.0),
        }
    }

    fn add(&mut self, sample: f64) {
        let part = if self.count < WARM_UP {
            self.count += 1;
            1.0 / f64::from(self.count)
        } else {
            self.part
        };
        self.value += (sample - self.value) * part;
    }

    /// Starts from `value`, as if warmed up with it.
    const fn restart(&mut self, value: f64) {
        self.value = value;
        self.count = WARM_UP;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1_000)
    }

    fn plain() -> Gradient2Options {
        Gradient2Options {
            remeasure: None,
            ..Gradient2Options::default()
        }
    }

    /// L, short, long → L', derived from the published formula and defaults.
    #[test]
    fn the_limits_of_the_formula() {
        for (limit, short, long, expected) in [
            (100.0, 10.0, 10.0, 100.8),
            (100.0, 15.0, 10.0, 100.8),
            (100.0, 20.0, 10.0, 95.8),
            (100.0, 40.0, 10.0, 90.8),
            (20.0, 10.0, 10.0, 20.8),
        ] {
            let next = next_limit(limit, gradient(1.5, long, short), 0.2, 4);
            assert!((next - expected).abs() < 1e-9, "{limit} {short}: {next}");
            // The machine computes the same.
            let options = Gradient2Options {
                initial: limit as u32,
                ..plain()
            };
            let mut machine = Gradient2::new(options, Instant::ZERO, 1);
            machine.long.restart(long / 1_000.0);
            machine.long.part = 0.0;
            machine.sample(at(1), Duration::from_millis(short as u64), 100, false);
            assert!((machine.limit - expected).abs() < 1e-9);
        }
    }

    #[test]
    fn grows_while_nothing_gets_slower_and_says_so() {
        let mut machine = Gradient2::new(plain(), Instant::ZERO, 1);
        assert_eq!((machine.limit(), machine.why()), (20, LimitReason::Initial));
        for second in 0..60 {
            let in_flight = machine.limit();
            machine.sample(at(second), Duration::from_millis(10), in_flight, false);
        }
        assert_eq!((machine.limit(), machine.why()), (68, LimitReason::Grew));
        for second in 60..70 {
            machine.sample(at(second), Duration::from_millis(40), 68, false);
        }
        assert_eq!((machine.limit(), machine.why()), (28, LimitReason::Shrank));
        assert_eq!(machine.gradient(), Some(0.5));
    }

    #[test]
    fn without_a_crowd_nothing_is_learnt_about_a_crowd() {
        let mut machine = Gradient2::new(plain(), Instant::ZERO, 1);
        for second in 0..100 {
            assert_eq!(
                machine.sample(at(second), Duration::from_millis(5), 9, false),
                20
            );
            assert_eq!(machine.why(), LimitReason::AppLimited);
        }
        assert_eq!(machine.sample(at(100), SECOND / 200, 10, false), 20);
        assert_eq!(machine.why(), LimitReason::Grew, "20.8");
    }

    #[test]
    fn the_long_average_is_helped_down_when_the_past_was_much_slower() {
        let mut machine = Gradient2::new(plain(), Instant::ZERO, 1);
        machine.long.restart(1.0);
        machine.sample(at(0), Duration::from_millis(100), 20, false);
        let after = (1.0 - 0.9 * 2.0 / 601.0) * 0.95;
        assert!((machine.long.value - after).abs() < 1e-12);
    }

    /// A server with ten places and 10 ms each: with L at once, each takes `max(10, L)` ms.
    fn busy_for(machine: &mut Gradient2, seconds: u64) -> u32 {
        let mut now = Instant::ZERO;
        while now < at(seconds) {
            let in_flight = machine.limit();
            let rtt = Duration::from_millis(u64::from(in_flight.max(10)));
            // Measuring, ten samples are enough.
            now += if machine.is_measuring() { rtt } else { SECOND };
            machine.sample(now, rtt, in_flight, false);
        }
        machine.limit.round() as u32
    }

    #[test]
    fn a_standing_queue_does_not_become_usual() {
        let options = Gradient2Options {
            min: 1,
            ..Gradient2Options::default()
        };
        let creeping = Gradient2Options {
            remeasure: None,
            ..options
        };
        let hour = 3_600;
        let without = busy_for(&mut Gradient2::new(creeping, Instant::ZERO, 1), hour);
        let with = busy_for(&mut Gradient2::new(options, Instant::ZERO, 1), hour);
        assert_eq!(without, 200, "as Netflix's: up to the end");
        assert!((10..=35).contains(&with), "{with}");
    }

    #[test]
    fn the_baseline_follows_a_server_that_became_slower_for_good() {
        let options = Gradient2Options {
            min: 1,
            ..Gradient2Options::default()
        };
        let mut machine = Gradient2::new(options, Instant::ZERO, 3);
        let mut now = Instant::ZERO;
        for step in 0..400 {
            let rtt = Duration::from_millis(if step < 50 { 10 } else { 80 });
            now += if machine.is_measuring() { rtt } else { SECOND };
            let in_flight = machine.limit();
            machine.sample(now, rtt, in_flight, false);
        }
        let baseline = machine.baseline().expect("measured").as_millis();
        assert_eq!(baseline, 80);
        assert!(machine.limit > 100.0, "{}", machine.limit);
    }

    #[test]
    fn measuring_waits_for_the_crowd_to_go_and_gives_up_in_time() {
        let options = Gradient2Options {
            initial: 100,
            ..Gradient2Options::default()
        };
        let mut machine = Gradient2::new(options, Instant::ZERO, 3);
        machine.long.restart(0.010);
        assert_eq!(machine.sample(at(61), SECOND / 50, 100, false), 25);
        assert_eq!(
            (machine.why(), machine.is_measuring()),
            (LimitReason::Probing, true)
        );
        // Those that began in the crowd.
        let just = |millis| at(61) + Duration::from_millis(millis);
        assert_eq!(machine.sample(just(20), SECOND / 20, 100, false), 25);
        assert_eq!(machine.sample(just(40), SECOND / 100, 25, false), 25);
        assert_eq!(machine.sample(just(60), SECOND / 100, 25, false), 25);
        assert_eq!(machine.sample(just(80), SECOND / 200, 24, false), 100);
        let baseline = machine.baseline().expect("measured");
        assert!((baseline.as_secs_f64() - 0.025 / 3.0).abs() < 1e-9);
        // Next time nobody leaves.
        assert_eq!(machine.sample(at(130), SECOND / 100, 100, false), 25);
        assert_eq!(machine.sample(at(130), SECOND / 100, 100, false), 25);
        assert_eq!(machine.sample(at(131), SECOND / 100, 100, false), 100);
    }

    #[test]
    fn slow_requests_are_not_measured_all_of_the_time() {
        let mut machine = Gradient2::new(Gradient2Options::default(), Instant::ZERO, 3);
        let (mut now, mut lowered, rtt) = (Instant::ZERO, Duration::ZERO, SECOND * 30);
        while now < at(7 * 86_400) {
            let in_flight = machine.limit();
            // Until ten samples are there.
            let window = rtt * 10 / in_flight;
            lowered += if machine.is_measuring() {
                window
            } else {
                Duration::ZERO
            };
            now += window;
            machine.sample(now, rtt, in_flight, false);
        }
        let part = lowered.as_secs_f64() / now.as_nanos() as f64 * 1e9;
        assert!(part > 0.0 && part < 0.06, "{part}");
    }

    #[test]
    fn times_of_measuring_are_spread() {
        let due: Vec<u64> = (0..50)
            .map(|seed| {
                let machine = Gradient2::new(Gradient2Options::default(), Instant::ZERO, seed);
                machine.due.as_nanos() / 1_000_000_000
            })
            .collect();
        assert!(due.iter().all(|second| (30..=60).contains(second)));
        assert!(due.iter().any(|second| *second < 37));
        assert!(due.iter().any(|second| *second > 53));
    }

    #[test]
    fn invalid_options_keep_the_limit_in_range() {
        let options = Gradient2Options {
            tolerance: f64::NAN,
            smoothing: f64::NAN,
            long_window: 0,
            ..Gradient2Options::default()
        };
        let mut machine = Gradient2::new(options, Instant::ZERO, 1);
        for second in 0..100 {
            machine.sample(at(second), Duration::MAX, 200, false);
            assert!(machine.baseline().is_some() && machine.limit() >= 3);
        }
    }

    proptest! {
        #[test]
        fn stays_within_its_bounds_whatever_comes(
            initial: u32, min in 0_u32..300, max in 0_u32..300, smoothing in -1.0..2.0_f64,
            samples in proptest::collection::vec((0_u64..100_000, 0_u64..20_000_000, any::<u32>()), 0..200),
        ) {
            let options = Gradient2Options { initial, min, max, smoothing, ..Gradient2Options::default() };
            let mut machine = Gradient2::new(options, Instant::ZERO, 1);
            let mut now = Instant::ZERO;
            for (wait, micros, in_flight) in samples {
                now += Duration::from_millis(wait);
                let limit = machine.sample(now, Duration::from_micros(micros), in_flight, false);
                prop_assert!(limit >= 1 && limit <= max.max(min).max(3));
                prop_assert!(machine.is_measuring() || limit >= min.max(1).min(max.max(1)));
            }
        }
    }
}
