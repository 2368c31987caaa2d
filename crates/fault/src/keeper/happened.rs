//! Something happened to a server with an open case: what follows from it, by the table of transitions, is carried out. The one place
//! that goes from one stage to the next.

use crate::incident::ActionOutcome;

use super::Work;
use super::transition::{Effect, Event, follows};

impl Work<'_> {
    /// Something happened to the server of the open case.
    pub(super) fn happened(&mut self, event: Event) {
        let Some(case) = self.server.case.as_deref() else {
            return;
        };
        match follows(case, event) {
            Effect::Nothing => {}
            Effect::Examine => self.examine(),
            Effect::LookAgain => self.look_again(),
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
