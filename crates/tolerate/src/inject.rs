//! Faults on purpose: which request is delayed, and which is answered with an error without being sent.
//!
//! Intuition: a timeout, a retry or a fallback that was never needed is not known to work. Injecting a small share of faults
//! where they can be told from real ones finds out by day. Who is hit is drawn from a numbered stream: the n-th draw of a
//! seed is a hash of the two, so workers share one counter and nothing else, and a run can be repeated, fault by fault, if its
//! requests come in the same order.
//!
//! Delay and abort are drawn apart: a tenth delayed and a tenth aborted is a hundredth that is both, as with faults that have
//! nothing to do with each other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is injected. Default: nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InjectOptions {
    /// What is delayed.
    pub delay: Option<InjectDelay>,
    /// What is not sent.
    pub abort: Option<InjectAbort>,
    /// Chooses who is hit. Default 0: the same each time.
    pub seed: u64,
}

/// A delay before a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InjectDelay {
    /// Share of the requests, 0 to 1. What is not a number is 0.
    pub share: f64,
    /// How long each of them waits.
    pub time: Duration,
}

/// An answer instead of sending a request.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InjectAbort {
    /// Share of the requests, 0 to 1. What is not a number is 0.
    pub share: f64,
    /// Its status, as 503.
    pub status: u16,
}

/// What happens to a request. The delay comes first if there are both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
pub struct Injected {
    /// To wait this long.
    pub delay: Option<Duration>,
    /// To answer with this status and send nothing.
    pub abort: Option<u16>,
}

/// What was injected, ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InjectCounts {
    /// Requests for which it was drawn.
    pub draws: u64,
    /// Those of them that were delayed.
    pub delayed: u64,
    /// Those of them that were aborted.
    pub aborted: u64,
}

/// Draws for each request, shared by all workers.
#[derive(Debug)]
pub struct Inject {
    options: InjectOptions,
    base: u64,
    draws: AtomicU64,
    delayed: AtomicU64,
    aborted: AtomicU64,
}

impl Inject {
    /// At the first draw of the seed.
    #[must_use]
    pub const fn new(options: InjectOptions) -> Self {
        Self {
            options,
            base: mixed(options.seed),
            draws: AtomicU64::new(0),
            delayed: AtomicU64::new(0),
            aborted: AtomicU64::new(0),
        }
    }

    /// What happens to the next request.
    pub fn draw(&self) -> Injected {
        let injected = self.nth(self.draws.fetch_add(1, Ordering::Relaxed));
        if injected.delay.is_some() {
            self.delayed.fetch_add(1, Ordering::Relaxed);
        }
        if injected.abort.is_some() {
            self.aborted.fetch_add(1, Ordering::Relaxed);
        }
        injected
    }

    /// What the draw with this number, from 0, gives; nothing is counted.
    pub fn nth(&self, number: u64) -> Injected {
        let hit = |share, which| unit(self.base, number.wrapping_mul(2) + which) < share;
        let delay = self.options.delay.filter(|delay| hit(delay.share, 0));
        let abort = self.options.abort.filter(|abort| hit(abort.share, 1));
        Injected {
            delay: delay.map(|delay| delay.time),
            abort: abort.map(|abort| abort.status),
        }
    }

    /// What was injected so far.
    #[must_use]
    pub fn counts(&self) -> InjectCounts {
        InjectCounts {
            draws: self.draws.load(Ordering::Relaxed),
            delayed: self.delayed.load(Ordering::Relaxed),
            aborted: self.aborted.load(Ordering::Relaxed),
        }
    }
}

/// A uniform number from `[0, 1)`, of as many bits as an `f64` has.
fn unit(base: u64, index: u64) -> f64 {
    // The golden ratio in 64 bits, odd: no two indices meet.
    let spread = base.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    (mixed(spread) >> 11) as f64 / (1_u64 << 53) as f64
}

/// The finalizer of SplitMix64: each bit of its argument moves each bit of its result.
const fn mixed(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    fn options(delay: f64, abort: f64, seed: u64) -> InjectOptions {
        InjectOptions {
            delay: Some(InjectDelay {
                share: delay,
                time: Duration::from_millis(30),
            }),
            abort: Some(InjectAbort {
                share: abort,
                status: 503,
            }),
            seed,
        }
    }

    #[test]
    fn shares_come_right_and_delay_and_abort_have_nothing_to_do_with_each_other() {
        for seed in 0..20 {
            let inject = Inject::new(options(0.1, 0.25, seed));
            let draws = 100_000;
            let both = (0..draws).map(|_| inject.draw());
            let both = both.filter(|one| one.delay.is_some() && one.abort.is_some());
            let both = both.count() as f64 / f64::from(draws);
            let counts = inject.counts();
            let share = |count: u64| count as f64 / f64::from(draws);
            // Five standard deviations.
            assert!((share(counts.delayed) - 0.1).abs() < 0.0048, "{counts:?}");
            assert!((share(counts.aborted) - 0.25).abs() < 0.0069, "{counts:?}");
            assert!((both - 0.025).abs() < 0.0025, "{both}");
        }
    }

    /// No rhythm: one draw says nothing about the next.
    #[test]
    fn draws_that_follow_each_other_are_independent() {
        let inject = Inject::new(options(0.5, 0.0, 9));
        let hits: Vec<_> = (0..100_000)
            .map(|_| inject.draw().delay.is_some())
            .collect();
        for apart in [1, 2, 3, 8] {
            let same = hits.iter().zip(&hits[apart..]).filter(|(a, b)| a == b);
            let same = same.count() as f64 / (hits.len() - apart) as f64;
            assert!((same - 0.5).abs() < 0.008, "{apart}: {same}");
        }
    }

    #[test]
    fn a_seed_repeats_and_another_differs() {
        let stream = |seed| {
            let inject = Inject::new(options(0.5, 0.5, seed));
            (0..64).map(|_| inject.draw()).collect::<Vec<_>>()
        };
        assert_eq!(stream(1), stream(1));
        assert_ne!(stream(1), stream(2));
        // Computed apart from this code: another version and another machine hit the same requests.
        let first: Vec<_> = stream(1).iter().map(|one| one.delay.is_some()).collect();
        let expected = [true, true, false, false, true, false, false, true];
        assert_eq!(first[..8], expected);
    }

    #[test]
    fn workers_together_draw_what_one_alone_would() {
        let inject = Arc::new(Inject::new(options(0.1, 0.2, 5)));
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let inject = Arc::clone(&inject);
                thread::spawn(move || {
                    for _ in 0..5_000 {
                        let _: Injected = inject.draw();
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().expect("no panic");
        }
        let alone = Inject::new(options(0.1, 0.2, 5));
        for _ in 0..20_000 {
            let _: Injected = alone.draw();
        }
        assert_eq!(inject.counts(), alone.counts());
    }

    #[test]
    fn all_and_none() {
        let all = Inject::new(options(1.0, 7.0, 3));
        let both = Injected {
            delay: Some(Duration::from_millis(30)),
            abort: Some(503),
        };
        assert!((0..10_000).all(|_| all.draw() == both));
        for none in [
            InjectOptions::default(),
            options(0.0, -1.0, 3),
            options(f64::NAN, f64::NAN, 3),
        ] {
            let none = Inject::new(none);
            assert!((0..10_000).all(|_| none.draw() == Injected::default()));
            assert_eq!(none.counts().draws, 10_000);
        }
    }

    #[test]
    fn options_are_plain_data() {
        let text = r#"{"abort":{"share":0.5,"status":503}}"#;
        let read: InjectOptions = serde_json::from_str(text).expect("it is one");
        assert_eq!(read.abort, options(0.0, 0.5, 0).abort);
        assert_eq!((read.delay, read.seed), (None, 0));
        for wrong in [r#"{"aborts":{}}"#, r#"{"abort":{"share":0.5}}"#] {
            assert!(serde_json::from_str::<InjectOptions>(wrong).is_err());
        }
    }
}
