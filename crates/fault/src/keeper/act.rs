//! Executes a playbook: selects the actions for a diagnosis, and runs them one by one until one has to be awaited.

use crate::incident::IncidentStatus;
use crate::policy::Action;
use crate::recover::{ActionTries, demote_costly, playbook};

use super::ServerContext;
use super::phase::CasePhase;
use super::refuse::AfterAction;

impl ServerContext<'_> {
    /// The diagnosis is made: chooses the actions, and begins unless recovery is off.
    pub(super) fn begin_playbook(&mut self, passed: bool) {
        let situation = self.situation(passed);
        let of_user = &self.spec.options.recover.playbooks;
        let Some(case) = self.server.case.as_deref_mut() else {
            return;
        };
        case.steps = playbook(case.kind, of_user, situation);
        case.acted = false;
        // Measures for another kind end.
        (case.sheds, case.falls_back) = (false, false);
        self.demote_ineffective();
        if self.is_off() {
            self.watch(None);
            return;
        }
        if self.warms_up() {
            self.let_it_warm_up();
            return;
        }
        self.set_status(IncidentStatus::Recovering);
        self.run(0);
    }

    /// A costly action that has failed for this kind here again and again is not the first thing that is tried. To start a process
    /// that has ended costs nothing.
    fn demote_ineffective(&mut self) {
        let (now, service) = (self.now, &self.spec.name);
        let is_dead = self.server.facts.process.down.is_some();
        let Some(case) = self.server.case.as_deref_mut().filter(|_| !is_dead) else {
            return;
        };
        let rates = &self.shared.rates;
        let of = |action: &Action| rates.of(service, case.kind, action);
        let Some(steps) = demote_costly(&case.steps, |action| of(action).seldom_helps()) else {
            return;
        };
        let mut costly = case.steps.iter();
        let costly = costly.find(|action| matches!(action, Action::Restart | Action::Stop));
        let told = costly.map(|action| {
            let ActionTries { tried, verified } = of(action);
            format!(
                "{} has helped in {verified} of the last {tried} cases of {} here: other actions are tried first",
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
                AfterAction::On => step += 1,
                AfterAction::Parked => return,
            }
        }
    }

    fn carry_out(&mut self, step: usize, action: &Action) -> AfterAction {
        let now = self.now;
        match action {
            Action::Eject | Action::Drain => self.take_out(step, action),
            Action::Restore => {
                self.server.restore(true, self.out);
                self.done(action);
                AfterAction::On
            }
            Action::Restart => self.restart(step),
            Action::Stop | Action::Exec(_) => self.change(step, action),
            Action::RollBack => self.roll_back(step),
            Action::FailOver => self.fail_over(),
            Action::Shed | Action::FallBack => self.mitigate(action),
            Action::Wait(length) => {
                if let Some(case) = self.case() {
                    case.action_began(now, action);
                    case.phase = CasePhase::Acting {
                        step,
                        order: None,
                        until: now + *length,
                    };
                }
                AfterAction::Parked
            }
            Action::Escalate if !self.may_act() => self.propose(step),
            Action::Escalate => {
                self.escalate("the playbook says so");
                AfterAction::On
            }
        }
    }
}
