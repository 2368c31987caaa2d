//! A client's own rate, found by asking: the token bucket of the AWS SDKs' adaptive retry mode.
//!
//! Intuition: a service that limits its clients says so ("throttled"), and the right rate is the one just below that. After a throttle
//! the rate falls to 0.7 of what it was and then follows the cubic of TCP CUBIC: fast back towards the old rate, slowly past
//! it, then ever faster until the next throttle. Nothing is limited before the first throttle. Where the server is busy rather than
//! strict, a [`Limit`](crate::Limit) on requests in flight is the better tool: it reacts in milliseconds.
//!
//! With `Wmax` the rate at the last throttle and `t` the seconds since: `rate = C · (t − K)³ + Wmax`,
//! `K = ∛(Wmax · (1 − beta) / C)`; a throttle sets `Wmax` to the lesser of the bucket's rate and the measured one (to the
//! measured one the first time) and the rate to `beta · Wmax`. The bucket fills with at least 0.5 a second and with at most twice what is
//! measured.
//!
//! Two published series disagree. The SDKs for Rust and Go test the cubic alone and put the *reduced* rate in as `Wmax` after
//! a throttle, so they expect 4.67 where the specification's own cases (which the SDK for Kotlin publishes) have 6.61. The
//! formula says `Wmax` is the rate before it is reduced; the specification is followed here.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use evenkeel_core::{Instant, duration_from_seconds};
use serde::{Deserialize, Serialize};

/// What can be chosen. The defaults are those of the AWS SDKs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdaptiveRateOptions {
    /// What is left of the rate after a throttle, above 0 to below 1. Default 0.7.
    pub beta: f64,
    /// How fast the rate grows, above 0. Default 0.4.
    pub scale: f64,
    /// How much of a newly measured rate is believed, above 0 to 1. Default 0.8.
    pub smoothing: f64,
    /// How often the rate is measured. Default 0.5 s.
    pub measure_every: Duration,
    /// The bucket never fills slower, in requests a second. Default 0.5.
    pub min_per_second: f64,
    /// The bucket never holds less. Default 1.
    pub min_burst: f64,
}

impl Default for AdaptiveRateOptions {
    fn default() -> Self {
        Self {
            beta: 0.7,
            scale: 0.4,
            smoothing: 0.8,
            measure_every: Duration::from_millis(500),
            min_per_second: 0.5,
            min_burst: 1.0,
        }
    }
}

/// Who finds the bucket in another's hands comes back after this time.
const TAKEN: Duration = Duration::from_millis(1);

/// The cubic alone.
#[derive(Debug, Clone)]
pub struct Cubic {
    beta: f64,
    scale: f64,
    max_rate: f64,
    last_throttle: Instant,
}

impl Cubic {
    /// As if it had been throttled at `max_rate` a second at `last_throttle`.
    #[must_use]
    pub const fn new(options: &AdaptiveRateOptions, max_rate: f64, last_throttle: Instant) -> Self {
        Self {
            beta: options.beta,
            scale: options.scale,
            max_rate,
            last_throttle,
        }
    }

    /// The rate after a request that was not throttled.
    #[must_use]
    pub fn success(&self, now: Instant) -> f64 {
        let since = now.since(self.last_throttle).as_secs_f64();
        let inflection = (self.max_rate * (1.0 - self.beta) / self.scale).cbrt();
        self.scale * (since - inflection).powi(3) + self.max_rate
    }

    /// The rate after a throttle at `rate` a second.
    pub const fn throttle(&mut self, now: Instant, rate: f64) -> f64 {
        self.max_rate = rate;
        self.last_throttle = now;
        rate * self.beta
    }
}

/// What the bucket knows, for metrics and status.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdaptiveRateSnapshot {
    /// Whether it limits: since the first throttle.
    pub limits: bool,
    /// Requests a second that it lets through.
    pub per_second: f64,
    /// Requests a second that were measured.
    pub measured: f64,
    /// Tokens that are there.
    pub tokens: f64,
}

/// The bucket, shared by all workers that call the same service.
#[derive(Debug)]
pub struct AdaptiveRate {
    limits: AtomicBool,
    /// Answers, and whether one of them was a throttle, that nobody has taken into account yet.
    answers: AtomicU32,
    throttled: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    options: AdaptiveRateOptions,
    cubic: Cubic,
    measured: f64,
    /// The stretch of time in which answers are counted, and how many were.
    stretch: u64,
    count: u32,
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled: Instant,
    limits: bool,
}

impl AdaptiveRate {
    /// Nothing is limited yet.
    #[must_use]
    pub fn new(options: AdaptiveRateOptions, now: Instant) -> Self {
        let state = State {
            cubic: Cubic::new(&options, 0.0, now),
            measured: 0.0,
            stretch: stretch(&options, now),
            count: 0,
            per_second: options.min_per_second,
            burst: options.min_burst,
            tokens: 0.0,
            filled: now,
            limits: false,
            options,
        };
        Self {
            limits: AtomicBool::new(false),
            answers: AtomicU32::new(0),
            throttled: AtomicBool::new(false),
            state: Mutex::new(state),
        }
    }

    /// Takes a token for a request. Called before each attempt, also a retry.
    ///
    /// # Errors
    /// How long it takes until there is one; ask again then, since another may have come first.
    pub fn take(&self, now: Instant) -> Result<(), Duration> {
        if !self.limits.load(Ordering::Relaxed) {
            return Ok(());
        }
        let Some(mut state) = self.try_state() else {
            return Err(TAKEN);
        };
        state.take(now)
    }

    /// An attempt was answered, and whether with a throttle. Takes no lock that another holds: who holds it, or comes next,
    /// takes this answer into account.
    pub fn note(&self, now: Instant, throttled: bool) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        if throttled {
            self.throttled.store(true, Ordering::Relaxed);
        }
        if let Some(mut state) = self.try_state() {
            let answers = self.answers.swap(0, Ordering::Relaxed);
            let throttled = self.throttled.swap(false, Ordering::Relaxed);
            state.note(now, answers, throttled);
            self.limits.store(state.limits, Ordering::Relaxed);
        }
    }

    /// What it knows; `None` if a worker has it in hand just now.
    #[must_use]
    pub fn snapshot(&self) -> Option<AdaptiveRateSnapshot> {
        self.try_state().map(|state| AdaptiveRateSnapshot {
            limits: state.limits,
            per_second: state.per_second,
            measured: state.measured,
            tokens: state.tokens,
        })
    }

    fn try_state(&self) -> Option<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl State {
    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        self.fill(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        let wait = (1.0 - self.tokens) / self.per_second;
        // Rounded up, so that the token is there then.
        let wait = duration_from_seconds(wait);
        Err(wait.saturating_add(Duration::from_nanos(1)))
    }

    fn fill(&mut self, now: Instant) {
        let earned = now.since(self.filled).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + earned).min(self.burst);
        self.filled = self.filled.max(now);
    }

    fn note(&mut self, now: Instant, answers: u32, throttled: bool) {
        self.measure(now, answers);
        let rate = if throttled {
            let rate = if self.limits {
                self.measured.min(self.per_second)
            } else {
                self.measured
            };
            self.limits = true;
            self.cubic.throttle(now, rate)
        } else {
            self.cubic.success(now)
        };
        self.fill(now);
        let rate = rate.min(2.0 * self.measured);
        self.per_second = rate.max(self.options.min_per_second);
        self.burst = rate.max(self.options.min_burst);
        self.tokens = self.tokens.min(self.burst);
    }

    /// Counts answers; the first one of a new stretch of time closes the last one.
    fn measure(&mut self, now: Instant, answers: u32) {
        self.count = self.count.saturating_add(answers);
        let stretch = stretch(&self.options, now);
        if stretch > self.stretch {
            let seconds = (stretch - self.stretch) as f64
                * self.options.measure_every.as_secs_f64().max(1e-9);
            let rate = f64::from(self.count) / seconds;
            let smoothing = self.options.smoothing;
            self.measured = rate * smoothing + self.measured * (1.0 - smoothing);
            self.count = 0;
            self.stretch = stretch;
        }
    }
}

fn stretch(options: &AdaptiveRateOptions, now: Instant) -> u64 {
    let length = u64::try_from(options.measure_every.as_nanos()).unwrap_or(u64::MAX);
    now.as_nanos() / length.max(1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    fn at(seconds: f64) -> Instant {
        Instant::ZERO + Duration::from_secs_f64(seconds)
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    /// Seconds, throttled, expected rate: throttled at the rate before.
    fn check_cubic(points: &[(f64, bool, f64)]) {
        let mut cubic = Cubic::new(&AdaptiveRateOptions::default(), 10.0, at(5.0));
        let mut rate = 0.0;
        for &(seconds, throttled, expected) in points {
            rate = if throttled {
                cubic.throttle(at(seconds), rate)
            } else {
                cubic.success(at(seconds))
            };
            assert!(close(rate, expected), "{seconds} s: {rate}");
        }
    }

    /// Both series of the specification ("Cubic success" 1 and 2).
    #[test]
    fn published_points_of_the_cubic() {
        check_cubic(&[
            (5.0, false, 7.0),
            (6.0, false, 9.648_936_009_66),
            (7.0, false, 10.000_030_849_917_364),
            (8.0, false, 10.453_284_520_772_092),
            (9.0, false, 13.408_697_022_224_185),
            (10.0, false, 21.266_268_354_273_64),
            (11.0, false, 36.425_998_516_920_465),
        ]);
        check_cubic(&[
            (5.0, false, 7.0),
            (6.0, false, 9.648_936_009_66),
            (7.0, true, 6.754_255_206_761_999),
            (8.0, true, 4.727_978_644_733_399),
            (9.0, false, 6.606_547_753_887_045),
            (10.0, false, 6.763_279_816_944_947),
            (11.0, false, 7.598_174_833_907_107),
            (12.0, false, 11.511_232_804_773_524),
        ]);
    }

    /// The specification's end-to-end case: throttled, measured rate, rate of the bucket, every 0.2 s.
    #[test]
    fn published_points_of_the_whole() {
        let expected = [
            (false, 0.0, 0.5),
            (false, 0.0, 0.5),
            (false, 4.8, 0.5),
            (false, 4.8, 0.5),
            (false, 4.16, 0.5),
            (false, 4.16, 0.6912),
            (false, 4.16, 1.0976),
            (false, 5.632, 1.6384),
            (false, 5.632, 2.3328),
            (true, 4.3264, 3.028_48),
            (false, 4.3264, 3.486_639),
            (false, 4.3264, 3.821_874),
            (false, 5.665_28, 4.053_386),
            (false, 5.665_28, 4.200_373),
            (false, 4.333_056, 4.282_037),
            (true, 4.333_056, 2.997_426),
            (false, 4.333_056, 3.452_226),
        ];
        let bucket = AdaptiveRate::new(AdaptiveRateOptions::default(), Instant::ZERO);
        for (n, (throttled, measured, per_second)) in (1_u64..).zip(expected) {
            bucket.note(Instant::from_millis(n * 200), throttled);
            let snapshot = bucket.snapshot().expect("nobody else has it");
            assert!(close(snapshot.measured, measured), "{n}: {snapshot:?}");
            assert!(close(snapshot.per_second, per_second), "{n}: {snapshot:?}");
            assert_eq!(snapshot.limits, n >= 10);
        }
    }

    #[test]
    fn limits_from_the_first_throttle_on() {
        let bucket = AdaptiveRate::new(AdaptiveRateOptions::default(), Instant::ZERO);
        assert!((0..1_000).all(|_| bucket.take(at(1.0)).is_ok()));
        for n in 1..=100 {
            bucket.note(Instant::from_millis(n * 100), false);
        }
        let before = bucket.snapshot().expect("free");
        assert!(close(before.measured, 10.0) && close(before.per_second, 20.0));
        bucket.note(at(10.0), true);
        let mut now = at(10.0);
        let mut taken = 0_u32;
        while now < at(20.0) {
            match bucket.take(now) {
                Ok(()) => taken += 1,
                Err(wait) => {
                    assert!(bucket.take(now).is_err());
                    now += wait;
                    assert_eq!(bucket.take(now), Ok(()), "as was told");
                    taken += 1;
                }
            }
        }
        let per_second = bucket.snapshot().expect("free").per_second;
        assert!((per_second - 7.0).abs() < 0.5, "0.7 of 10: {per_second}");
        assert!((65..=80).contains(&taken), "{taken}");
    }

    #[test]
    fn answers_of_many_workers_are_all_counted() {
        let bucket = Arc::new(AdaptiveRate::new(
            AdaptiveRateOptions::default(),
            Instant::ZERO,
        ));
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let bucket = Arc::clone(&bucket);
                thread::spawn(move || {
                    for _ in 0..5_000 {
                        bucket.note(at(0.1), false);
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().expect("no panic");
        }
        bucket.note(at(0.5), false);
        let measured = bucket.snapshot().expect("free").measured;
        assert!(close(measured, 0.8 * 20_001.0 / 0.5), "{measured}");
    }
}
