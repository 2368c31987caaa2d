//! Takes a server out of rotation on behalf of a playbook.

use std::time::Duration;

use evenkeel_core::EjectionReason;

use crate::incident::ActionOutcome;
use crate::policy::Action;

use super::ServerContext;
use super::phase::CasePhase;
use super::refuse::AfterAction;
use super::shown::PublishedState;

/// Attempts in flight get so long to finish when a server is drained.
const DRAIN: Duration = Duration::from_secs(1);

impl ServerContext<'_> {
    pub(super) fn take_out(&mut self, step: usize, action: &Action) -> AfterAction {
        let now = self.now;
        if self.server.facts.process.down.is_some() {
            let is_new = !self.has_done(Action::Eject.word());
            self.server.eject(now, EjectionReason::Known, self.out);
            if is_new {
                self.done(action);
            }
            return AfterAction::On;
        }
        if !matches!(self.server.shown, PublishedState::Ejected(_)) {
            if let Err(why) = self.allowed() {
                return self.refuse(step, action, &why);
            }
            if let Err(veto) = self.second_check(action) {
                // The actions after it may help in the current state.
                self.record_veto(action, veto);
                return AfterAction::On;
            }
            self.server.eject(now, self.server.suspicion(), self.out);
            if *action == Action::Eject {
                self.done(action);
            }
        }
        if *action == Action::Drain {
            if let Some(case) = self.case() {
                case.action_began(now, action);
                case.phase = CasePhase::Acting {
                    step,
                    order: None,
                    until: now + DRAIN,
                };
            }
            return AfterAction::Parked;
        }
        AfterAction::On
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
}
