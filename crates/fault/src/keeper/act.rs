//! The playbook: which actions there are for a diagnosis, and one after the other until one has to be waited for.

use crate::incident::Status;
use crate::policy::Action;
use crate::recover::{Tries, playbook, put_off};

use super::Work;
use super::phase::Phase;
use super::refuse::Next;

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
}
