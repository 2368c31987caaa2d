//! A histogram of durations with logarithmic buckets: bounded memory, and an error of at most 3.2 %.

use std::time::Duration;

const SUB_BITS: u32 = 5;
const SUBS: usize = 1 << SUB_BITS;
const BUCKETS: usize = (64 - SUB_BITS as usize + 1) * SUBS;

/// Counts durations in buckets: exact below 32 ns, then 32 buckets to each power of two.
#[derive(Clone)]
pub struct Histogram {
    counts: Box<[u64]>,
    count: u64,
    sum_nanos: u128,
    max_nanos: u64,
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count)
            .field("p50", &self.quantile(0.5))
            .finish_non_exhaustive()
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS].into_boxed_slice(),
            count: 0,
            sum_nanos: 0,
            max_nanos: 0,
        }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn add(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += 1;
        self.count += 1;
        self.sum_nanos += u128::from(nanos);
        self.max_nanos = self.max_nanos.max(nanos);
    }

    /// Adds all that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum_nanos += other.sum_nanos;
        self.max_nanos = self.max_nanos.max(other.max_nanos);
    }

    /// How many durations were counted.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The longest.
    #[must_use]
    pub const fn max(&self) -> Duration {
        Duration::from_nanos(self.max_nanos)
    }

    /// The mean; zero if nothing was counted.
    #[must_use]
    pub fn mean(&self) -> Duration {
        let mean = self.sum_nanos / u128::from(self.count.max(1));
        Duration::from_nanos(u64::try_from(mean).unwrap_or(u64::MAX))
    }

    /// The smallest duration that at least the share `q` (0 to 1) did not exceed, within 3.2 %; zero if empty.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "q is clamped, counts are far below 2^52"
    )]
    pub fn quantile(&self, q: f64) -> Duration {
        let rank = ((q.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(upper_bound(index).min(self.max_nanos));
            }
        }
        Duration::ZERO
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.count = 0;
        self.sum_nanos = 0;
        self.max_nanos = 0;
    }
}

const fn bucket(nanos: u64) -> usize {
    if nanos < SUBS as u64 {
        return nanos as usize;
    }
    let power = 63 - nanos.leading_zeros();
    let sub = (nanos >> (power - SUB_BITS)) as usize - SUBS;
    (power - SUB_BITS + 1) as usize * SUBS + sub
}

const fn upper_bound(index: usize) -> u64 {
    if index < SUBS {
        return index as u64;
    }
    let shift = (index / SUBS - 1) as u32;
    let lower = ((index % SUBS + SUBS) as u64) << shift;
    lower + ((1_u64 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_within_its_bucket() {
        for exponent in 0..63 {
            for value in [
                1_u64 << exponent,
                (1_u64 << exponent) + 1,
                (1_u64 << exponent) * 3 / 2,
            ] {
                let upper = upper_bound(bucket(value));
                assert!(upper >= value, "{value} above {upper}");
                assert!(
                    (upper - value) as f64 <= value as f64 / 32.0 + 1.0,
                    "{value} far below {upper}"
                );
            }
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_of_a_known_set() {
        let mut histogram = Histogram::default();
        for millis in 1..=100 {
            histogram.add(Duration::from_millis(millis));
        }
        let p99 = histogram.quantile(0.99).as_secs_f64();
        assert!((0.099..0.1022).contains(&p99), "{p99}");
        assert_eq!(histogram.quantile(1.0), Duration::from_millis(100));
        assert_eq!(histogram.count(), 100);
    }
}
