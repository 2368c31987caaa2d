//! Executes the transition table: the effects of an event on a server with an open case. The only place that moves from
//! one stage to the next.

use crate::incident::ActionOutcome;

use super::ServerContext;
use super::transition::{CaseEvent, Effect, follows};

impl ServerContext<'_> {
    /// Something happened to the server of the open case.
    pub(super) fn happened(&mut self, event: CaseEvent) {
        let Some(case) = self.server.case.as_deref() else {
            return;
        };
        match follows(case, event) {
            Effect::Nothing => {}
            Effect::Examine => self.examine(),
            Effect::LookAgain => self.recheck(),
            Effect::Diagnose => self.diagnose(None),
            Effect::EndWait(step) => self.wait_over(step),
            Effect::GiveUpOrder => {
                let why = Some("no answer to the order".to_owned());
                let event = self.order_ended(self.now, ActionOutcome::TimedOut, why);
                if let Some(event) = event {
                    self.happened(event);
                }
            }
            Effect::Run(step) => self.run(step),
            Effect::Started { at, next } => self.started_by_order(at, next),
            Effect::NotStarted { at, why } => self.not_started(at, &why),
            Effect::Retry(retry) => self.retry(retry),
            Effect::Try => self.try_with_requests(),
            Effect::Recover => self.recovered(),
            Effect::Return => self.returned(),
            Effect::RepairFailed(why) => self.repair_failed(&why),
            Effect::WatchOn(why) => self.watch_on(&why),
        }
    }
}
