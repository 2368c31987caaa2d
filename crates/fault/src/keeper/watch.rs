//! Watching for the return of service: the verification of a repair, what follows when it fails, and the end of a case.
//!
//! A watch without an end goes on beside everything that waits (a back-off, an approval, a person): an incident closes
//! by itself as soon as its server is well again.

use std::time::Duration;

use evenkeel_core::{Instant, Verdict};

use crate::contract::{OrderAnswer, Pace};
use crate::incident::{End, Status};
use crate::policy::Action;
use crate::verify::{Progress, Verification};

use super::Work;
use super::phase::{Phase, Retry};
use super::server::{Server, Shown};
use super::transition::Event;

impl Server {
    /// When something of it is to be done next.
    pub(super) fn wake(&self) -> Instant {
        let mut next = self.renew_at;
        let held_until = self.held.as_ref().and_then(|held| held.until);
        let impact_at = self.case.as_ref().map(|case| case.impact_at);
        for at in [self.starting, self.doubt_ends(), held_until, impact_at]
            .into_iter()
            .flatten()
        {
            next = next.min(at);
        }
        if let Some(routine) = &self.routine {
            next = next.min(match routine.order {
                Some(_) => routine.until,
                None => wake_of(&routine.verification),
            });
        }
        match self.case.as_ref().map(|case| &case.phase) {
            None | Some(Phase::Judged) => next,
            Some(Phase::Examining { until, .. } | Phase::Acting { until, .. }) => next.min(*until),
            Some(Phase::Verifying {
                verification,
                retry,
                ..
            }) => {
                let retry = retry.filter(|_| !verification.in_trickle());
                next.min(wake_of(verification))
                    .min(retry.map_or(Instant::NEVER, |retry| retry.at))
            }
        }
    }
}

/// A verification is looked at again whenever time alone could decide it.
fn wake_of(verification: &Verification) -> Instant {
    verification
        .wake(verification.judged)
        .unwrap_or(Instant::NEVER)
}

impl Work<'_> {
    /// The verification under way, of a case or of a routine restart.
    pub(super) fn verification(&mut self) -> Option<&mut Verification> {
        if let Some(case) = self.server.case.as_deref_mut() {
            return match &mut case.phase {
                Phase::Verifying { verification, .. } => Some(verification),
                Phase::Judged | Phase::Examining { .. } | Phase::Acting { .. } => None,
            };
        }
        let routine = self
            .server
            .routine
            .as_mut()
            .filter(|routine| routine.order.is_none());
        routine.map(|routine| &mut routine.verification)
    }

    /// Verifies what was done; action `then` is next if it did not hold.
    pub(super) fn verify(&mut self, then: usize) {
        let every = self.spec.options.recover.verify.every;
        let mut rules = self.rules(true);
        if rules.patient && !rules.in_service {
            rules.from = self.now + self.hold();
        }
        self.server.set_pace(Pace::Every(every), self.out);
        self.set_status(Status::Verifying);
        let now = self.now;
        if let Some(case) = self.case() {
            case.acted = false;
            case.note(now, "verification", "began".to_owned());
            case.phase = Phase::Verifying {
                verification: Verification::new(rules),
                then,
                retry: None,
            };
        }
    }

    /// Watches without an end, and restarts at `retry` if it is not well before.
    pub(super) fn watch(&mut self, retry: Option<Retry>) {
        let rules = self.rules(false);
        // Nobody probes what is known not to run and is about to be started.
        let pace = if retry.is_some() && self.server.facts.process.down.is_some() {
            Pace::Paused
        } else {
            Pace::Fast
        };
        self.server.set_pace(pace, self.out);
        if let Some(case) = self.case() {
            case.acted = false;
            let then = case.steps.len();
            case.phase = Phase::Verifying {
                verification: Verification::new(rules),
                then,
                retry,
            };
        }
    }

    /// A verification got somewhere.
    pub(super) fn progress(&mut self, progress: Progress) {
        if self.server.case.is_some() {
            self.happened(Event::Verified(progress));
            return;
        }
        match progress {
            Progress::Pending => {}
            Progress::Trickle => self.try_with_requests(),
            Progress::Passed => self.routine_passed(),
            Progress::Failed(why) => self.routine_failed(&why),
        }
    }

    /// Lets a trickle of requests reach it.
    pub(super) fn try_with_requests(&mut self) {
        if self.server.shown != Shown::Serving {
            self.server.trial(self.now, self.out);
        }
    }

    /// Watching goes on. What only traffic can tell is not tried again at once.
    pub(super) fn watch_on(&mut self, why: &str) {
        let (now, was_trial) = (self.now, self.server.shown == Shown::Trial);
        let mut from = now;
        if was_trial && !self.warms_up() {
            self.server.eject(now, self.server.suspicion(), self.out);
            if self.rules(false).patient {
                from = now + self.hold();
            }
        }
        if let Some(verification) = self.verification() {
            verification.again(from);
        }
        if let Some(case) = self.case().filter(|_| was_trial) {
            case.note(now, "verification", format!("not yet well: {why}"));
        }
    }

    /// A repair did not hold: the next rung, or the restart again, or a person.
    pub(super) fn repair_failed(&mut self, why: &str) {
        let now = self.now;
        let is_down = self.server.facts.process.down.is_some();
        if !is_down {
            self.starts_too_late();
        }
        let mut then = None;
        if let Some(case) = self.server.case.as_deref_mut() {
            case.note(now, "verification", format!("failed: {why}"));
            if let Phase::Verifying {
                verification,
                then: next,
                ..
            } = &case.phase
            {
                let (verification, next) = (verification.clone(), *next);
                case.verified(&verification, "failed");
                then = Some(next);
            }
            case.repaired_by = None;
        }
        self.server
            .answer(OrderAnswer::Failed(why.to_owned()), self.out);
        if self.server.shown == Shown::Trial || is_down {
            let verdict = if is_down {
                Verdict::Known
            } else {
                self.server.suspicion()
            };
            self.server.eject(now, verdict, self.out);
        }
        let before = self.case().map(|case| case.kind);
        if is_down {
            self.judge(None);
        }
        if self.is_off() {
            self.watch(None);
            return;
        }
        if is_down && self.plays_another(before) {
            self.begin_playbook(false);
            return;
        }
        self.set_status(Status::Recovering);
        let restarts = self.server.managed.restarts();
        if is_down && let Some(step) = self.time_to_roll_back() {
            self.run(step);
            return;
        }
        let Some(case) = self.server.case.as_deref_mut() else {
            return;
        };
        case.acted = false;
        let remaining = then.filter(|then| *then < case.steps.len());
        let again = case
            .steps
            .iter()
            .position(|step| *step == Action::Restart)
            .filter(|_| restarts);
        let is_restart = |step: &usize| case.steps.get(*step) == Some(&Action::Restart);
        let next = remaining.or(again);
        if let Some(step) = next.filter(is_restart)
            && let Some(wait) = self.start_wait()
        {
            self.start_goes_on(step, wait);
            return;
        }
        match next {
            Some(step) => self.run(step),
            None => self.is_not_repaired(why),
        }
    }

    /// Nothing is left to be tried: a person is told, and it is watched.
    fn is_not_repaired(&mut self, why: &str) {
        self.escalate(&format!("the repair did not hold: {why}"));
        self.watch(None);
        let rules = self.rules(false);
        let hold = if rules.patient && !rules.in_service {
            self.hold()
        } else {
            Duration::ZERO
        };
        let from = self.now + hold;
        if let Some(verification) = self.verification() {
            verification.again(from);
        }
    }

    /// Service has returned.
    pub(super) fn recovered(&mut self) {
        let now = self.now;
        self.learn_pause();
        self.server.restore(true, self.out);
        if let Some(case) = self.server.case.as_deref_mut() {
            if let Phase::Verifying { verification, .. } = &case.phase {
                let verification = verification.clone();
                let is_proven = case.is_proven(&verification);
                if case.repaired {
                    self.server.repairs.verified();
                }
                let outcome = if is_proven { "passed" } else { "not-proven" };
                case.verified(&verification, outcome);
                let trickle = match verification.succeeded {
                    0 => "no request came to try it with".to_owned(),
                    1 => "1 request of the trickle succeeded".to_owned(),
                    n => format!("{n} requests of the trickle succeeded"),
                };
                let judged = if is_proven {
                    "passed"
                } else {
                    "not proven yet"
                };
                let probes = verification.probes;
                case.note(
                    now,
                    "verification",
                    format!("{judged}: {probes} probes passed in a row, {trickle}"),
                );
            }
            case.recovered(now);
        }
        self.close(End::Recovered);
    }

    /// Writes the report and lets go of the case.
    pub(super) fn close(&mut self, end: End) {
        let now = self.now;
        let Some(case) = self.server.case.take() else {
            return;
        };
        let id = case.incident.id.clone();
        let objective = self.spec.options.objective.as_ref();
        let impact = self.traffic.impact(case.totals, now, objective);
        self.shared.report(now, *case, (end, impact), self.out);
        self.server.facts.forget(now);
        self.server.slow = None;
        self.server.doubt_until = None;
        self.server.set_pace(Pace::Normal, self.out);
        let text = format!("incident {id} is closed: {}", end.words());
        let answer = match end {
            End::Recovered | End::ClosedByPerson => OrderAnswer::Done(text),
            End::Maintenance | End::Left | End::Merged | End::Split | End::EvenkeelEnded => {
                OrderAnswer::Failed(text)
            }
        };
        self.server.answer(answer, self.out);
    }

    pub(super) fn tick_case(&mut self) {
        let now = self.now;
        if self.server.case.is_none() {
            return;
        }
        if let Some(verification) = self.verification() {
            verification.judged = now;
        }
        let shows_another = self.shows_another();
        self.happened(Event::Tick { now, shows_another });
    }

    pub(super) fn retry(&mut self, retry: Retry) {
        if self.warms_up() {
            self.goes_on_warming_up();
            return;
        }
        let action = self
            .server
            .case
            .as_ref()
            .and_then(|case| case.steps.get(retry.step));
        match action {
            Some(Action::Restart) if retry.allowed => self.restart_now(retry.step),
            _ => self.run(retry.step),
        }
    }

    /// How long a server that could not be repaired stays out, with up to a tenth more so that several do not come
    /// back together.
    pub(super) fn hold(&mut self) -> Duration {
        let hold = self.server.repairs.hold(self.now);
        hold + self.shared.random.duration_up_to(hold / 10)
    }
}
