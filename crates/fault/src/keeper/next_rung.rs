//! What follows a repair that did not hold: the next rung of the playbook, the restart again, or escalation.

use std::time::Duration;

use crate::incident::IncidentStatus;
use crate::policy::Action;

use super::ServerContext;

impl ServerContext<'_> {
    /// Goes on from action `then`, or if there is none from the restart; else it is escalated.
    pub(super) fn next_rung(&mut self, then: Option<usize>, why: &str) {
        self.set_status(IncidentStatus::Recovering);
        let restarts = self.server.managed.restarts();
        let is_down = self.server.facts.process.down.is_some();
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
        match remaining.or(again) {
            Some(step) => self.run(step),
            None => self.is_not_repaired(why),
        }
    }

    /// Nothing is left to try: it is escalated, and watched.
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
}
