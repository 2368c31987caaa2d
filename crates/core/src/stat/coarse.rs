//! A small histogram of durations, cheap enough to have one per server for thousands of servers: 0.4 KiB once it has
//! counted something, nothing before.

use std::time::Duration;

/// Parts of each doubling.
const SUB_BITS: u32 = 3;
/// 2¹³ ns, 8 µs: what is shorter is all alike.
const LEAST_POWER: u32 = 13;
/// 2³⁷ ns, 137 s: what is longer is all alike.
const MOST_POWER: u32 = 37;
pub(super) const BUCKETS: usize = ((MOST_POWER - LEAST_POWER) << SUB_BITS) as usize;

/// Counts durations from 8 µs to 137 s, within 6.3 %.
#[derive(Debug, Clone, Default)]
pub struct CoarseHistogram {
    counts: Option<Box<[u16; BUCKETS]>>,
    count: u64,
}

impl CoarseHistogram {
    /// Has counted nothing.
    pub const EMPTY: Self = Self {
        counts: None,
        count: 0,
    };

    /// Counts one duration. Allocates the first time.
    pub fn add(&mut self, duration: Duration) {
        let counts = self.counts.get_or_insert_with(|| Box::new([0; BUCKETS]));
        let place = bucket_of(duration);
        if counts[place] == u16::MAX {
            // All at half keep their proportions.
            counts.iter_mut().for_each(|count| *count /= 2);
            self.count = counts.iter().map(|count| u64::from(*count)).sum();
        }
        counts[place] += 1;
        self.count += 1;
    }

    /// How many durations were counted; fewer than that once one of the buckets has been full.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// How many durations each bucket holds, from the shortest on; nothing if none was counted.
    pub(super) fn counts(&self) -> impl Iterator<Item = u16> {
        self.counts.iter().flat_map(|counts| counts.iter().copied())
    }

    /// The median of what both have counted, within 6.3 %; zero if that is nothing.
    #[must_use]
    pub fn median_with(&self, other: &Self) -> Duration {
        self.quantile_with(other, 0.5)
    }

    /// A quantile (from 0 to 1) of what both have counted, within 6.3 %; zero if that is nothing.
    #[must_use]
    pub fn quantile_with(&self, other: &Self, quantile: f64) -> Duration {
        let bucket = self.bucket_with(other, quantile);
        bucket.map_or(Duration::ZERO, |it| Duration::from_nanos(middle(it)))
    }

    /// The upper edge of the bucket in which the quantile lies: at most the rest, 1 − `quantile`, took longer. Up to 12.5 % above the
    /// quantile; [`Duration::MAX`] in the last bucket, zero if nothing was counted.
    #[must_use]
    pub fn upper_quantile_with(&self, other: &Self, quantile: f64) -> Duration {
        match self.bucket_with(other, quantile) {
            None => Duration::ZERO,
            Some(it) if it + 1 >= BUCKETS => Duration::MAX,
            Some(it) => Duration::from_nanos(lower_edge(it + 1)),
        }
    }

    fn bucket_with(&self, other: &Self, quantile: f64) -> Option<usize> {
        let all = self.count + other.count;
        let rank = ((all as f64 * quantile.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        (0..BUCKETS).find(|&index| {
            let of = |counts: &Option<Box<[u16; BUCKETS]>>| {
                counts.as_ref().map_or(0, |counts| u64::from(counts[index]))
            };
            seen += of(&self.counts) + of(&other.counts);
            seen >= rank
        })
    }

    /// The median; zero if nothing was counted.
    #[must_use]
    pub fn median(&self) -> Duration {
        self.median_with(&Self::default())
    }

    /// Forgets all, and keeps its memory.
    pub fn clear(&mut self) {
        if self.count > 0
            && let Some(counts) = &mut self.counts
        {
            counts.fill(0);
        }
        self.count = 0;
    }
}

/// The bucket of a duration.
pub(super) fn bucket_of(duration: Duration) -> usize {
    bucket(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

const fn bucket(nanos: u64) -> usize {
    if nanos < 1 << LEAST_POWER {
        return 0;
    }
    let power = 63 - nanos.leading_zeros();
    if power >= MOST_POWER {
        return BUCKETS - 1;
    }
    let sub = (nanos >> (power - SUB_BITS)) as usize - (1 << SUB_BITS);
    ((power - LEAST_POWER) << SUB_BITS) as usize + sub
}

/// The middle of what a bucket holds.
const fn middle(index: usize) -> u64 {
    let power = LEAST_POWER + (index >> SUB_BITS) as u32;
    lower_edge(index) + (1_u64 << (power - SUB_BITS)) / 2
}

/// The shortest that a bucket holds.
const fn lower_edge(index: usize) -> u64 {
    let power = LEAST_POWER + (index >> SUB_BITS) as u32;
    let sub = (index & ((1 << SUB_BITS) - 1)) as u64;
    (1_u64 << power) + sub * (1_u64 << (power - SUB_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_found_again_within_six_percent() {
        for micros in [
            9,
            15,
            100,
            999,
            1_000,
            4_321,
            20_000,
            250_000,
            7_654_321,
            100_000_000,
        ] {
            let mut histogram = CoarseHistogram::default();
            let duration = Duration::from_micros(micros);
            histogram.add(duration);
            let error = histogram.median().as_secs_f64() / duration.as_secs_f64() - 1.0;
            assert!(error.abs() <= 0.0634, "{micros}: {error}");
        }
        let mut histogram = CoarseHistogram::default();
        histogram.add(Duration::MAX);
        assert!(histogram.median() > Duration::from_secs(120));
        histogram.add(Duration::ZERO);
        assert!(histogram.median() < Duration::from_micros(10));
    }

    #[test]
    fn a_bucket_that_is_full_halves_all() {
        let mut histogram = CoarseHistogram::default();
        (0..30_000).for_each(|_| histogram.add(Duration::from_millis(100)));
        (0..70_000).for_each(|_| histogram.add(Duration::from_millis(1)));
        assert!(
            (50_000..100_000).contains(&histogram.count()),
            "{}",
            histogram.count()
        );
        let quantile = |at| {
            histogram
                .quantile_with(&CoarseHistogram::default(), at)
                .as_secs_f64()
        };
        assert!(quantile(0.65) < 0.002 && quantile(0.75) > 0.09);
    }

    #[test]
    fn quantiles_are_those_of_all() {
        let (mut one, mut other) = (CoarseHistogram::default(), CoarseHistogram::default());
        (0..95).for_each(|_| one.add(Duration::from_millis(1)));
        (0..5).for_each(|_| other.add(Duration::from_millis(100)));
        for (quantile, millis) in [
            (0.0, 1.0),
            (0.5, 1.0),
            (0.95, 1.0),
            (0.96, 100.0),
            (1.0, 100.0),
        ] {
            let found = one.quantile_with(&other, quantile).as_secs_f64() * 1e3;
            assert!((found / millis - 1.0).abs() < 0.07, "{quantile}: {found}");
        }
    }

    #[test]
    fn no_more_than_the_rest_took_longer_than_the_upper_edge() {
        let none = CoarseHistogram::default();
        assert_eq!(none.upper_quantile_with(&none, 0.95), Duration::ZERO);
        for micros in [1, 9, 999, 10_000, 250_000, 100_000_000] {
            let mut histogram = CoarseHistogram::default();
            let (most, rest) = (Duration::from_micros(micros), Duration::from_secs(200));
            (0..95).for_each(|_| histogram.add(most));
            (0..5).for_each(|_| histogram.add(rest));
            let upper = histogram.upper_quantile_with(&none, 0.95);
            assert!(upper > most && upper <= most.max(Duration::from_micros(9)) * 9 / 8);
            let last = histogram.upper_quantile_with(&none, 0.96);
            assert_eq!(last, Duration::MAX);
        }
    }

    #[test]
    fn the_median_of_two_is_that_of_all() {
        let (mut one, mut other) = (CoarseHistogram::default(), CoarseHistogram::default());
        assert_eq!(one.median_with(&other), Duration::ZERO);
        (0..10).for_each(|_| one.add(Duration::from_millis(1)));
        (0..11).for_each(|_| other.add(Duration::from_millis(100)));
        let median = one.median_with(&other).as_secs_f64();
        assert!((median / 0.1 - 1.0).abs() < 0.07, "{median}");
        other.clear();
        let median = one.median_with(&other).as_secs_f64();
        assert!((median / 0.001 - 1.0).abs() < 0.07, "{median}");
        assert_eq!((one.count(), other.count()), (10, 0));
    }
}
