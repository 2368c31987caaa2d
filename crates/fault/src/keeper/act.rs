//! The playbook: its actions one after the other, each past its guards, and what follows when one has ended.

use std::time::Duration;

use evenkeel_core::{Instant, Verdict};

use crate::contract::OrderAnswer;
use crate::incident::{ActionOutcome, Status};
use crate::kind::FaultKind;
use crate::outlook::Waits;
use crate::policy::{Action, Mode};
use crate::recover::{Tries, UNMANAGED, playbook, put_off, serves_nothing};

use super::Work;
use super::phase::{Phase, Retry};
use super::server::Shown;

/// Attempts in flight get so long to finish when a server is drained.
const DRAIN: Duration = Duration::from_secs(1);
/// After the guard of capacity refused, the next look.
const REFUSED: Duration = Duration::from_secs(5);

/// Peers with the same cause show it within this time.
const ALONE: Duration = Duration::from_secs(1);
/// Between two looks whether it is a server's turn to be changed.
const TURN: Duration = Duration::from_millis(500);
/// A hang is waited for so long at least, once pauses of the server are known, unless less is configured …
const LEAST_HANG_WAIT: Duration = Duration::from_secs(10);
/// … and at most, unless more is.
const LONGEST_HANG_WAIT: Duration = Duration::from_secs(60);

/// A costly action waits.
pub(super) struct NotYet {
    /// For what.
    pub(super) waits: Waits,
    /// When it may be asked again.
    pub(super) at: Instant,
    /// In words.
    pub(super) why: String,
}

/// What one action leads to.
pub(super) enum Next {
    /// The next action.
    On,
    /// The keeper waits; the phase says for what.
    Parked,
}

impl Work<'_> {
    /// The diagnosis is made: chooses the actions, and begins unless recovery is off.
    pub(super) fn begin_playbook(&mut self, passed: bool) {
        let situation = self.situation(passed);
        let of_user = &self.spec.options.recover.playbooks;
        let Some(case) = self.server.case.as_deref_mut() else {
            return;
        };
        case.steps = playbook(case.kind, of_user, situation);
        case.acted = false;
        // What was done for another kind ends.
        (case.sheds, case.falls_back) = (false, false);
        self.put_off_what_seldom_helps();
        if self.is_off() {
            self.watch(None);
            return;
        }
        if self.warms_up() {
            self.let_it_warm_up();
            return;
        }
        self.set_status(Status::Recovering);
        self.run(0);
    }

    /// A costly action that has failed for this kind here again and again is not the first thing that is tried. To start a process
    /// that has ended costs nothing.
    fn put_off_what_seldom_helps(&mut self) {
        let (now, service) = (self.now, &self.spec.name);
        let is_dead = self.server.facts.process.down.is_some();
        let Some(case) = self.server.case.as_deref_mut().filter(|_| !is_dead) else {
            return;
        };
        let rates = &self.shared.rates;
        let of = |action: &Action| rates.of(service, case.kind, action);
        let Some(steps) = put_off(&case.steps, |action| of(action).seldom_helps()) else {
            return;
        };
        let mut costly = case.steps.iter();
        let costly = costly.find(|action| matches!(action, Action::Restart | Action::Stop));
        let told = costly.map(|action| {
            let Tries { tried, verified } = of(action);
            format!(
                "{} has helped {verified} of the last {tried} times here against {}: it is not the first thing that is tried",
                action.word(),
                case.kind
            )
        });
        case.steps = steps;
        if let Some(text) = told {
            case.note(now, "action", text);
        }
    }

    /// Carries out the playbook from action `step` on, until something has to be waited for or the repair is to be
    /// verified.
    pub(super) fn run(&mut self, step: usize) {
        let mut step = step;
        while let Some(case) = self.server.case.as_deref() {
            let Some(action) = case.steps.get(step).cloned() else {
                self.verify(step);
                return;
            };
            let ends_rung = matches!(action, Action::Restart | Action::Stop | Action::Escalate);
            if ends_rung && case.acted {
                self.verify(step);
                return;
            }
            match self.carry_out(step, &action) {
                Next::On => step += 1,
                Next::Parked => return,
            }
        }
    }

    fn carry_out(&mut self, step: usize, action: &Action) -> Next {
        let now = self.now;
        match action {
            Action::Eject | Action::Drain => self.take_out(step, action),
            Action::Restore => {
                self.server.restore(true, self.out);
                self.done(action);
                Next::On
            }
            Action::Restart => self.restart(step),
            Action::Stop | Action::Exec(_) => self.change(step, action),
            Action::RollBack => self.roll_back(step),
            Action::FailOver => self.fail_over(),
            Action::Shed | Action::FallBack => self.mitigate(action),
            Action::Wait(length) => {
                if let Some(case) = self.case() {
                    case.action_began(now, action);
                    case.phase = Phase::Acting {
                        step,
                        order: None,
                        until: now + *length,
                    };
                }
                Next::Parked
            }
            Action::Escalate if !self.may_act() => self.propose(step),
            Action::Escalate => {
                self.escalate("the playbook says so");
                Next::On
            }
        }
    }

    /// How long a hang is waited for: by the longest pause that this server came back from, else as configured.
    pub(super) fn hang_wait(&self) -> Option<Duration> {
        let configured = self.spec.options.recover.hang_wait;
        let known = self.server.longest_pause.map(|pause| {
            let most = LONGEST_HANG_WAIT.max(configured);
            (pause * 2).clamp(configured.min(LEAST_HANG_WAIT), most)
        });
        (!self.server.facts.process.stopped).then(|| known.unwrap_or(configured))
    }

    /// A hang that ended by itself tells how long the next one may last.
    pub(super) fn learn_pause(&mut self) {
        let case = self.server.case.as_deref();
        let pause = case
            .filter(|case| case.kind == FaultKind::ProcessHung && !case.costly)
            .map(|case| self.now - case.onset);
        self.server.longest_pause = self.server.longest_pause.max(pause);
    }

    /// Whether the fault is this server's own, as far as can be told: its peers have had the time to show the same, and not too
    /// many of them are being changed. If not, when it may be asked again, and why not.
    pub(super) fn may_cost(&self) -> Result<(), NotYet> {
        let Some(case) = self.server.case.as_deref() else {
            return Ok(());
        };
        if self.server.facts.process.down.is_some() || case.by_person || case.approved {
            return Ok(());
        }
        if self.server.facts.process.stopped {
            // Nobody shares that.
            return self.may_change();
        }
        let alone_at = case.detected + ALONE;
        if self.now < alone_at {
            let why = "its peers may be about to show the same".to_owned();
            return Err(NotYet {
                waits: Waits::Peers,
                at: alone_at,
                why,
            });
        }
        // A process that lives and does not listen has closed its port itself, however many do: what it lacks is a new start.
        let is_own =
            case.kind == FaultKind::NotListening && self.server.facts.process.pid.is_some();
        let shared = case.symptom.and_then(|symptom| self.alike.shared(symptom));
        if let Some((alike, members)) = shared.filter(|_| !is_own) {
            let why = format!("{alike} of {members} servers show the same");
            return Err(NotYet {
                waits: Waits::Shared,
                at: self.now + TURN,
                why,
            });
        }
        self.may_change()
    }

    /// Whether it is its turn to be changed.
    fn may_change(&self) -> Result<(), NotYet> {
        let most = self.spec.options.recover.at_once.max(1);
        if self.changing >= most as usize {
            let why = format!(
                "{} of its peers {} being restarted, and `at_once` is {most}",
                self.changing,
                if self.changing == 1 { "is" } else { "are" }
            );
            return Err(NotYet {
                waits: Waits::Turn,
                at: self.now + TURN,
                why,
            });
        }
        Ok(())
    }

    fn take_out(&mut self, step: usize, action: &Action) -> Next {
        let now = self.now;
        if self.server.facts.process.down.is_some() {
            let is_new = !self.has_done(Action::Eject.word());
            self.server.eject(now, Verdict::Known, self.out);
            if is_new {
                self.done(action);
            }
            return Next::On;
        }
        if !matches!(self.server.shown, Shown::Ejected(_)) {
            if let Err(why) = self.allowed() {
                return self.refuse(step, action, &why);
            }
            if let Err(veto) = self.second_check(action) {
                // What comes behind it may help where it stands.
                self.tell_veto(action, veto);
                return Next::On;
            }
            self.server.eject(now, self.server.suspicion(), self.out);
            if *action == Action::Eject {
                self.done(action);
            }
        }
        if *action == Action::Drain {
            if let Some(case) = self.case() {
                case.action_began(now, action);
                case.phase = Phase::Acting {
                    step,
                    order: None,
                    until: now + DRAIN,
                };
            }
            return Next::Parked;
        }
        Next::On
    }

    /// Takes it out at once while what comes before it in the playbook is only proposed, if the guard of capacity agrees.
    pub(super) fn take_out_beside(&mut self, action: &Action) {
        let now = self.now;
        let allowed = self.allowed().and_then(|()| {
            let checked = self.second_check(action);
            checked.map_err(|veto| format!("second check: {}", veto.words()))
        });
        let (outcome, why) = match allowed {
            Ok(_) => (ActionOutcome::Done, None),
            Err(why) => (ActionOutcome::Refused, Some(why)),
        };
        if outcome == ActionOutcome::Done {
            self.server.eject(now, self.server.suspicion(), self.out);
        }
        if let Some(case) = self.case() {
            case.action(now, action, outcome, why);
        }
    }

    /// A person is needed; told once.
    pub(super) fn escalate(&mut self, why: &str) {
        let now = self.now;
        if self.mode() == Mode::DryRun {
            self.would_escalate(why);
            return;
        }
        if self.case().is_some_and(|case| case.escalate(now, why)) {
            let text = format!("a person is needed: {why}");
            self.server.answer(OrderAnswer::Failed(text), self.out);
        }
    }

    /// The guard of capacity. A server that serves nothing costs none.
    pub(super) fn allowed(&self) -> Result<(), String> {
        let kind = self
            .server
            .case
            .as_ref()
            .map_or(FaultKind::Unknown, |case| case.kind);
        let costs_nothing = !self.server.serves() || serves_nothing(kind) || self.fails_always();
        if costs_nothing {
            Ok(())
        } else {
            self.capacity.allows(self.spec.options.recover.keep_serving)
        }
    }

    /// All of its recent attempts failed, and there were some.
    fn fails_always(&self) -> bool {
        let tally = self.server.facts.attempts.tally(self.now);
        tally.total >= 5
            && self.server.facts.attempts.failed_in_row >= 5
            && tally.hits * 10 >= tally.total * 9
    }

    pub(super) fn refuse(&mut self, step: usize, action: &Action, why: &str) -> Next {
        let now = self.now;
        if let Some(case) = self.server.case.as_deref_mut().filter(|case| !case.refused) {
            case.refused = true;
            case.action(now, action, ActionOutcome::Refused, Some(why.to_owned()));
        }
        self.escalate(why);
        self.watch(Some(Retry {
            at: now + REFUSED,
            step,
            allowed: false,
            waits: Waits::Capacity,
        }));
        Next::Parked
    }

    pub(super) fn unmanaged(&mut self, action: &Action) -> Next {
        self.impossible(action, UNMANAGED)
    }

    /// There is no way to do it: told once, and the next action is tried.
    pub(super) fn impossible(&mut self, action: &Action, why: &str) -> Next {
        let (now, why) = (self.now, why.to_owned());
        if let Some(case) = self.server.case.as_deref_mut().filter(|case| !case.refused) {
            case.refused = true;
            case.action(now, action, ActionOutcome::Refused, Some(why));
        }
        Next::On
    }

    pub(super) fn done(&mut self, action: &Action) {
        let now = self.now;
        if let Some(case) = self.case() {
            case.action(now, action, ActionOutcome::Done, None);
        }
    }

    pub(super) fn has_done(&self, word: &str) -> bool {
        let actions = self
            .server
            .case
            .as_ref()
            .map(|case| case.incident.actions.iter());
        actions.is_some_and(|mut actions| actions.any(|action| action.action == word))
    }
}
