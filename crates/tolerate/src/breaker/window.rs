//! Counts of good, bad and slow attempts over the last so many, or over the last so many seconds. Memory is fixed when it is made.
//!
//! By count, a rare request is worth as much as a frequent one, but what is judged may be old; by time, what is judged
//! is fresh, but there may be too little of it. Core's window counts one thing by time; this one counts two, and either way.

use std::time::Duration;

use evenkeel_core::Instant;
use serde::{Deserialize, Serialize};

/// What a breaker's shares are measured over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WindowOptions {
    /// The last attempts, so many of them: 1 to 10,000, a byte each.
    Attempts(u32),
    /// The attempts that ended within the last so long, exact to a tenth of it.
    Time(Duration),
}

impl Default for WindowOptions {
    fn default() -> Self {
        Self::Time(Duration::from_secs(10))
    }
}

impl WindowOptions {
    /// How many attempts it holds at most.
    pub(super) fn most(self) -> u32 {
        match self {
            Self::Attempts(count) => count.clamp(1, MOST_ATTEMPTS),
            Self::Time(_) => u32::MAX,
        }
    }
}

/// What a window counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// All that were good or bad.
    pub total: u32,
    /// Those that were bad.
    pub bad: u32,
    /// Those that were slow, good or bad.
    pub slow: u32,
}

impl Tally {
    /// The part of the attempts that were bad, 0 to 1; 0 of none.
    #[must_use]
    pub fn bad_ratio(self) -> f64 {
        f64::from(self.bad) / f64::from(self.total.max(1))
    }

    /// The part of the attempts that were slow, 0 to 1; 0 of none.
    #[must_use]
    pub fn slow_ratio(self) -> f64 {
        f64::from(self.slow) / f64::from(self.total.max(1))
    }

    fn add(&mut self, bad: bool, slow: bool) {
        self.total = self.total.saturating_add(1);
        self.bad = self.bad.saturating_add(u32::from(bad));
        self.slow = self.slow.saturating_add(u32::from(slow));
    }
}

const MOST_ATTEMPTS: u32 = 10_000;
const SLICES: usize = 10;
const BAD: u8 = 1;
const SLOW: u8 = 2;

/// A sliding window, by count or by time.
#[derive(Debug, Clone)]
pub struct Window(Kind);

#[derive(Debug, Clone)]
enum Kind {
    /// A ring of the last attempts, and its sum.
    Attempts {
        ring: Box<[u8]>,
        next: usize,
        sum: Tally,
    },
    /// Slices of time; `newest` is the number of the current one.
    Time {
        slices: [Tally; SLICES],
        slice_nanos: u64,
        newest: u64,
    },
}

impl Window {
    /// An empty one.
    #[must_use]
    pub fn new(options: WindowOptions) -> Self {
        Self(match options {
            WindowOptions::Attempts(_) => Kind::Attempts {
                ring: vec![0; options.most() as usize].into_boxed_slice(),
                next: 0,
                sum: Tally::default(),
            },
            WindowOptions::Time(length) => {
                let nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
                Kind::Time {
                    slices: [Tally::default(); SLICES],
                    slice_nanos: (nanos / SLICES as u64).max(1),
                    newest: 0,
                }
            }
        })
    }

    /// Counts one attempt that ended.
    pub fn add(&mut self, now: Instant, bad: bool, slow: bool) {
        self.advance(now);
        match &mut self.0 {
            Kind::Attempts { ring, next, sum } => {
                if sum.total as usize == ring.len() {
                    sum.total -= 1;
                    sum.bad -= u32::from(ring[*next] & BAD != 0);
                    sum.slow -= u32::from(ring[*next] & SLOW != 0);
                }
                ring[*next] = if bad { BAD } else { 0 } | if slow { SLOW } else { 0 };
                sum.add(bad, slow);
                *next = (*next + 1) % ring.len();
            }
            Kind::Time { slices, newest, .. } => {
                slices[(*newest % SLICES as u64) as usize].add(bad, slow);
            }
        }
    }

    /// What it holds at `now`.
    pub fn tally(&mut self, now: Instant) -> Tally {
        self.advance(now);
        match &self.0 {
            Kind::Attempts { sum, .. } => *sum,
            Kind::Time { slices, .. } => slices.iter().fold(Tally::default(), |all, one| Tally {
                total: all.total.saturating_add(one.total),
                bad: all.bad.saturating_add(one.bad),
                slow: all.slow.saturating_add(one.slow),
            }),
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        match &mut self.0 {
            Kind::Attempts { next, sum, .. } => {
                (*next, *sum) = (0, Tally::default());
            }
            Kind::Time { slices, .. } => *slices = [Tally::default(); SLICES],
        }
    }

    /// Empties the slices that are out of the window now. A time before the newest slice counts as in that.
    fn advance(&mut self, now: Instant) {
        let Kind::Time {
            slices,
            slice_nanos,
            newest,
        } = &mut self.0
        else {
            return;
        };
        let current = now.as_nanos() / *slice_nanos;
        let stale = current.saturating_sub(*newest).min(SLICES as u64);
        for step in 0..stale {
            slices[((current - step) % SLICES as u64) as usize] = Tally::default();
        }
        *newest = current.max(*newest);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// resilience4j's FixedSizeSlidingWindowMetricsTest: a window of four.
    #[test]
    fn the_window_by_count_of_resilience4j() {
        let mut window = Window::new(WindowOptions::Attempts(4));
        let mut shares = Vec::new();
        for bad in [true, false, false, false, false] {
            window.add(Instant::ZERO, bad, false);
            shares.push(window.tally(Instant::ZERO).bad_ratio() * 100.0);
        }
        let wanted = [100.0, 50.0, 33.333_332, 25.0, 0.0];
        for (share, wanted) in shares.iter().zip(wanted) {
            assert!((share - wanted).abs() < 1e-4, "{share} {wanted}");
        }
        assert_eq!(window.tally(Instant::ZERO).total, 4);
    }

    /// Polly's rolling health metrics: what is older than the window is out, and what is in it is not.
    #[test]
    fn the_window_by_time_lets_go_of_what_is_old() {
        let mut window = Window::new(WindowOptions::Time(Duration::from_secs(10)));
        let at = |seconds: u64| Instant::from_millis(seconds * 1_000);
        window.add(at(0), true, true);
        window.add(at(5), false, true);
        window.add(at(5), false, false);
        assert_eq!(
            window.tally(at(9)),
            Tally {
                total: 3,
                bad: 1,
                slow: 2
            }
        );
        assert_eq!(
            window.tally(at(10)),
            Tally {
                total: 2,
                bad: 0,
                slow: 1
            }
        );
        assert_eq!(window.tally(at(15)), Tally::default());
        // A thread whose clock reading is older than another's adds to now.
        window.add(at(3), true, false);
        assert_eq!(window.tally(at(15)).bad, 1);
        window.clear();
        assert_eq!(window.tally(at(15)), Tally::default());
    }

    proptest! {
        #[test]
        fn by_count_it_is_the_last_ones(
            size in 1_u32..20, steps in proptest::collection::vec((any::<bool>(), any::<bool>()), 0..100),
        ) {
            let mut window = Window::new(WindowOptions::Attempts(size));
            for (n, &(bad, slow)) in steps.iter().enumerate() {
                window.add(Instant::ZERO, bad, slow);
                let last = &steps[(n + 1).saturating_sub(size as usize)..=n];
                let wanted = Tally {
                    total: last.len() as u32,
                    bad: last.iter().filter(|(bad, _)| *bad).count() as u32,
                    slow: last.iter().filter(|(_, slow)| *slow).count() as u32,
                };
                prop_assert_eq!(window.tally(Instant::ZERO), wanted);
            }
        }

        #[test]
        fn by_time_it_holds_nine_tenths_and_no_more_than_all(
            steps in proptest::collection::vec((0_u64..400, any::<bool>()), 0..100),
        ) {
            let mut window = Window::new(WindowOptions::Time(Duration::from_secs(1)));
            let (mut now, mut all) = (0, Vec::new());
            for (wait, bad) in steps {
                now += wait;
                window.add(Instant::from_millis(now), bad, false);
                all.push((now, bad));
                let within = |length: u64| all.iter().filter(|(at, bad)| *bad && now - at < length).count() as u32;
                let bad = window.tally(Instant::from_millis(now)).bad;
                prop_assert!(within(900) <= bad && bad <= within(1_000), "{} {bad} {}", within(900), within(1_000));
            }
        }
    }
}
