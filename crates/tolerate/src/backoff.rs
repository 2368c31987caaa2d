//! How long to wait before a retry.
//!
//! Clients that failed together come back together, so the delay is not only grown but spread. Full jitter is the
//! default because of a measurement, not of taste: with 100 competing clients it needs less than half the calls of plain
//! exponential back-off and a thirteenth of the time; equal jitter needs the same calls but about 40 % more time.
//!
//! [`Backoff`] is that and nothing else, without state. [`Delays`] has the other ways that clients are known to wait in, for who
//! must behave as another client does, or waits for something that does not get crowded.

use std::time::Duration;

use evenkeel_core::Random;
use serde::{Deserialize, Serialize};

use crate::{BackoffOptions, Jitter};

/// Exponential back-off with jitter.
#[derive(Debug, Clone, Copy)]
pub struct Backoff;

impl Backoff {
    /// How long to wait before retry `retry_index` (from 0). Never longer than the cap, for any index.
    #[must_use]
    pub fn delay(options: &BackoffOptions, retry_index: u32, rng: &mut Random) -> Duration {
        let longest = Self::longest(options, retry_index);
        match options.jitter {
            Jitter::None => longest,
            Jitter::Full => rng.duration_up_to(longest),
            Jitter::Equal => {
                let half = longest / 2;
                half + rng.duration_up_to(longest - half)
            }
        }
    }

    /// The delay before jitter: `min(cap, base × 2^retry_index)`.
    #[must_use]
    pub fn longest(options: &BackoffOptions, retry_index: u32) -> Duration {
        let grown = options
            .base
            .as_nanos()
            .saturating_mul(1 << retry_index.min(63));
        let grown = u64::try_from(grown).map_or(Duration::MAX, Duration::from_nanos);
        grown.min(options.cap)
    }
}

/// How delays grow. `n` is the retry, from 0; all are cut at the cap.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum BackoffKind {
    /// `base`, always.
    Fixed,
    /// `base × (n + 1)`.
    Linear,
    /// `base × factor^n`. The default, with the factor 2.
    Exponential {
        /// From 1; less, or what is not a number, is 1.
        factor: f64,
    },
    /// `base × (2^(n + 1) − 1)`: Envoy's, all of it jittered.
    Envoy,
    /// `U(base, 3 × previous)`, where the first previous is `base` (AWS "decorrelated jitter"). It has its own jitter and
    /// takes no other. Its delays differ most between clients that failed together; it costs more calls than full jitter.
    Decorrelated,
}

impl Default for BackoffKind {
    fn default() -> Self {
        Self::Exponential { factor: 2.0 }
    }
}

/// How randomness is mixed into a delay that was cut at the cap.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DelayJitter {
    /// None.
    None,
    /// `U(0, delay)`. The default.
    #[default]
    Full,
    /// `delay / 2 + U(0, delay / 2)`.
    Equal,
    /// `delay × U(1 − share, 1 + share)`, so that it may be longer than the cap by this share, 0 to 1 (gRPC 0.2,
    /// Polly 0.25, resilience4j 0.5). Clients spread little: for few of them.
    Proportional(f64),
}

impl From<Jitter> for DelayJitter {
    fn from(jitter: Jitter) -> Self {
        match jitter {
            Jitter::None => Self::None,
            Jitter::Full => Self::Full,
            Jitter::Equal => Self::Equal,
        }
    }
}

impl DelayJitter {
    /// `delay` with the random number `unit` from `[0, 1)` mixed in.
    fn apply(self, delay: Duration, unit: f64) -> Duration {
        match self {
            Self::None => delay,
            Self::Full => scaled(delay, unit).min(delay),
            Self::Equal => scaled(delay, 0.5 + unit / 2.0).min(delay),
            Self::Proportional(share) => {
                // What is not a number is less than nothing here.
                let share = if share > 0.0 { share.min(1.0) } else { 0.0 };
                scaled(delay, 1.0 - share + 2.0 * share * unit)
            }
        }
    }
}

/// Delays between the retries of one request.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DelayOptions {
    /// How they grow. Default: doubled.
    pub kind: BackoffKind,
    /// Where they begin. Default 25 ms (Envoy).
    pub base: Duration,
    /// Where they end, before jitter. Default 250 ms (Envoy): ten times the base.
    pub cap: Duration,
    /// How randomness is mixed in. Default full.
    pub jitter: DelayJitter,
}

impl Default for DelayOptions {
    fn default() -> Self {
        Self {
            kind: BackoffKind::default(),
            base: Duration::from_millis(25),
            cap: Duration::from_millis(250),
            jitter: DelayJitter::Full,
        }
    }
}

impl From<BackoffOptions> for DelayOptions {
    fn from(options: BackoffOptions) -> Self {
        Self {
            kind: BackoffKind::default(),
            base: options.base,
            cap: options.cap,
            jitter: options.jitter.into(),
        }
    }
}

impl DelayOptions {
    /// The delay before retry `retry_index` (from 0), before jitter; of the decorrelated, the most that it can be.
    #[must_use]
    pub fn longest(&self, retry_index: u32) -> Duration {
        let index = f64::from(retry_index);
        let times = match self.kind {
            BackoffKind::Fixed => 1.0,
            BackoffKind::Linear => index + 1.0,
            BackoffKind::Exponential { factor } => factor.max(1.0).powf(index),
            BackoffKind::Envoy => (index + 1.0).exp2() - 1.0,
            BackoffKind::Decorrelated => 3_f64.powf(index + 1.0),
        };
        scaled(self.base, times).min(self.cap)
    }
}

/// The delays of one request, or of one connection that is made again and again.
#[derive(Debug, Clone)]
pub struct Delays {
    options: DelayOptions,
    retries: u32,
    previous: Duration,
}

impl Delays {
    /// Before the first.
    #[must_use]
    pub const fn new(options: DelayOptions) -> Self {
        Self {
            options,
            retries: 0,
            previous: options.base,
        }
    }

    /// How long to wait before the next retry.
    pub fn next_delay(&mut self, rng: &mut Random) -> Duration {
        let Self { options, .. } = *self;
        let unit = rng.unit();
        let delay = if matches!(options.kind, BackoffKind::Decorrelated) {
            let upper = self.previous.saturating_mul(3).max(options.base);
            let more = scaled(upper - options.base, unit);
            let drawn = options.base.saturating_add(more);
            drawn.min(options.cap)
        } else {
            options.jitter.apply(options.longest(self.retries), unit)
        };
        self.retries = self.retries.saturating_add(1);
        self.previous = delay;
        delay
    }

    /// Delays that were given since the beginning.
    #[must_use]
    pub const fn retries(&self) -> u32 {
        self.retries
    }

    /// It succeeded: from the beginning again.
    pub const fn reset(&mut self) {
        *self = Self::new(self.options);
    }
}

/// `delay × times`, to the nanosecond; at most what fits.
fn scaled(delay: Duration, times: f64) -> Duration {
    let nanos = (delay.as_nanos() as f64 * times).round();
    // 2^64 and more is the most.
    Duration::from_nanos(nanos as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn options(base: u64, cap: u64, jitter: Jitter) -> BackoffOptions {
        BackoffOptions {
            base: Duration::from_millis(base),
            cap: Duration::from_millis(cap),
            jitter,
        }
    }

    fn plain(base: u64, cap: u64, count: u32) -> Vec<u128> {
        let options = options(base, cap, Jitter::None);
        (0..count)
            .map(|n| Backoff::delay(&options, n, &mut Random::seeded(1)).as_millis())
            .collect()
    }

    /// The published cases of the AWS retry specification 2.0 and 2.1, whose random factor is 1.
    #[test]
    fn doubles_up_to_the_cap() {
        assert_eq!(
            plain(1_000, 20_000, 6),
            [1_000, 2_000, 4_000, 8_000, 16_000, 20_000]
        );
        assert_eq!(plain(1_000, 3_000, 4), [1_000, 2_000, 3_000, 3_000]);
        assert_eq!(plain(50, 20_000, 4), [50, 100, 200, 400]);
        assert_eq!(plain(25, 250, 5), [25, 50, 100, 200, 250]);
    }

    #[test]
    fn nothing_overflows() {
        let tiny = BackoffOptions {
            base: Duration::from_nanos(1),
            ..options(0, 60_000, Jitter::None)
        };
        assert_eq!(Backoff::longest(&tiny, 40), Duration::from_secs(60));
        for index in [31, 32, 33, 64, u32::MAX] {
            assert_eq!(
                Backoff::longest(&options(1, 60_000, Jitter::None), index),
                Duration::from_secs(60)
            );
        }
        let endless = BackoffOptions {
            base: Duration::MAX,
            cap: Duration::MAX,
            jitter: Jitter::Equal,
        };
        assert!(Backoff::delay(&endless, 7, &mut Random::seeded(1)) > Duration::from_secs(1));
        assert_eq!(
            Backoff::longest(&options(500, 100, Jitter::None), 0),
            Duration::from_millis(100)
        );
        assert_eq!(
            Backoff::longest(&options(0, 100, Jitter::None), 9),
            Duration::ZERO
        );
    }

    #[test]
    fn jitter_is_uniform_in_its_range() {
        let mut rng = Random::seeded(42);
        let mut mean = |jitter| {
            let options = options(100, 100, jitter);
            (0..20_000)
                .map(|_| Backoff::delay(&options, 0, &mut rng).as_secs_f64())
                .sum::<f64>()
                / 20_000.0
        };
        assert!((mean(Jitter::Full) - 0.050).abs() < 0.001);
        assert!((mean(Jitter::Equal) - 0.075).abs() < 0.0005);
    }

    proptest! {
        #[test]
        fn stays_within_its_range(base in 0_u64..10_000, cap in 0_u64..100_000, index: u32, seed: u64) {
            let longest = Backoff::longest(&options(base, cap, Jitter::None), index);
            let mut rng = Random::seeded(seed);
            prop_assert!(Backoff::delay(&options(base, cap, Jitter::Full), index, &mut rng) <= longest);
            let equal = Backoff::delay(&options(base, cap, Jitter::Equal), index, &mut rng);
            prop_assert!(equal >= longest / 2 && equal <= longest);
        }
    }

    fn delays(kind: BackoffKind, base: u64, cap: u64, jitter: DelayJitter) -> DelayOptions {
        DelayOptions {
            kind,
            base: Duration::from_millis(base),
            cap: Duration::from_millis(cap),
            jitter,
        }
    }

    fn first(options: DelayOptions, count: usize, seed: u64) -> Vec<Duration> {
        let mut rng = Random::seeded(seed);
        let mut delays = Delays::new(options);
        (0..count).map(|_| delays.next_delay(&mut rng)).collect()
    }

    fn first_millis(options: DelayOptions, count: usize) -> Vec<u128> {
        let first = first(options, count, 1);
        first.iter().map(Duration::as_millis).collect()
    }

    const DOUBLED: BackoffKind = BackoffKind::Exponential { factor: 2.0 };

    #[test]
    fn kinds_without_jitter() {
        let plain = |kind, base, cap| first_millis(delays(kind, base, cap, DelayJitter::None), 6);
        assert_eq!(plain(BackoffKind::Fixed, 500, 2_000), [500; 6]);
        assert_eq!(
            plain(BackoffKind::Linear, 500, 2_000),
            [500, 1_000, 1_500, 2_000, 2_000, 2_000]
        );
        // AWS 2.0 and 2.1.
        assert_eq!(
            plain(DOUBLED, 1_000, 20_000),
            [1_000, 2_000, 4_000, 8_000, 16_000, 20_000]
        );
        assert_eq!(plain(DOUBLED, 50, 20_000), [50, 100, 200, 400, 800, 1_600]);
        // Envoy's upper bounds.
        assert_eq!(
            plain(BackoffKind::Envoy, 25, 250),
            [25, 75, 175, 250, 250, 250]
        );
    }

    #[test]
    fn doubled_delays_are_those_of_the_stateless_ones() {
        for jitter in [Jitter::None, Jitter::Full, Jitter::Equal] {
            let options = options(25, 250, jitter);
            let mut rng = Random::seeded(3);
            let stateless = (0..8).map(|n| Backoff::delay(&options, n, &mut rng));
            let stateless: Vec<_> = stateless.collect();
            let near = |(a, b): (&Duration, &Duration)| a.abs_diff(*b) <= Duration::from_nanos(1);
            let stateful = first(options.into(), 8, 3);
            if matches!(jitter, Jitter::None) {
                assert_eq!(stateful, stateless);
            } else {
                assert!(stateful.iter().zip(&stateless).all(near), "{jitter:?}");
            }
        }
    }

    /// gRFC A6: `min(initial × multiplier^(n − 1), max)`, 20 % less or more, also above the cap.
    #[test]
    fn grpc_spreads_by_a_fifth() {
        let jitter = DelayJitter::Proportional(0.2);
        let options = delays(
            BackoffKind::Exponential { factor: 1.6 },
            1_000,
            4_000,
            jitter,
        );
        let mut sums = [0.0; 6];
        for seed in 0..5_000 {
            for (n, delay) in first(options, 6, seed).iter().enumerate() {
                let expected = (1.6_f64.powi(n as i32)).min(4.0);
                let part = delay.as_secs_f64() / expected;
                assert!((0.8..1.2).contains(&part), "{n}: {part}");
                sums[n] += part / 5_000.0;
            }
        }
        assert!(
            sums.iter().all(|mean| (mean - 1.0).abs() < 0.01),
            "{sums:?}"
        );
    }

    /// Polly's tests of constant and linear delays with jitter, with the random numbers that they force.
    #[test]
    fn polly_spreads_by_a_quarter() {
        let jitter = DelayJitter::Proportional(0.25);
        for (kind, index, numbers) in [
            (
                BackoffKind::Fixed,
                0,
                [(0.0, 750), (0.4, 950), (0.6, 1_050), (1.0, 1_250)],
            ),
            (
                BackoffKind::Linear,
                2,
                [(0.0, 2_250), (0.4, 2_850), (0.5, 3_000), (1.0, 3_750)],
            ),
            (
                BackoffKind::Linear,
                2,
                [(0.6, 3_150), (0.4, 2_850), (0.5, 3_000), (1.0, 3_750)],
            ),
        ] {
            let longest = delays(kind, 1_000, 60_000, jitter).longest(index);
            for (unit, expected) in numbers {
                assert_eq!(jitter.apply(longest, unit), Duration::from_millis(expected));
            }
        }
        let endless = DelayOptions {
            base: Duration::MAX,
            ..delays(BackoffKind::Linear, 0, 60_000, jitter)
        };
        assert_eq!(endless.longest(u32::MAX), Duration::from_secs(60));
    }

    /// resilience4j cuts each delay to whole milliseconds and grows what is left: ours, done so, gives its numbers.
    #[test]
    fn resilience4j_in_whole_milliseconds() {
        let mut delay = 500;
        for expected in [750, 1_125, 1_687, 2_530, 3_795, 5_692, 8_538] {
            let kind = BackoffKind::Exponential { factor: 1.5 };
            let grown = delays(kind, delay, 60_000, DelayJitter::None).longest(1);
            delay = grown.as_millis() as u64;
            assert_eq!(delay, expected);
        }
    }

    #[test]
    fn decorrelated_delays_grow_by_half_and_stay_between_base_and_cap() {
        let options = delays(BackoffKind::Decorrelated, 5, 2_000, DelayJitter::None);
        let mut means = [0.0; 3];
        for seed in 0..5_000 {
            let mut previous = 0.005_f64;
            for (n, delay) in first(options, 12, seed).iter().enumerate() {
                let delay = delay.as_secs_f64();
                let most = (3.0 * previous + 1e-9).min(2.0);
                assert!((0.005..=most).contains(&delay), "{n}: {delay}");
                if n < 3 {
                    means[n] += delay / 5.0;
                }
                previous = delay;
            }
        }
        // The mean of U(5, 3 × 5) is 10, of U(5, 3 × 10) 17.5, of U(5, 3 × 17.5) 28.75.
        for (mean, expected) in means.iter().zip([10.0, 17.5, 28.75]) {
            assert!((mean - expected).abs() < expected / 20.0, "{means:?}");
        }
    }

    #[test]
    fn after_a_success_it_begins_again() {
        let mut delays = Delays::new(delays(DOUBLED, 10, 1_000, DelayJitter::None));
        let mut rng = Random::seeded(1);
        for _ in 0..2 {
            assert_eq!(delays.next_delay(&mut rng), Duration::from_millis(10));
            assert_eq!(delays.next_delay(&mut rng), Duration::from_millis(20));
            assert_eq!(delays.retries(), 2);
            delays.reset();
        }
    }

    proptest! {
        #[test]
        fn no_kind_overflows(kind in 0_usize..5, factor: f64, share: f64, base: u64, cap: u64, index: u32, seed: u64) {
            let kinds = [
                BackoffKind::Fixed, BackoffKind::Linear, BackoffKind::Exponential { factor }, BackoffKind::Envoy,
                BackoffKind::Decorrelated,
            ];
            let mut options = delays(kinds[kind], base, cap, DelayJitter::Proportional(share));
            prop_assert!(options.longest(index) <= options.cap);
            prop_assert!(options.longest(index) <= options.longest(index.saturating_add(1)));
            let twice = options.cap.saturating_mul(2).saturating_add(Duration::from_nanos(2));
            prop_assert!(first(options, 20, seed).iter().all(|delay| *delay <= twice));
            for jitter in [DelayJitter::Full, DelayJitter::Equal] {
                options.jitter = jitter;
                prop_assert!(first(options, 20, seed).iter().all(|delay| *delay <= options.cap));
            }
        }
    }
}
