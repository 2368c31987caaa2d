//! Metric types. Each number lives next to what it counts; exporters collect the numbers by walking the sources.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A number that only grows, written by any thread.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn add_one(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Adds `n` without a locked instruction. Only for a counter that a single thread writes.
    pub fn add_from_owner(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Begins again at zero: what was counted has ended. Not while anybody writes it.
    pub fn reset(&self) {
        self.0.store(0, Relaxed);
    }
}

/// Upper bounds, in seconds, of the buckets of [`DurationHistogram`]: OpenTelemetry's for HTTP, and five below a 5 ms.
pub const DURATION_BOUNDS_SECONDS: [f64; 19] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5,
    0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

const BOUNDS_NANOS: [u64; 19] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    75_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    750_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    7_500_000_000,
    10_000_000_000,
];

/// A histogram of durations with the fixed buckets of [`DURATION_BOUNDS_SECONDS`] and one above them.
#[derive(Debug, Default)]
pub struct DurationHistogram {
    buckets: [Counter; 20],
    sum_nanos: Counter,
    longest_nanos: AtomicU64,
}

impl DurationHistogram {
    /// Counts one duration without a locked instruction. Only for a histogram that a single thread writes.
    pub fn add_from_owner(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[BOUNDS_NANOS.partition_point(|&bound| bound < nanos)].add_from_owner(1);
        self.sum_nanos.add_from_owner(nanos);
        if nanos > self.longest_nanos.load(Relaxed) {
            self.longest_nanos.store(nanos, Relaxed);
        }
    }

    /// Counts one duration, from any thread.
    pub fn add(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[BOUNDS_NANOS.partition_point(|&bound| bound < nanos)].add(1);
        self.sum_nanos.add(nanos);
        self.longest_nanos.fetch_max(nanos, Relaxed);
    }

    /// Begins again at zero: what was measured has ended. Not while anybody writes it.
    pub fn reset(&self) {
        self.buckets.iter().for_each(Counter::reset);
        self.sum_nanos.reset();
        self.longest_nanos.store(0, Relaxed);
    }

    /// The current value.
    #[must_use]
    pub fn snapshot(&self) -> DurationSnapshot {
        let mut counts = [0; 20];
        for (count, bucket) in counts.iter_mut().zip(&self.buckets) {
            *count = bucket.value();
        }
        DurationSnapshot {
            counts,
            sum_nanos: self.sum_nanos.value(),
            longest_nanos: self.longest_nanos.load(Relaxed),
        }
    }
}

/// A copy of a [`DurationHistogram`]'s numbers; copies of several writers can be merged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DurationSnapshot {
    /// Per bucket, not cumulative; the last is above every bound.
    pub counts: [u64; 20],
    /// The sum of all durations, in nanoseconds.
    pub sum_nanos: u64,
    /// The longest, in nanoseconds; of a difference of two copies, the longest until the later one.
    pub longest_nanos: u64,
}

impl DurationSnapshot {
    /// Adds `other`'s numbers.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        self.sum_nanos += other.sum_nanos;
        self.longest_nanos = self.longest_nanos.max(other.longest_nanos);
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The `q`-quantile in seconds, interpolated within its bucket as Prometheus does, and never above the longest
    /// duration; `None` if empty.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        // No single duration is longer than all of them together, which bounds the difference of two copies.
        let longest = self.longest_nanos.min(self.sum_nanos) as f64 / 1e9;
        let rank = q.clamp(0.0, 1.0) * total as f64;
        let mut below = 0_u64;
        for (index, &count) in self.counts.iter().enumerate() {
            if count > 0 && (below + count) as f64 >= rank {
                let lower = index
                    .checked_sub(1)
                    .map_or(0.0, |i| DURATION_BOUNDS_SECONDS[i]);
                let upper = DURATION_BOUNDS_SECONDS.get(index).copied();
                let upper = upper.map_or(longest, |upper| upper.min(longest)).max(lower);
                let part = (rank - below as f64) / count as f64;
                return Some((upper - lower).mul_add(part, lower).min(longest));
            }
            below += count;
        }
        Some(longest)
    }
}

/// Receives the numbers of sources; implemented by renderers (Prometheus text, JSON). `labels` are names and values in
/// display order.
pub trait Sink {
    /// A number that only grows. `name` ends in `_total`.
    fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        value: u64,
    );
    /// A number that goes up and down.
    fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        value: f64,
    );
    /// A histogram of durations. `name` ends in `_seconds`.
    fn durations(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        value: &DurationSnapshot,
    );
}

/// Whatever has numbers to show.
pub trait Source {
    /// Puts all of them into `sink`.
    fn collect(&self, sink: &mut dyn Sink);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_in_seconds_and_nanoseconds_agree() {
        for (seconds, nanos) in DURATION_BOUNDS_SECONDS.iter().zip(BOUNDS_NANOS) {
            assert!((seconds * 1e9 - nanos as f64).abs() < 0.5);
        }
    }

    #[test]
    fn a_duration_falls_in_the_first_bucket_that_holds_it() {
        let histogram = DurationHistogram::default();
        histogram.add_from_owner(Duration::from_millis(5));
        histogram.add_from_owner(Duration::from_secs(60));
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.counts[5], 1);
        assert_eq!(snapshot.counts[19], 1);
        assert_eq!(snapshot.count(), 2);
    }

    #[test]
    fn no_quantile_is_above_the_longest() {
        let histogram = DurationHistogram::default();
        for millis in [60, 61, 62] {
            histogram.add(Duration::from_millis(millis));
        }
        let snapshot = histogram.snapshot();
        assert!(snapshot.quantile(0.99) <= Some(0.062));
        assert_eq!(snapshot.quantile(1.0), Some(0.062));
        // Above every bound the longest is known, too.
        histogram.add_from_owner(Duration::from_secs(60));
        let later = histogram.snapshot();
        assert_eq!(later.quantile(1.0), Some(60.0));
        // Of a difference the sum is the bound.
        let mut since = snapshot;
        since.longest_nanos = later.longest_nanos;
        let most = since.quantile(1.0);
        assert!(most > Some(0.074) && most < Some(0.076), "{most:?}");
        assert_eq!(DurationSnapshot::default().quantile(0.5), None);
    }
}
