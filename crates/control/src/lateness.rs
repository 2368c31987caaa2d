//! Detects stalls of evenkeel itself: its timers fire late by the length of the stall.

use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_fault::self_check::STALL;

/// When the loop turned last, and how long it may take until it turns again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoopLateness {
    turned: Instant,
    pause: Duration,
    /// Everything before has been reported.
    told_until: Instant,
}

impl LoopLateness {
    /// It turns at `now`, and again after `pause` at the latest.
    pub(crate) const fn new(now: Instant, pause: Duration) -> Self {
        Self {
            turned: now,
            pause,
            told_until: now,
        }
    }

    /// It turns again: for how long it was stalled before, by its own lateness and by that of other threads. Threads that tell of the
    /// same stall one after the other are heard once.
    pub(crate) fn turn(&mut self, now: Instant, of_others: Duration) -> Option<Duration> {
        let late = now.since(self.turned).saturating_sub(self.pause);
        self.turned = now;
        let late = late.max(of_others).min(now.since(self.told_until));
        if late < STALL {
            return None;
        }
        self.told_until = now;
        Some(late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_late_by_half_a_second_or_more_stood_still() {
        let (at, ms) = (Instant::from_millis, Duration::from_millis);
        let mut lateness = LoopLateness::new(at(0), ms(25));
        assert_eq!(lateness.turn(at(25), ms(0)), None);
        assert_eq!(lateness.turn(at(549), ms(0)), None);
        assert_eq!(lateness.turn(at(12_574), ms(700)), Some(ms(12_000)));
        assert_eq!(lateness.turn(at(12_600), ms(700)), None, "it was told");
        assert_eq!(lateness.turn(at(12_625), ms(12_000)), None, "it was told");
        assert_eq!(lateness.turn(at(13_325), ms(700)), Some(ms(700)));
    }
}
