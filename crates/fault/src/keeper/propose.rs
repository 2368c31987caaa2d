//! What the modes `ask` and `dry-run` do in place of a costly action: it is written down, and in `ask` a person may approve it.
//!
//! All that is free is done as in `automatic`, with the same guards, and a costly action is proposed only when `automatic` would
//! take it: after its waits, and never for a cause that servers share. So a proposal says what would be done now.

use crate::incident::{ActionOutcome, Status};
use crate::policy::{Action, Mode};

use super::Work;
use super::case::Proposal;
use super::refuse::Next;
use super::shown::Shown;

impl Work<'_> {
    /// Whether costly actions are carried out for the open case.
    pub(super) fn may_act(&self) -> bool {
        match self.mode() {
            Mode::Automatic => true,
            Mode::Ask => self.server.case.as_ref().is_some_and(|case| case.approved),
            Mode::DryRun | Mode::Off => false,
        }
    }

    /// Proposes the playbook from the costly action `step` on, and watches the server meanwhile. The same is not proposed twice.
    pub(super) fn propose(&mut self, step: usize) -> Next {
        let now = self.now;
        let Some(case) = self.case() else {
            return Next::Parked;
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
            actions.iter().for_each(|action| self.write_down(action));
        }
        let asks = self.mode() == Mode::Ask && !rejected;
        if let Some(case) = self.case().filter(|_| asks && is_new) {
            case.note(now, "approval", "waits for a person's approval".to_owned());
        }
        self.set_status(if asks {
            Status::AwaitingApproval
        } else {
            Status::Open
        });
        self.watch(None);
        let rules = self.rules(false);
        if rules.patient && !rules.in_service {
            let from = now + self.hold();
            if let Some(verification) = self.verification() {
                verification.again(from);
            }
        }
        Next::Parked
    }

    /// One action of a proposal. What is free in it is done: it may stand behind what is costly.
    fn write_down(&mut self, action: &Action) {
        let now = self.now;
        let outcome = match action {
            Action::Eject | Action::Drain => {
                if self.server.shown == Shown::Serving {
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
