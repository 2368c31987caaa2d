//! Concurrency limits: how many requests may be in flight at once.
//!
//! Intuition: a server that is given more than it can do does not do more, it does all of it later. By Little's law the
//! right number is throughput × time of a request, and neither is known in advance, so three algorithms find it at run time:
//! [Gradient2] by how much slower requests are than usual, [Vegas] by how many wait, [Aimd] by drops. A fixed number is a
//! bulkhead: one slow server cannot hold all of a program's requests.
//!
//! [`AdaptiveLimit`] samples the round trips of all workers and runs the algorithm; [`Limit`] also counts requests in flight
//! and hands out [`Permit`]s. They are separate because a balancer already counts in flight.
//!
//! Nothing waits: counting and sampling are atomic, and a worker that finds the algorithm's lock taken leaves the window to
//! the worker that holds it.

mod aimd;
mod gradient2;
mod median;
mod permit;
mod vegas;
mod reason;
mod window;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::Duration;

use evenkeel_core::Instant;
use serde::{Deserialize, Serialize};

pub use aimd::{Aimd, AimdOptions};
pub use gradient2::{Gradient2, Gradient2Options, RemeasureOptions};
pub use permit::{Limit, LimitOutcome, Permit};
pub use reason::LimitReason;
pub use vegas::{Vegas, VegasOptions};
pub use window::{WindowOptions, WindowStatistic};

use window::{SampleWindow, WindowSample};

/// How the limit is found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitOptions {
    /// A fixed number (a bulkhead).
    Fixed(u32),
    /// By how much slower requests are than usual. The default.
    Gradient2(Gradient2Options),
    /// By how many requests wait at the server.
    Vegas(VegasOptions),
    /// By drops: rejections and timeouts.
    Aimd(AimdOptions),
}

impl Default for LimitOptions {
    fn default() -> Self {
        Self::Gradient2(Gradient2Options::default())
    }
}

/// The state of a limit, for metrics and status.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LimitSnapshot {
    /// The limit on requests in flight.
    pub limit: u32,
    /// Requests in flight.
    pub in_flight: u32,
    /// The usual, or the fastest, round trip, as the algorithm has it.
    pub baseline: Option<Duration>,
    /// The round trip of the last window.
    pub latest: Option<Duration>,
    /// The gradient: below 1 the server is slower than usual (Gradient2 only).
    pub gradient: Option<f64>,
    /// The reason for the present limit.
    pub why: LimitReason,
}

/// A limit that learns from the round trips of all workers. It does not count requests in flight.
#[derive(Debug)]
pub struct AdaptiveLimit {
    window: SampleWindow,
    algorithm: Mutex<LimitAlgorithm>,
    /// A fixed limit has nothing to learn.
    is_fixed: AtomicBool,
    published: PublishedLimit,
}

/// The last result of the algorithm, readable without its lock.
#[derive(Debug)]
struct PublishedLimit {
    limit: AtomicU32,
    why: AtomicU8,
    /// Nanoseconds, 0 for none.
    baseline: AtomicU64,
    latest: AtomicU64,
    /// The bits of the gradient, 0 for none.
    gradient: AtomicU64,
}

impl AdaptiveLimit {
    /// Before the first sample, with windows of one second. `seed` is for the jitter of measurements only.
    #[must_use]
    pub fn new(options: &LimitOptions, now: Instant, seed: u64) -> Self {
        Self::with_window(options, WindowOptions::default(), now, seed)
    }

    /// The same, with other windows.
    #[must_use]
    pub fn with_window(
        options: &LimitOptions,
        window: WindowOptions,
        now: Instant,
        seed: u64,
    ) -> Self {
        let algorithm = LimitAlgorithm::new(options, now, seed);
        let published = PublishedLimit {
            limit: AtomicU32::new(0),
            why: AtomicU8::new(0),
            baseline: AtomicU64::new(0),
            latest: AtomicU64::new(0),
            gradient: AtomicU64::new(0),
        };
        published.show(&algorithm);
        Self {
            window: SampleWindow::new(window, now),
            is_fixed: AtomicBool::new(matches!(algorithm, LimitAlgorithm::Fixed(_))),
            algorithm: Mutex::new(algorithm),
            published,
        }
    }

    /// A request ended: its round trip, the number in flight when it began (this one included), and whether it was dropped:
    /// rejected for overload, or timed out. Leave out requests that failed for another reason or were cancelled; they say
    /// nothing.
    ///
    /// Returns the limit if that was the end of a window. Takes no lock that another thread holds.
    pub fn sample(
        &self,
        now: Instant,
        rtt: Duration,
        in_flight: u32,
        dropped: bool,
    ) -> Option<u32> {
        if self.is_fixed.load(Ordering::Relaxed) {
            return None;
        }
        // A quick rejection is not a quick server: it counts as no faster than the last window.
        let latest = Duration::from_nanos(self.published.latest.load(Ordering::Relaxed));
        let rtt = if dropped { rtt.max(latest) } else { rtt };
        if !self.window.add(now, rtt, in_flight, dropped) {
            return None;
        }
        let mut algorithm = match self.algorithm.try_lock() {
            Ok(algorithm) => algorithm,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let sample = self.window.take(now)?;
        let limit = algorithm.sample(now, sample);
        self.window.set_length(sample.rtt, algorithm.is_measuring());
        self.published
            .latest
            .store(nanos(sample.rtt), Ordering::Relaxed);
        self.published.show(&algorithm);
        Some(limit)
    }

    /// The limit on requests in flight.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.published.limit.load(Ordering::Relaxed)
    }

    /// Replaces the algorithm, which starts from the present limit, within its bounds. For a new configuration: this may
    /// wait for a worker that runs the algorithm.
    pub fn reconfigure(&self, options: &LimitOptions, now: Instant, seed: u64) {
        let mut algorithm = self
            .algorithm
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let options = options.beginning_with(algorithm.limit());
        *algorithm = LimitAlgorithm::new(&options, now, seed);
        self.window.set_length(Duration::ZERO, false);
        let is_fixed = matches!(*algorithm, LimitAlgorithm::Fixed(_));
        self.is_fixed.store(is_fixed, Ordering::Relaxed);
        self.published.show(&algorithm);
    }

    /// Its state. `in_flight` is the caller's count.
    #[must_use]
    pub fn snapshot(&self, in_flight: u32) -> LimitSnapshot {
        let published = &self.published;
        let duration = |nanos: &AtomicU64| match nanos.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        };
        LimitSnapshot {
            limit: self.limit(),
            in_flight,
            baseline: duration(&published.baseline),
            latest: duration(&published.latest),
            gradient: match published.gradient.load(Ordering::Relaxed) {
                0 => None,
                bits => Some(f64::from_bits(bits)),
            },
            why: LimitReason::from_index(published.why.load(Ordering::Relaxed)),
        }
    }
}

impl PublishedLimit {
    fn show(&self, algorithm: &LimitAlgorithm) {
        let baseline = algorithm.baseline().map_or(0, nanos);
        let gradient = algorithm.gradient().map_or(0, f64::to_bits);
        self.limit.store(algorithm.limit(), Ordering::Relaxed);
        self.why.store(algorithm.why() as u8, Ordering::Relaxed);
        self.baseline.store(baseline, Ordering::Relaxed);
        self.gradient.store(gradient, Ordering::Relaxed);
    }
}

impl LimitOptions {
    /// The same options with this initial limit.
    const fn beginning_with(mut self, limit: u32) -> Self {
        match &mut self {
            Self::Fixed(_) => {}
            Self::Gradient2(options) => options.initial = limit,
            Self::Vegas(options) => options.initial = limit,
            Self::Aimd(options) => options.initial = limit,
        }
        self
    }
}

/// The algorithm in use.
#[derive(Debug)]
enum LimitAlgorithm {
    Fixed(u32),
    Gradient2(Gradient2),
    Vegas(Vegas),
    Aimd(Aimd),
}

impl LimitAlgorithm {
    fn new(options: &LimitOptions, now: Instant, seed: u64) -> Self {
        match options {
            LimitOptions::Fixed(limit) => Self::Fixed(*limit),
            LimitOptions::Gradient2(options) => {
                Self::Gradient2(Gradient2::new(*options, now, seed))
            }
            LimitOptions::Vegas(options) => Self::Vegas(Vegas::new(*options, seed)),
            LimitOptions::Aimd(options) => Self::Aimd(Aimd::new(*options)),
        }
    }

    fn sample(&mut self, now: Instant, sample: WindowSample) -> u32 {
        let WindowSample {
            rtt,
            in_flight,
            dropped,
        } = sample;
        match self {
            Self::Fixed(limit) => *limit,
            Self::Gradient2(machine) => machine.sample(now, rtt, in_flight, dropped),
            Self::Vegas(machine) => machine.sample(now, rtt, in_flight, dropped),
            Self::Aimd(machine) => machine.sample(now, rtt, in_flight, dropped),
        }
    }

    fn limit(&self) -> u32 {
        match self {
            Self::Fixed(limit) => *limit,
            Self::Gradient2(machine) => machine.limit(),
            Self::Vegas(machine) => machine.limit(),
            Self::Aimd(machine) => machine.limit(),
        }
    }

    const fn why(&self) -> LimitReason {
        match self {
            Self::Fixed(_) => LimitReason::Fixed,
            Self::Gradient2(machine) => machine.why(),
            Self::Vegas(machine) => machine.why(),
            Self::Aimd(machine) => machine.why(),
        }
    }

    fn baseline(&self) -> Option<Duration> {
        match self {
            Self::Gradient2(machine) => machine.baseline(),
            Self::Vegas(machine) => machine.baseline(),
            Self::Fixed(_) | Self::Aimd(_) => None,
        }
    }

    const fn gradient(&self) -> Option<f64> {
        match self {
            Self::Gradient2(machine) => machine.gradient(),
            Self::Fixed(_) | Self::Vegas(_) | Self::Aimd(_) => None,
        }
    }

    const fn is_measuring(&self) -> bool {
        match self {
            Self::Gradient2(machine) => machine.is_measuring(),
            Self::Fixed(_) | Self::Vegas(_) | Self::Aimd(_) => false,
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn aimd() -> LimitOptions {
        LimitOptions::Aimd(AimdOptions::default())
    }

    #[test]
    fn a_window_is_one_sample_for_the_algorithm() {
        let adaptive = AdaptiveLimit::new(&aimd(), Instant::ZERO, 1);
        for n in 0..99 {
            assert_eq!(adaptive.sample(at(n * 10), MS, 12, false), None);
        }
        assert_eq!(adaptive.sample(at(1_000), MS, 3, false), Some(21));
        let snapshot = adaptive.snapshot(5);
        assert_eq!(
            (snapshot.limit, snapshot.in_flight, snapshot.why.word()),
            (21, 5, "grew")
        );
        assert_eq!(snapshot.latest.map(|took| took.as_micros()), Some(999));
        for n in 0..9 {
            adaptive.sample(at(1_100 + n), MS, 12, false);
        }
        assert_eq!(adaptive.sample(at(2_000), MS, 12, true), Some(20), "18.9");
        assert_eq!(adaptive.snapshot(0).why, LimitReason::Dropped);
    }

    #[test]
    fn a_fast_refusal_does_not_look_like_a_fast_server() {
        let options = LimitOptions::Gradient2(Gradient2Options::default());
        let adaptive = AdaptiveLimit::new(&options, Instant::ZERO, 1);
        for n in 1..=10 {
            adaptive.sample(at(n * 100), MS * 50, 20, false);
        }
        for n in 1..=10 {
            adaptive.sample(at(1_000 + n * 100), MS / 10, 20, true);
        }
        let latest = adaptive.snapshot(0).latest.expect("measured");
        assert!(latest >= MS * 49, "{latest:?}");
    }

    #[test]
    fn a_fixed_limit_learns_nothing() {
        let adaptive = AdaptiveLimit::new(&LimitOptions::Fixed(7), Instant::ZERO, 1);
        for n in 0..1_000 {
            assert_eq!(adaptive.sample(at(n * 100), MS, 7, true), None);
        }
        let snapshot = adaptive.snapshot(0);
        assert_eq!((snapshot.limit, snapshot.why), (7, LimitReason::Fixed));
        assert_eq!((snapshot.baseline, snapshot.latest), (None, None));
    }

    #[test]
    fn another_algorithm_begins_where_the_last_one_was() {
        let adaptive = AdaptiveLimit::new(&LimitOptions::Fixed(64), Instant::ZERO, 1);
        adaptive.reconfigure(&aimd(), at(0), 1);
        assert_eq!(
            (adaptive.limit(), adaptive.snapshot(0).why),
            (64, LimitReason::Initial)
        );
        for n in 1..=10 {
            adaptive.sample(at(n * 100), MS, 64, false);
        }
        assert_eq!(adaptive.limit(), 65);
        let small = AimdOptions {
            max: 30,
            ..AimdOptions::default()
        };
        adaptive.reconfigure(&LimitOptions::Aimd(small), at(1_000), 1);
        assert_eq!(adaptive.limit(), 30);
        adaptive.reconfigure(&LimitOptions::Fixed(9), at(1_000), 1);
        assert_eq!(adaptive.limit(), 9);
    }

    #[test]
    fn labels_are_in_the_order_of_their_indices() {
        for (index, why) in (0..).zip(LimitReason::ALL) {
            assert_eq!((LimitReason::from_index(index), why as u8), (why, index));
        }
    }

    #[test]
    fn options_are_plain_data() {
        let text = r#"{ "vegas": { "max": 50 } }"#;
        let options: LimitOptions = serde_json::from_str(text).expect("valid");
        let LimitOptions::Vegas(vegas) = options else {
            panic!("{options:?}");
        };
        assert_eq!((vegas.max, vegas.initial), (50, 20));
        assert!(serde_json::from_str::<LimitOptions>(r#"{ "vegas": { "mx": 50 } }"#).is_err());
        let fixed: LimitOptions = serde_json::from_str(r#"{ "fixed": 8 }"#).expect("valid");
        assert_eq!(fixed, LimitOptions::Fixed(8));
    }
}
