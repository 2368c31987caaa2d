//! The latest attempts: how many there were, how many failed, how many were slow. By time or by count, in bounded memory.

use std::collections::VecDeque;

use evenkeel_core::Instant;
use evenkeel_core::stat::SlidingWindow;

use super::options::WindowKind;

/// Attempts in a window by count, at most.
const MOST: usize = 65_536;

/// The counts of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ratios {
    /// Attempts.
    pub total: u64,
    /// Failed attempts.
    pub bad: u64,
    /// Slow attempts, failed or not.
    pub slow: u64,
}

impl Ratios {
    /// The share that failed, 0 to 1; 0 of none.
    #[must_use]
    pub fn failed(&self) -> f64 {
        share(self.bad, self.total)
    }

    /// The share that was slow, 0 to 1; 0 of none.
    #[must_use]
    pub fn slow(&self) -> f64 {
        share(self.slow, self.total)
    }
}

fn share(part: u64, total: u64) -> f64 {
    if total == 0 {
        return 0.0;
    }
    part as f64 / total as f64
}

/// The latest attempts.
#[derive(Debug, Clone)]
pub struct AttemptWindow(WindowData);

#[derive(Debug, Clone)]
enum WindowData {
    Time {
        bad: SlidingWindow,
        slow: SlidingWindow,
    },
    Count {
        most: usize,
        attempts: VecDeque<(bool, bool)>,
        sum: Ratios,
    },
}

impl AttemptWindow {
    /// Empty.
    #[must_use]
    pub fn new(kind: WindowKind) -> Self {
        Self(match kind {
            WindowKind::Time(length) => WindowData::Time {
                bad: SlidingWindow::new(length),
                slow: SlidingWindow::new(length),
            },
            WindowKind::Count(most) => WindowData::Count {
                most: (most as usize).clamp(1, MOST),
                attempts: VecDeque::new(),
                sum: Ratios::default(),
            },
        })
    }

    /// Counts an attempt that ended.
    pub fn add(&mut self, now: Instant, is_bad: bool, is_slow: bool) {
        match &mut self.0 {
            WindowData::Time { bad, slow } => {
                bad.add(now, is_bad);
                slow.add(now, is_slow);
            }
            WindowData::Count {
                most,
                attempts,
                sum,
            } => {
                if attempts.len() == *most
                    && let Some((was_bad, was_slow)) = attempts.pop_front()
                {
                    sum.bad -= u64::from(was_bad);
                    sum.slow -= u64::from(was_slow);
                }
                attempts.push_back((is_bad, is_slow));
                sum.total = attempts.len() as u64;
                sum.bad += u64::from(is_bad);
                sum.slow += u64::from(is_slow);
            }
        }
    }

    /// The counts at `now`.
    pub fn ratios(&mut self, now: Instant) -> Ratios {
        match &mut self.0 {
            WindowData::Time { bad, slow } => {
                let (bad, slow) = (bad.tally(now), slow.tally(now));
                Ratios {
                    total: bad.total,
                    bad: bad.hits,
                    slow: slow.hits,
                }
            }
            WindowData::Count { sum, .. } => *sum,
        }
    }

    /// Empties it.
    pub fn clear(&mut self) {
        match &mut self.0 {
            WindowData::Time { bad, slow } => {
                bad.clear();
                slow.clear();
            }
            WindowData::Count { attempts, sum, .. } => {
                attempts.clear();
                *sum = Ratios::default();
            }
        }
    }
}
