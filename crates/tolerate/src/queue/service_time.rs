//! How long a request takes once it has a slot: what a queue has to leave of its deadline.
//!
//! Mean and mean deviation are averaged as TCP does with round trips (Jacobson 1988, RFC 6298): a request is expected to
//! take no more than `mean + 2 · deviation`. That is the mean itself for equal times, and about the 90th percentile for
//! exponential ones.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// An estimate that all workers share, in one word: microseconds, the mean in the upper half and the deviation in the lower.
/// Zero: unknown.
#[derive(Debug, Default)]
pub struct ServiceTime(AtomicU64);

impl ServiceTime {
    /// Unknown.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// A request took this long. One that did not complete would have taken longer: it counts only if it took longer than
    /// the mean.
    pub fn learn(&self, took: Duration, is_complete: bool) {
        let sample = i64::from(u32::try_from(took.as_micros()).unwrap_or(u32::MAX)).max(1);
        let mix = |word: u64| {
            let (mean, deviation) = (i64::from((word >> 32) as u32), i64::from(word as u32));
            if !is_complete && sample <= mean {
                return None;
            }
            let (mean, deviation) = if word == 0 {
                (sample, sample / 2)
            } else {
                let error = sample - mean;
                // An eighth and a quarter, rounded away from zero, so that both converge.
                (
                    mean + away(error, 8),
                    deviation + away(error.abs() - deviation, 4),
                )
            };
            let bits = |micros: i64| micros.clamp(0, i64::from(u32::MAX)) as u64;
            Some((bits(mean.max(1)) << 32) | bits(deviation))
        };
        // It declines for samples that say nothing.
        let _: Result<u64, u64> = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, mix);
    }

    /// The time that a request is expected to take at most; zero if unknown.
    #[must_use]
    pub fn estimate(&self) -> Duration {
        let word = self.0.load(Ordering::Relaxed);
        let (mean, deviation) = (word >> 32, word & u64::from(u32::MAX));
        Duration::from_micros(mean + 2 * deviation)
    }
}

const fn away(difference: i64, parts: i64) -> i64 {
    (difference + difference.signum() * (parts - 1)) / parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn it_is_the_mean_of_those_that_are_alike() {
        let time = ServiceTime::new();
        assert_eq!(time.estimate(), Duration::ZERO);
        time.learn(MS * 250, true);
        assert_eq!(time.estimate(), MS * 500);
        (0..60).for_each(|_| time.learn(MS * 250, true));
        assert!(time.estimate() - MS * 250 < MS, "{:?}", time.estimate());
        (0..60).for_each(|_| time.learn(MS * 20, true));
        assert!(time.estimate() < MS * 21, "{:?}", time.estimate());
    }

    #[test]
    fn what_was_broken_off_says_only_that_it_would_have_taken_longer() {
        let time = ServiceTime::new();
        time.learn(MS * 100, true);
        let before = time.estimate();
        (0..10).for_each(|_| time.learn(MS * 5, false));
        assert_eq!(time.estimate(), before);
        time.learn(MS * 300, false);
        assert!(time.estimate() > before);
        time.learn(Duration::MAX, true);
        assert!(time.estimate() < Duration::from_secs(100_000));
    }
}
