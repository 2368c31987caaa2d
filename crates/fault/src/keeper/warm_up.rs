//! A server that is slow since its start: it gets fewer requests, not another start.

use crate::incident::Status;
use crate::kind::FaultKind;

use super::Work;
use super::server::Shown;

impl Work<'_> {
    /// It is slow because its process is young, and nothing else was done about it: a restart would make it younger.
    pub(super) fn warms_up(&self) -> bool {
        let case = self.server.case.as_deref();
        let facts = &self.server.facts;
        case.is_some_and(|case| {
            let is_slow = case.kind == FaultKind::SlowServer && !case.repaired;
            is_slow
                && facts
                    .process
                    .warms_up(self.now, facts.attempts.succeeded)
                    .is_some()
        })
    }

    /// Remembers that its process was as fast as others, once that is known: what is slow later is not warming up.
    pub(super) fn note_fast(&mut self, is_slow: bool) {
        /// So many attempts tell.
        const ENOUGH: u64 = 20;
        let facts = &mut self.server.facts;
        if is_slow || facts.process.was_fast {
            return;
        }
        if let Some(latencies) = &mut facts.latencies {
            facts.process.was_fast = latencies.attempts(self.now, ENOUGH).count >= ENOUGH;
        }
    }

    /// It gets fewer requests until it is as fast as its peers.
    pub(super) fn let_it_warm_up(&mut self) {
        let keep = self.spec.options.recover.keep_serving;
        let now = self.now;
        if self.server.shown == Shown::Serving && self.capacity.allows(keep).is_ok() {
            self.server.trial(now, self.out);
            if let Some(case) = self.case() {
                let text = "warm-up: it gets a tenth of its share until it is as fast as its peers";
                case.note(now, "action", text.to_owned());
            }
        }
        self.set_status(Status::Verifying);
        self.watch(None);
    }
}
