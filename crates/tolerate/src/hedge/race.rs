//! An attempt and its hedges: when the next hedge is due, and whose end decides.
//!
//! An attempt that succeeds, or fails for good, decides at once, and the others are cancelled. One that fails otherwise
//! decides only if no other attempt is under way; after it no further hedge is made, since a failure is answered by a retry,
//! with its own limits.
//!
//! The same for the futures of the library and for the sockets of the proxy.

use std::time::Duration;

use evenkeel_core::Instant;

/// What follows from the end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RaceOutcome {
    /// This end decides. Attempts still under way are cancelled.
    Decided,
    /// Another attempt may still succeed: it is waited for.
    Undecided,
}

/// An attempt and its hedges. It only counts; the attempts themselves are the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HedgeRace {
    under_way: u32,
    hedges_left: u32,
    delay: Duration,
    due: Option<Instant>,
    end: Instant,
}

impl HedgeRace {
    /// The first attempt begins. Up to `hedges_left` hedges follow, each `delay` after the previous attempt; none at `end`
    /// or later.
    #[must_use]
    pub fn new(began: Instant, delay: Duration, hedges_left: u32, end: Instant) -> Self {
        let mut race = Self {
            under_way: 1,
            hedges_left,
            delay,
            due: None,
            end,
        };
        race.postpone(began);
        race
    }

    /// The first attempt begins, without hedges.
    #[must_use]
    pub const fn unhedged() -> Self {
        Self {
            under_way: 1,
            hedges_left: 0,
            delay: Duration::ZERO,
            due: None,
            end: Instant::NEVER,
        }
    }

    /// When the next hedge is due; `None` if there is none.
    #[must_use]
    pub const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether a hedge is due now.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Whether an attempt is under way.
    #[must_use]
    pub const fn is_under_way(&self) -> bool {
        self.under_way > 0
    }

    /// The hedge that is due cannot be made yet: it is due again after the delay.
    pub fn postpone(&mut self, now: Instant) {
        let due = now + self.delay;
        self.due = (self.hedges_left > 0 && due < self.end).then_some(due);
    }

    /// The hedge that was due has begun.
    pub fn hedge_started(&mut self, now: Instant) {
        self.under_way = self.under_way.saturating_add(1);
        self.hedges_left = self.hedges_left.saturating_sub(1);
        self.postpone(now);
    }

    /// No further hedge is made.
    pub const fn stop_hedging(&mut self) {
        self.hedges_left = 0;
        self.due = None;
    }

    /// An attempt has ended. `decides`: it succeeded, or failed for good.
    #[must_use = "who is still under way has to be broken off or waited for"]
    pub const fn ended(&mut self, decides: bool) -> RaceOutcome {
        self.under_way = self.under_way.saturating_sub(1);
        self.stop_hedging();
        if decides || self.under_way == 0 {
            RaceOutcome::Decided
        } else {
            RaceOutcome::Undecided
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(10);

    const fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    #[test]
    fn others_begin_one_delay_after_each_other_and_no_more_than_may() {
        let mut race = HedgeRace::new(at(5), DELAY, 2, Instant::NEVER);
        assert_eq!(race.due(), Some(at(15)));
        assert!(!race.is_due(at(14)) && race.is_due(at(15)));
        race.hedge_started(at(16));
        assert_eq!(race.due(), Some(at(26)));
        race.hedge_started(at(26));
        assert_eq!(race.due(), None);
    }

    #[test]
    fn no_hedge_begins_at_the_end_or_of_an_unhedged_attempt() {
        assert_eq!(HedgeRace::new(at(0), DELAY, 9, at(10)).due(), None);
        assert_eq!(HedgeRace::new(at(0), DELAY, 9, at(11)).due(), Some(at(10)));
        assert_eq!(HedgeRace::new(at(0), DELAY, 0, Instant::NEVER).due(), None);
        assert_eq!(HedgeRace::unhedged().due(), None);
        let mut race = HedgeRace::new(at(0), DELAY, 9, at(25));
        race.hedge_started(at(10));
        race.postpone(at(20));
        assert_eq!(race.due(), None, "it would come at 30");
    }

    #[test]
    fn a_hedge_that_cannot_begin_is_postponed_or_given_up() {
        let mut race = HedgeRace::new(at(0), DELAY, 1, Instant::NEVER);
        race.postpone(at(12));
        assert_eq!(race.due(), Some(at(22)));
        race.stop_hedging();
        assert_eq!(race.due(), None);
        race.postpone(at(30));
        assert_eq!(race.due(), None);
    }

    #[test]
    fn a_failure_waits_for_the_others_and_a_success_decides_at_once() {
        let mut race = HedgeRace::new(at(0), DELAY, 3, Instant::NEVER);
        race.hedge_started(at(10));
        race.hedge_started(at(20));
        assert_eq!(race.ended(false), RaceOutcome::Undecided);
        assert_eq!(race.due(), None, "a failure is not answered by a hedge");
        assert_eq!(race.ended(true), RaceOutcome::Decided);
        assert!(race.is_under_way(), "somebody is to be broken off");

        let mut race = HedgeRace::new(at(0), DELAY, 1, Instant::NEVER);
        race.hedge_started(at(10));
        assert_eq!(race.ended(false), RaceOutcome::Undecided);
        assert_eq!(
            race.ended(false),
            RaceOutcome::Decided,
            "the last one decides"
        );
        assert!(!race.is_under_way());
        assert_eq!(HedgeRace::unhedged().ended(false), RaceOutcome::Decided);
    }
}
