//! Samples the round trips of many workers into one sample per window for a limit's algorithm.
//!
//! A single round trip is noise; an algorithm that reacted to each would follow the slowest request of the minute. So
//! samples are collected for a second, as in Netflix's WindowedLimit: their mean, the maximum in flight, whether any was
//! dropped. Unlike there, a window with too few samples is not discarded but continues until it has enough, so that a limit
//! with little traffic or slow requests learns as well.
//!
//! Count and sum share one atomic word, so that a window which is taken while others add to it is consistent.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_core::Instant;
use serde::{Deserialize, Serialize};

use super::median::AtomicMedian;

/// How round trips are sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WindowOptions {
    /// The length of a window is two mean round trips, but at least this. Default 1 s (Netflix).
    pub min: Duration,
    /// … and at most this, if it has enough samples. Default 1 s (Netflix).
    pub max: Duration,
    /// The least number of samples. Default 10 (Netflix).
    pub samples: u32,
    /// The statistic of a window. Default the mean (Netflix).
    pub statistic: WindowStatistic,
}

/// The statistic that stands for a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WindowStatistic {
    /// The mean: one hung request in a hundred moves it, which is right where overload begins like that.
    #[default]
    Mean,
    /// The median, as in Envoy: the time of most requests. For requests of very different sizes. Costs 1.6 KiB more.
    Median,
}

impl Default for WindowOptions {
    fn default() -> Self {
        Self {
            min: Duration::from_secs(1),
            max: Duration::from_secs(1),
            samples: 10,
            statistic: WindowStatistic::Mean,
        }
    }
}

/// Nanoseconds of a unit, so that 2¹⁸ samples of 68 s fit beside their count.
const UNIT: u64 = 256;
const LONGEST: u64 = (1 << 28) - 1;
const COUNT_BITS: u32 = 18;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
/// Further samples of a window are ignored. Below the maximum of the count by more than workers can add at once.
const MOST: u64 = 200_000;

/// The sample of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WindowSample {
    pub(super) rtt: Duration,
    pub(super) in_flight: u32,
    pub(super) dropped: bool,
}

/// The samples since the last window was taken.
#[derive(Debug)]
pub(super) struct SampleWindow {
    /// Sum in units above, count below.
    sum_and_count: AtomicU64,
    in_flight: AtomicU32,
    dropped: AtomicBool,
    opened: AtomicU64,
    /// The length of the window in nanoseconds.
    length: AtomicU64,
    options: WindowOptions,
    /// If the statistic is the median.
    median: Option<AtomicMedian>,
}

impl SampleWindow {
    pub(super) fn new(options: WindowOptions, now: Instant) -> Self {
        Self {
            sum_and_count: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            dropped: AtomicBool::new(false),
            opened: AtomicU64::new(now.as_nanos()),
            length: AtomicU64::new(nanos(options.min)),
            median: (options.statistic == WindowStatistic::Median).then(AtomicMedian::new),
            options,
        }
    }

    /// Adds a sample; true if the window should be taken now.
    pub(super) fn add(&self, now: Instant, rtt: Duration, in_flight: u32, dropped: bool) -> bool {
        if self.sum_and_count.load(Ordering::Relaxed) & COUNT_MASK < MOST {
            let units = (nanos(rtt).saturating_add(UNIT / 2) / UNIT).clamp(1, LONGEST);
            self.sum_and_count
                .fetch_add((units << COUNT_BITS) + 1, Ordering::Relaxed);
        }
        if let Some(median) = &self.median {
            median.add(nanos(rtt));
        }
        // Most calls change nothing, and a read is cheaper than a write.
        if self.in_flight.load(Ordering::Relaxed) < in_flight {
            self.in_flight.fetch_max(in_flight, Ordering::Relaxed);
        }
        if dropped && !self.dropped.load(Ordering::Relaxed) {
            self.dropped.store(true, Ordering::Relaxed);
        }
        self.is_over(now)
    }

    fn is_over(&self, now: Instant) -> bool {
        let age = now
            .as_nanos()
            .saturating_sub(self.opened.load(Ordering::Relaxed));
        let length = self.length.load(Ordering::Relaxed);
        let count = self.sum_and_count.load(Ordering::Relaxed) & COUNT_MASK;
        age >= length && count >= u64::from(self.options.samples.max(1))
    }

    /// Takes the window and begins the next. To be called only with the algorithm's lock. `None` if another thread was
    /// first.
    pub(super) fn take(&self, now: Instant) -> Option<WindowSample> {
        if !self.is_over(now) {
            return None;
        }
        self.opened.store(now.as_nanos(), Ordering::Relaxed);
        let both = self.sum_and_count.swap(0, Ordering::Relaxed);
        let in_flight = self.in_flight.swap(0, Ordering::Relaxed);
        let dropped = self.dropped.swap(false, Ordering::Relaxed);
        let (sum, count) = (both >> COUNT_BITS, both & COUNT_MASK);
        let mean = Duration::from_nanos(sum * UNIT / count);
        Some(WindowSample {
            rtt: self.median.as_ref().map_or(mean, AtomicMedian::take),
            in_flight,
            dropped,
        })
    }

    /// The length of the next windows: two round trips, or zero if a sample is wanted at once.
    pub(super) fn set_length(&self, rtt: Duration, at_once: bool) {
        let max = self.options.max.max(self.options.min);
        let length = if at_once {
            Duration::ZERO
        } else {
            rtt.saturating_mul(2).clamp(self.options.min, max)
        };
        self.length.store(nanos(length), Ordering::Relaxed);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn window() -> SampleWindow {
        SampleWindow::new(WindowOptions::default(), Instant::ZERO)
    }

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn a_second_and_ten_samples() {
        let window = window();
        for n in 0..9 {
            assert!(!window.add(at(n), MS * 10, 3, false));
        }
        assert!(!window.add(at(999), MS * 30, 7, false), "ten, too early");
        assert_eq!(window.take(at(999)), None);
        assert!(window.add(at(1_000), MS * 10, 5, true));
        let sample = window.take(at(1_000)).expect("over");
        assert_eq!((sample.in_flight, sample.dropped), (7, true));
        let micros = sample.rtt.as_micros();
        assert!((11_817..=11_819).contains(&micros), "130 / 11: {micros}");
        assert_eq!(window.take(at(1_000)), None, "another was first");
        assert!(!window.add(at(1_001), MS, 1, false));
    }

    #[test]
    fn little_traffic_makes_a_longer_window() {
        let window = window();
        for n in 0..9 {
            assert!(!window.add(at(n * 900), MS, 1, false));
        }
        assert!(window.add(at(9_000), MS, 1, false));
        assert!(window.take(at(9_000)).is_some());
    }

    #[test]
    fn the_median_if_that_is_wanted() {
        let options = WindowOptions {
            statistic: WindowStatistic::Median,
            ..WindowOptions::default()
        };
        let window = SampleWindow::new(options, Instant::ZERO);
        for n in 0..20 {
            window.add(at(n), if n < 5 { MS * 5_000 } else { MS * 10 }, 1, false);
        }
        let rtt = window.take(at(1_000)).expect("over").rtt;
        assert!(rtt > MS * 9 && rtt < MS * 11, "{rtt:?}");
    }

    #[test]
    fn lengths() {
        let options = WindowOptions {
            min: MS * 100,
            max: MS * 1_000,
            samples: 2,
            ..WindowOptions::default()
        };
        let window = SampleWindow::new(options, Instant::ZERO);
        let length = |rtt, hurry| {
            window.set_length(rtt, hurry);
            window.length.load(Ordering::Relaxed) / 1_000_000
        };
        assert_eq!(length(MS, false), 100);
        assert_eq!(length(MS * 80, false), 160);
        assert_eq!(length(MS * 800, false), 1_000);
        assert_eq!(length(Duration::MAX, true), 0);
        window.add(at(1), MS, 1, false);
        assert!(window.add(at(1), MS, 1, false));
    }

    #[test]
    fn nothing_overflows() {
        let window = window();
        for _ in 0..250_000 {
            window.add(at(1), Duration::MAX, u32::MAX, false);
        }
        let sample = window.take(at(1_000)).expect("over");
        assert_eq!(sample.rtt.as_secs(), 68);
        for _ in 0..10 {
            window.add(at(1_001), Duration::ZERO, 0, false);
        }
        let sample = window.take(at(3_000)).expect("over");
        assert_eq!(sample.rtt, Duration::from_nanos(UNIT));
    }

    #[test]
    fn what_is_taken_is_whole() {
        let window = Arc::new(window());
        let adders: Vec<_> = (0..3)
            .map(|_| {
                let window = Arc::clone(&window);
                thread::spawn(move || {
                    for n in 0..40_000_u64 {
                        window.add(Instant::from_nanos(n), MS * 5, 4, false);
                    }
                })
            })
            .collect();
        let mut now = at(1_000);
        while adders.iter().any(|adder| !adder.is_finished()) {
            if let Some(sample) = window.take(now) {
                let micros = sample.rtt.as_micros();
                assert!((4_999..=5_001).contains(&micros), "{micros}");
            }
            now += Duration::from_secs(1);
            thread::yield_now();
        }
        for adder in adders {
            adder.join().expect("no panic");
        }
    }
}
