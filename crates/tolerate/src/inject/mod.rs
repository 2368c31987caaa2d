//! Fault injection: a share of the requests is delayed, a share is answered with an error.
//!
//! Intuition: what was never broken was never tested. The share has to be exact, or the experiment measures something else;
//! a random decision for each request is off by a hundred in ten thousand at one half. So requests are taken in blocks of
//! 1,024, and in each block the right number of positions is chosen by a seeded permutation: exact to one over any number of
//! blocks, without a pattern, and the same again for the same seed and order of requests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The injected faults.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InjectOptions {
    /// Delays a share of the requests. Default: none.
    pub delay: Option<DelayOptions>,
    /// Aborts a share of the requests with an error, without asking a server. Default: none.
    pub abort: Option<AbortOptions>,
    /// Selects the requests of a block. Default 0.
    pub seed: u64,
}

/// A share and its delay.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelayOptions {
    /// The share, 0 to 1.
    pub share: f64,
    /// The delay, before anything else is done with the request.
    #[serde(with = "crate::serde_duration")]
    pub time: Duration,
}

/// A share and its error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AbortOptions {
    /// The share, 0 to 1. Independent of the delay: a request may get both, and is then aborted after the delay.
    pub share: f64,
    /// The status of the response.
    pub status: u16,
}

/// The faults of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Injected {
    /// Wait this long first.
    pub delay: Option<Duration>,
    /// Then respond with this status instead of asking a server.
    pub abort: Option<u16>,
}

/// Counts, for metrics and status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InjectSnapshot {
    /// Requests.
    pub seen: u64,
    /// Delayed requests.
    pub delayed: u64,
    /// Aborted requests.
    pub aborted: u64,
}

/// Decides for one request after the other. Shared by all workers; no locks.
#[derive(Debug)]
pub struct Inject {
    options: InjectOptions,
    seen: AtomicU64,
    delayed: AtomicU64,
    aborted: AtomicU64,
}

/// The size of a block, as a power of two.
const BLOCK_BITS: u32 = 10;
const BLOCK_MASK: u64 = (1 << BLOCK_BITS) - 1;

impl Inject {
    /// Before the first request.
    #[must_use]
    pub const fn new(options: InjectOptions) -> Self {
        Self {
            options,
            seen: AtomicU64::new(0),
            delayed: AtomicU64::new(0),
            aborted: AtomicU64::new(0),
        }
    }

    /// The same counts under new options.
    #[must_use]
    pub fn continued(&self, options: InjectOptions) -> Self {
        let copy = |count: &AtomicU64| AtomicU64::new(count.load(Ordering::Relaxed));
        Self {
            options,
            seen: copy(&self.seen),
            delayed: copy(&self.delayed),
            aborted: copy(&self.aborted),
        }
    }

    /// The options.
    #[must_use]
    pub const fn options(&self) -> InjectOptions {
        self.options
    }

    /// The faults of the next request.
    pub fn decide(&self) -> Injected {
        let n = self.seen.fetch_add(1, Ordering::Relaxed);
        let seed = mixed(self.options.seed);
        let delay = self
            .options
            .delay
            .filter(|delay| is_chosen(n, delay.share, seed));
        let abort = self
            .options
            .abort
            .filter(|abort| is_chosen(n, abort.share, !seed));
        self.delayed
            .fetch_add(u64::from(delay.is_some()), Ordering::Relaxed);
        self.aborted
            .fetch_add(u64::from(abort.is_some()), Ordering::Relaxed);
        Injected {
            delay: delay.map(|delay| delay.time),
            abort: abort.map(|abort| abort.status),
        }
    }

    /// The counts.
    #[must_use]
    pub fn snapshot(&self) -> InjectSnapshot {
        InjectSnapshot {
            seen: self.seen.load(Ordering::Relaxed),
            delayed: self.delayed.load(Ordering::Relaxed),
            aborted: self.aborted.load(Ordering::Relaxed),
        }
    }
}

/// Whether request `n` is one of the chosen of its block.
fn is_chosen(n: u64, share: f64, seed: u64) -> bool {
    // NaN is zero.
    let share = if share > 0.0 { share.min(1.0) } else { 0.0 };
    let block = n >> BLOCK_BITS;
    // The number up to and including this block, less the number before it: the fractions of single blocks add up.
    let until = |blocks: u64| (blocks as f64 * share * (BLOCK_MASK + 1) as f64) as u64;
    let count = until(block + 1) - until(block);
    place(n & BLOCK_MASK, mixed(seed ^ block)) < count
}

/// A permutation of a block, by `key`: each step is invertible, so no two requests share a position.
fn place(mut index: u64, key: u64) -> u64 {
    for round in 0..4 {
        let part = key >> (round * 16);
        index = index.wrapping_mul((part << 1) | 1).wrapping_add(part >> 9) & BLOCK_MASK;
        index ^= index >> (BLOCK_BITS / 2);
    }
    index
}

/// Every bit of the result depends on every bit of `bits` (SplitMix64).
const fn mixed(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn options(delay: f64, abort: f64, seed: u64) -> InjectOptions {
        InjectOptions {
            delay: Some(DelayOptions {
                share: delay,
                time: Duration::from_millis(7),
            }),
            abort: Some(AbortOptions {
                share: abort,
                status: 503,
            }),
            seed,
        }
    }

    fn pattern(options: InjectOptions, count: usize) -> Vec<Injected> {
        let inject = Inject::new(options);
        (0..count).map(|_| inject.decide()).collect()
    }

    #[test]
    fn the_same_seed_makes_the_same_faults() {
        let of = |seed| pattern(options(0.3, 0.1, seed), 3_000);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn nothing_and_everything() {
        assert_eq!(
            pattern(InjectOptions::default(), 9),
            [Injected::default(); 9]
        );
        for odd in [0.0, -1.0, f64::NAN] {
            assert!(
                pattern(options(odd, odd, 3), 2_000)
                    .iter()
                    .all(|one| *one == Injected::default())
            );
        }
        let all = Injected {
            delay: Some(Duration::from_millis(7)),
            abort: Some(503),
        };
        for odd in [1.0, 2.0, f64::INFINITY] {
            assert_eq!(pattern(options(odd, odd, 3), 2_000), vec![all; 2_000]);
        }
    }

    /// Both at 30 %: they meet in 9 % of the requests, and one follows another in 30 % of the cases.
    #[test]
    fn delays_and_aborts_are_independent() {
        let faults = pattern(options(0.3, 0.3, 5), 1 << 17);
        let part = |count: usize| count as f64 / faults.len() as f64;
        let both = faults
            .iter()
            .filter(|one| one.delay.is_some() && one.abort.is_some())
            .count();
        assert!((part(both) - 0.09).abs() < 0.01, "{}", part(both));
        let pairs = faults
            .windows(2)
            .filter(|pair| pair[0].abort.is_some() && pair[1].abort.is_some());
        let pairs = part(pairs.count());
        assert!((pairs - 0.09).abs() < 0.015, "{pairs}");
    }

    proptest! {
        #[test]
        fn shares_are_exact(share in 0.0..1.0_f64, seed: u64, blocks in 1_usize..20) {
            let inject = Inject::new(options(share, 1.0 - share, seed));
            for _ in 0..blocks * 1_024 {
                inject.decide();
            }
            let snapshot = inject.snapshot();
            let wanted = snapshot.seen as f64 * share;
            prop_assert!((snapshot.delayed as f64 - wanted).abs() <= 1.0);
            prop_assert!((snapshot.aborted as f64 - (snapshot.seen as f64 - wanted)).abs() <= 1.0);
        }
    }
}
