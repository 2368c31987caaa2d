//! The median of what many workers measure at once: a histogram of atomics.
//!
//! The histograms of core have one owner. Sixteen buckets per doubling: within 3 %, a tenth of what the algorithms tolerate.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Buckets per doubling, as a power of two.
const PART_BITS: u32 = 4;
/// 2¹² ns, 4 µs: the first bucket.
const LEAST_POWER: u32 = 12;
/// 2³⁷ ns, 137 s: the last bucket.
const MOST_POWER: u32 = 37;
const BUCKETS: usize = ((MOST_POWER - LEAST_POWER) << PART_BITS) as usize;

/// Counts durations in 1.6 KiB.
#[derive(Debug)]
pub(super) struct AtomicMedian(Box<[AtomicU32]>);

impl AtomicMedian {
    pub(super) fn new() -> Self {
        Self((0..BUCKETS).map(|_| AtomicU32::new(0)).collect())
    }

    pub(super) fn add(&self, nanos: u64) {
        self.0[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
    }

    /// The median since the last call; zero if nothing was counted. A concurrent addition counts to either.
    pub(super) fn take(&self) -> Duration {
        let mut counts = [0_u32; BUCKETS];
        for (count, bucket) in counts.iter_mut().zip(&self.0) {
            // Most are empty, and reading is cheap.
            if bucket.load(Ordering::Relaxed) > 0 {
                *count = bucket.swap(0, Ordering::Relaxed);
            }
        }
        let all: u64 = counts.iter().copied().map(u64::from).sum();
        let mut seen = 0;
        let at = counts.iter().position(|count| {
            seen += u64::from(*count);
            seen * 2 >= all.max(1)
        });
        at.map_or(Duration::ZERO, |at| Duration::from_nanos(middle(at)))
    }
}

const fn bucket(nanos: u64) -> usize {
    if nanos < 1 << LEAST_POWER {
        return 0;
    }
    let power = nanos.ilog2();
    if power >= MOST_POWER {
        return BUCKETS - 1;
    }
    let part = (nanos >> (power - PART_BITS)) as usize - (1 << PART_BITS);
    ((power - LEAST_POWER) << PART_BITS) as usize + part
}

/// The middle of a bucket.
const fn middle(index: usize) -> u64 {
    let power = LEAST_POWER + (index >> PART_BITS) as u32;
    let part = (index & ((1 << PART_BITS) - 1)) as u64;
    let width = 1_u64 << (power - PART_BITS);
    (1_u64 << power) + part * width + width / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_found_again_within_three_percent() {
        let median = AtomicMedian::new();
        let mut nanos = 5_000_u64;
        while nanos < 130_000_000_000 {
            median.add(nanos);
            let error = median.take().as_secs_f64() * 1e9 / nanos as f64 - 1.0;
            assert!(error.abs() < 0.0313, "{nanos}: {error}");
            nanos = nanos * 21 / 20;
        }
        assert_eq!(median.take(), Duration::ZERO, "taken");
        median.add(u64::MAX);
        assert!(median.take() > Duration::from_secs(120));
        median.add(0);
        assert!(median.take() < Duration::from_micros(5));
    }

    #[test]
    fn the_few_that_are_far_off_do_not_matter() {
        let median = AtomicMedian::new();
        for n in 0..100 {
            median.add(if n % 5 == 0 {
                5_000_000_000
            } else {
                10_000_000
            });
        }
        let millis = median.take().as_secs_f64() * 1e3;
        assert!((9.6..10.4).contains(&millis), "{millis}");
    }
}
