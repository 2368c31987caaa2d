//! Roll-back to the previous version: once per incident, after starts of the new version have failed.

use crate::contract::Managed;
use crate::kind::FaultKind;
use crate::policy::Action;
use crate::recover::{ServerChange, Situation, playbook};

use super::ServerContext;
use super::case::Case;
use super::refuse::AfterAction;

/// So many starts have failed before a service is rolled back.
const FAILED_STARTS: usize = 2;

impl ServerContext<'_> {
    /// Rolls back, if that is in the playbook and was not tried before in this incident.
    pub(super) fn roll_back(&mut self, step: usize) -> AfterAction {
        let action = Action::RollBack;
        if self.has_rolled_back() {
            return AfterAction::On;
        }
        if !self.server.rolls_back {
            let why = "neither `run.roll_back` nor `run.keep_previous` is set";
            return self.impossible(&action, why);
        }
        if !self.may_act() {
            return self.propose(step);
        }
        match self.second_check(&action) {
            Ok(checked) => {
                // It counts; but nothing holds it up, since it is done once.
                let backoff = &self.spec.options.recover.backoff;
                self.server
                    .repairs
                    .note(self.now, ServerChange::Other, backoff);
                self.act(step, checked);
                AfterAction::Parked
            }
            Err(veto) => self.vetoed(step, &action, veto),
        }
    }

    /// The place of the roll-back in the playbook, once it is time for it: what cannot start is a bad deploy, and was tried. Where another
    /// server is tried for all, it is that one's.
    pub(super) fn time_to_roll_back(&mut self) -> Option<usize> {
        if !self.server.rolls_back || self.has_rolled_back() || self.waits_for_canary {
            return None;
        }
        let situation = self.situation(false);
        let of_user = &self.spec.options.recover.playbooks;
        let case = self.server.case.as_deref_mut()?;
        let tried = case.incident.actions.iter();
        let tried = tried.filter(|action| action.action == Action::Restart.word());
        if case.kind != FaultKind::BadDeploy || tried.count() < FAILED_STARTS {
            return None;
        }
        if !case.steps.contains(&Action::RollBack) {
            // They were chosen when it looked like something else.
            let steps = playbook(case.kind, of_user, situation);
            if steps.contains(&Action::RollBack) {
                case.steps = steps;
            }
        }
        case.steps.iter().position(|step| *step == Action::RollBack)
    }

    /// Whether that was tried in this incident.
    fn has_rolled_back(&self) -> bool {
        let case = self.server.case.as_deref();
        case.is_some_and(Case::has_rolled_back)
    }

    /// What a built-in playbook depends on.
    pub(super) fn situation(&self, passed: bool) -> Situation {
        Situation {
            managed: self.server.managed,
            passed,
            hang_wait: self.hang_wait(),
            rolls_back: self.server.rolls_back && self.server.managed == Managed::Child,
            listens_elsewhere: self
                .server
                .case
                .as_deref()
                .is_some_and(|case| case.listens_elsewhere),
        }
    }
}
