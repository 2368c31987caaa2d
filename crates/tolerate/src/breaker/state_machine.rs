//! The states of a breaker and the transitions between them. One owner at a time.

use evenkeel_core::{Instant, Random, duration_from_seconds};

use super::options::{BreakerOptions, SlowCallOptions};
use super::pending::OutcomeCount;
use super::state::{
    Admitted, BreakerOpen, BreakerOutcome, BreakerSnapshot, BreakerState, OpenReason, Transition,
};
use super::window::AttemptWindow;

#[derive(Debug)]
pub(super) struct StateMachine {
    options: BreakerOptions,
    state: BreakerState,
    /// Incremented by each transition.
    era: u64,
    window: AttemptWindow,
    consecutive: u32,
    open_until: Instant,
    /// Consecutive openings without closing in between.
    openings: u32,
    why: Option<OpenReason>,
    /// Trials under way, and successful ones so far.
    trials: u32,
    good: u32,
    /// When the last trial was admitted.
    trial_at: Instant,
    changes: [u64; 5],
    random: Random,
}

impl StateMachine {
    pub(super) fn new(options: BreakerOptions, seed: u64) -> Self {
        Self {
            window: AttemptWindow::new(options.window),
            options,
            state: BreakerState::Closed,
            era: 0,
            consecutive: 0,
            open_until: Instant::ZERO,
            openings: 0,
            why: None,
            trials: 0,
            good: 0,
            trial_at: Instant::ZERO,
            changes: [0; 5],
            random: Random::seeded(seed),
        }
    }

    pub(super) fn admit(&mut self, now: Instant) -> Result<Admitted, BreakerOpen> {
        if self.state == BreakerState::Open && now >= self.open_until {
            self.transition_to(BreakerState::HalfOpen);
        }
        let refused = match self.state {
            BreakerState::Closed | BreakerState::ForcedClosed => {
                return Ok(self.admitted(false));
            }
            BreakerState::Open => Some(self.open_until),
            BreakerState::ForcedOpen => None,
            BreakerState::HalfOpen => {
                // Trials that never end must not keep it half-open forever.
                let are_lost = now.since(self.trial_at) > self.options.open_most;
                if self.trials < self.options.trials.max(1) || are_lost {
                    self.trials = self.trials.saturating_add(1);
                    self.trial_at = now;
                    return Ok(self.admitted(true));
                }
                None
            }
        };
        Err(BreakerOpen { until: refused })
    }

    const fn admitted(&self, is_trial: bool) -> Admitted {
        Admitted {
            era: self.era,
            is_trial,
        }
    }

    pub(super) fn ended(
        &mut self,
        admitted: Admitted,
        now: Instant,
        end: BreakerOutcome,
        is_slow: bool,
    ) -> Option<Transition> {
        self.release(admitted);
        if admitted.era != self.era || end == BreakerOutcome::Ignored {
            return None;
        }
        self.count(now, end == BreakerOutcome::Bad, is_slow)
    }

    /// Ends of the present era that another thread has left.
    pub(super) fn apply_pending(&mut self, now: Instant, ends: OutcomeCount) -> Option<Transition> {
        // After a transition the rest is of an earlier era.
        (0..ends.count).find_map(|_| self.count(now, ends.is_bad, ends.is_slow))
    }

    fn count(&mut self, now: Instant, is_bad: bool, is_slow: bool) -> Option<Transition> {
        match self.state {
            BreakerState::Closed | BreakerState::ForcedClosed => {
                self.window.add(now, is_bad, is_slow);
                self.consecutive = if is_bad {
                    self.consecutive.saturating_add(1)
                } else {
                    0
                };
                let why = self.reason(now)?;
                (self.state == BreakerState::Closed).then(|| self.open(now, why))
            }
            BreakerState::HalfOpen if is_bad || is_slow => Some(self.open(now, OpenReason::Trial)),
            BreakerState::HalfOpen => {
                self.good += 1;
                (self.good >= self.options.good_trials).then(|| {
                    self.transition_to(BreakerState::Closed);
                    self.openings = 0;
                    Transition::Closed
                })
            }
            BreakerState::Open | BreakerState::ForcedOpen => None,
        }
    }

    pub(super) const fn abandoned(&mut self, admitted: Admitted) {
        self.release(admitted);
    }

    const fn release(&mut self, admitted: Admitted) {
        if admitted.is_trial && admitted.era == self.era {
            self.trials = self.trials.saturating_sub(1);
        }
    }

    /// Why it has to open, if it has to.
    fn reason(&mut self, now: Instant) -> Option<OpenReason> {
        let options = &self.options;
        if (options.consecutive).is_some_and(|most| self.consecutive >= most.max(1)) {
            return Some(OpenReason::Consecutive);
        }
        let ratios = self.window.ratios(now);
        if ratios.total < u64::from(options.minimum_attempts.max(1)) {
            return None;
        }
        if (options.failure_ratio).is_some_and(|ratio| ratios.bad > 0 && ratios.failed() >= ratio) {
            return Some(OpenReason::Ratio);
        }
        let is_slow = |rule: SlowCallOptions| ratios.slow > 0 && ratios.slow() >= rule.ratio;
        options
            .slow
            .is_some_and(is_slow)
            .then_some(OpenReason::Slow)
    }

    fn open(&mut self, now: Instant, why: OpenReason) -> Transition {
        self.transition_to(BreakerState::Open);
        let options = &self.options;
        let growth = options.growth.max(1.0).powi(self.openings.min(64) as i32);
        let most = options.open_most.max(options.open_for).as_secs_f64();
        let plain = (options.open_for.as_secs_f64() * growth).min(most);
        let more = plain * options.jitter.clamp(0.0, 1.0) * self.random.unit();
        self.openings = self.openings.saturating_add(1);
        self.open_until = now + duration_from_seconds(plain + more);
        self.why = Some(why);
        Transition::Opened(why, self.open_until)
    }

    fn transition_to(&mut self, state: BreakerState) {
        self.state = state;
        self.era += 1;
        self.changes[state as usize] += 1;
        self.window.clear();
        (self.consecutive, self.trials, self.good) = (0, 0, 0);
    }

    pub(super) fn force(&mut self, open: bool) {
        self.transition_to(if open {
            BreakerState::ForcedOpen
        } else {
            BreakerState::ForcedClosed
        });
    }

    pub(super) fn reset(&mut self) {
        self.transition_to(BreakerState::Closed);
        self.openings = 0;
    }

    pub(super) fn reconfigure(&mut self, options: BreakerOptions) {
        if options.window != self.options.window {
            self.window = AttemptWindow::new(options.window);
        }
        self.options = options;
    }

    pub(super) const fn state(&self) -> BreakerState {
        self.state
    }

    pub(super) const fn era(&self) -> u64 {
        self.era
    }

    pub(super) fn open_until(&self) -> Option<Instant> {
        (self.state == BreakerState::Open).then_some(self.open_until)
    }

    pub(super) fn snapshot(
        &mut self,
        now: Instant,
        refused: u64,
        pending: impl Iterator<Item = OutcomeCount>,
    ) -> BreakerSnapshot {
        let mut ratios = self.window.ratios(now);
        for OutcomeCount {
            is_bad,
            is_slow,
            count,
        } in pending
        {
            ratios.total += count;
            ratios.bad += u64::from(is_bad) * count;
            ratios.slow += u64::from(is_slow) * count;
        }
        BreakerSnapshot {
            state: self.state,
            until: self.open_until(),
            why: self.why,
            ratios,
            consecutive: self.consecutive,
            trials: self.trials,
            changes: self.changes,
            refused,
        }
    }
}
