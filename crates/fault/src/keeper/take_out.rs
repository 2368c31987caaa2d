//! Takes a server out of rotation, by a playbook.

use std::time::Duration;

use evenkeel_core::Verdict;

use crate::incident::ActionOutcome;
use crate::policy::Action;

use super::Work;
use super::phase::Phase;
use super::refuse::Next;
use super::shown::Shown;

/// Attempts in flight get so long to finish when a server is drained.
const DRAIN: Duration = Duration::from_secs(1);

impl Work<'_> {
    pub(super) fn take_out(&mut self, step: usize, action: &Action) -> Next {
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
}
