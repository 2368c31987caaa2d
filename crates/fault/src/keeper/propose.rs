//! The modes `ask` and `dry-run`: costly actions are recorded instead of taken, and in `ask` an operator may approve
//! them.
//!
//! Free actions are taken as in `automatic`, with the same guards. A costly action is proposed only when `automatic`
//! would take it: after its waits, and never for a shared cause. So a proposal says what would be done now.

use crate::incident::{ActionOutcome, IncidentStatus};
use crate::policy::{Action, Mode};

use super::ServerContext;
use super::case::Proposal;
use super::refuse::AfterAction;
use super::shown::PublishedState;

impl ServerContext<'_> {
    /// Whether costly actions are carried out for the open case.
    pub(super) fn may_act(&self) -> bool {
        match self.mode() {
            Mode::Automatic => true,
            Mode::Ask => self.server.case.as_ref().is_some_and(|case| case.approved),
            Mode::DryRun | Mode::Off => false,
        }
    }

    /// Proposes the playbook from the costly action `step` on, and watches the server meanwhile. The same is not proposed twice.
    pub(super) fn propose(&mut self, step: usize) -> AfterAction {
        let now = self.now;
        let Some(case) = self.case() else {
            return AfterAction::Parked;
        };
        let actions = case.steps.get(step..).unwrap_or_default().to_vec();
        let known = case.proposal.take();
        let known = known.filter(|proposal| proposal.actions == actions);
        let is_new = known.is_none();
        let rejected = known.is_some_and(|proposal| proposal.rejected);
        case.proposal = Some(Proposal {
            step,
            actions: actions.clone(),
            rejected,
        });
        if is_new {
            actions
                .iter()
                .for_each(|action| self.record_proposed(action));
        }
        let asks = self.mode() == Mode::Ask && !rejected;
        if let Some(case) = self.case().filter(|_| asks && is_new) {
            case.note(
                now,
                "approval",
                "waits for an operator's approval".to_owned(),
            );
        }
        self.set_status(if asks {
            IncidentStatus::AwaitingApproval
        } else {
            IncidentStatus::Open
        });
        self.watch(None);
        let rules = self.rules(false);
        if rules.patient && !rules.in_service {
            let from = now + self.hold();
            if let Some(verification) = self.verification() {
                verification.again(from);
            }
        }
        AfterAction::Parked
    }

    /// One action of a proposal. What is free in it is done: it may stand behind what is costly.
    fn record_proposed(&mut self, action: &Action) {
        let now = self.now;
        let outcome = match action {
            Action::Eject | Action::Drain => {
                if self.server.shown == PublishedState::Serving {
                    self.take_out_beside(action);
                }
                return;
            }
            Action::FailOver => return self.fail_over_beside(),
            Action::Shed | Action::FallBack => {
                if !self.has_done(action.word()) {
                    self.mitigate(action);
                }
                return;
            }
            Action::Restart if !self.server.managed.restarts() => {
                self.unmanaged(action);
                return;
            }
            Action::Stop if !self.server.managed.stops() => {
                self.unmanaged(action);
                return;
            }
            Action::Restart
            | Action::Stop
            | Action::RollBack
            | Action::Exec(_)
            | Action::Escalate
            | Action::Restore
            | Action::Wait(_) => ActionOutcome::WouldDo,
        };
        if let Some(case) = self.case() {
            case.action(now, action, outcome, None);
        }
    }
}
