//! A rank-sum test: is one set of durations longer than another by more than chance?

use std::time::Duration;

use super::coarse::{BUCKETS, CoarseHistogram, bucket_of};

/// The durations of several histograms together.
#[derive(Debug, Clone)]
pub struct PooledHistograms {
    counts: Box<[u64; BUCKETS]>,
}

impl Default for PooledHistograms {
    fn default() -> Self {
        Self {
            counts: Box::new([0; BUCKETS]),
        }
    }
}

impl PooledHistograms {
    /// Adds all that was counted there.
    pub fn add(&mut self, histogram: &CoarseHistogram) {
        for (sum, count) in self.counts.iter_mut().zip(histogram.counts()) {
            *sum += u64::from(count);
        }
    }

    /// The share of these durations that lie above `limit`, within the width of a bucket; zero if there is none.
    #[must_use]
    pub fn share_above(&self, limit: Duration) -> f64 {
        let all: u64 = self.counts.iter().sum();
        let above = self.counts.iter().skip(bucket_of(limit) + 1);
        above.sum::<u64>() as f64 / all.max(1) as f64
    }

    /// By how many standard deviations these durations rank above the others, if both came from one distribution: the
    /// normal approximation of the rank-sum test with its correction for ties (H. B. Mann, D. R. Whitney, 1947). It asks nothing
    /// of the distribution, so a mix of quick and slow requests is judged as well as any. Negative if they rank below; zero if
    /// one of both is empty.
    #[must_use]
    pub fn excess_over(&self, others: &Self) -> f64 {
        let (mut own, mut other, mut above, mut ties) = (0.0_f64, 0.0_f64, 0.0, 0.0);
        for (&mine, &theirs) in self.counts.iter().zip(others.counts.iter()) {
            let (mine, theirs) = (mine as f64, theirs as f64);
            above += mine * (other + theirs / 2.0);
            let tied = mine + theirs;
            ties += tied * (tied * tied - 1.0);
            own += mine;
            other += theirs;
        }
        let (pairs, all) = (own * other, own + other);
        let variance = pairs / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)).max(1.0));
        if variance <= 0.0 {
            return 0.0;
        }
        (above - pairs / 2.0) / variance.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    fn pool(durations: impl IntoIterator<Item = f64>) -> PooledHistograms {
        let (mut histogram, mut pool) = (CoarseHistogram::default(), PooledHistograms::default());
        for millis in durations {
            histogram.add(Duration::from_secs_f64(millis / 1e3));
        }
        pool.add(&histogram);
        pool
    }

    #[test]
    fn it_agrees_with_a_calculation_by_hand() {
        // Ranks of 1 to 6: the second set holds 4, 5 and 6, so U = 9 of 9, and z = 4.5 / √(9 × 7 / 12).
        let (low, high) = (pool([1.0, 2.0, 4.0]), pool([8.0, 16.0, 32.0]));
        let expected = 4.5 / (9.0 * 7.0 / 12.0_f64).sqrt();
        assert!((high.excess_over(&low) - expected).abs() < 1e-9);
        assert!((low.excess_over(&high) + expected).abs() < 1e-9);
        // Two of each pair are tied: t³ − t = 6 for each of them.
        let tied = pool([1.0, 2.0, 4.0]).excess_over(&pool([1.0, 2.0, 4.0]));
        assert!(tied.abs() < 1e-9, "{tied}");
        let tied = pool([2.0, 4.0, 8.0]).excess_over(&pool([1.0, 2.0, 4.0]));
        let expected = 2.5 / (9.0 / 12.0 * (7.0 - 12.0 / 30.0_f64)).sqrt();
        assert!((tied - expected).abs() < 1e-9, "{tied} {expected}");
    }

    #[test]
    fn the_share_above_a_limit_is_counted() {
        let some = pool([1.0, 2.0, 40.0, 80.0]);
        for (millis, share) in [(0, 1.0), (10, 0.5), (50, 0.25), (200, 0.0)] {
            let found = some.share_above(Duration::from_millis(millis));
            assert!((found - share).abs() < 1e-9, "{millis}: {found}");
        }
        assert!(pool([]).share_above(Duration::ZERO).abs() < 1e-9);
    }

    #[test]
    fn empty_and_identical_samples_are_not_significant() {
        for (own, others) in [
            (vec![], vec![1.0]),
            (vec![1.0], vec![]),
            (vec![3.0; 50], vec![3.0; 70]),
        ] {
            assert_eq!(pool(own).excess_over(&pool(others)).to_bits(), 0);
        }
    }

    #[test]
    fn chance_rarely_makes_it_large() {
        let mut random = Random::seeded(7);
        let mut largest = 0.0_f64;
        for _ in 0..20_000 {
            // Half of the requests take a millisecond, the others up to 800 ms.
            let mut mix = |n: usize| {
                let of = |random: &mut Random| match random.below(2) {
                    0 => 1.0,
                    _ => random.below(800) as f64,
                };
                pool((0..n).map(|_| of(&mut random)).collect::<Vec<_>>())
            };
            let (own, others) = (mix(20), mix(60));
            largest = largest.max(own.excess_over(&others));
        }
        assert!(largest < 4.5, "{largest}");
    }
}
