//! A server that has been slow since its start: it gets fewer requests, not another start.

use std::time::Duration;

use evenkeel_core::Instant;

use crate::detect::{SlowLimits, is_as_fast};
use crate::incident::IncidentStatus;
use crate::kind::FaultKind;
use crate::outlook::WaitReason;

use super::ServerContext;
use super::phase::{CasePhase, Retry};
use super::shown::PublishedState;

/// So often it is asked whether it still warms up.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

impl ServerContext<'_> {
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
    pub(super) fn note_fast(&mut self, limits: SlowLimits) {
        /// So many attempts tell.
        const ENOUGH: u64 = 20;
        let facts = &mut self.server.facts;
        let Some((peers, _)) = limits.attempts.filter(|_| !facts.process.was_fast) else {
            return;
        };
        if let Some(latencies) = &mut facts.latencies {
            let own = latencies.attempts(self.now, ENOUGH);
            facts.process.was_fast = own.count >= ENOUGH && is_as_fast(own.median, peers);
        }
    }

    /// It gets fewer requests until it is as fast as its peers.
    pub(super) fn let_it_warm_up(&mut self) {
        let keep = self.spec.options.recover.keep_serving;
        let now = self.now;
        if self.server.shown == PublishedState::Serving && self.capacity.allows(keep).is_ok() {
            self.server.trial(now, self.out);
            if let Some(case) = self.case() {
                let text = "warm-up: it gets a tenth of its share until it is as fast as its peers";
                case.note(now, "action", text.to_owned());
            }
        }
        self.set_status(IncidentStatus::Verifying);
        self.watch(Some(recheck(now)));
    }

    /// It is asked again later; what is being watched goes on.
    pub(super) fn continues_warm_up(&mut self) {
        let next = recheck(self.now);
        if let Some(CasePhase::Verifying { retry, .. }) = self.case().map(|case| &mut case.phase) {
            *retry = Some(next);
        }
    }
}

/// A server that is slow for longer than a warm-up is repaired like any other.
fn recheck(now: Instant) -> Retry {
    Retry {
        at: now + LOOK_AGAIN,
        step: 0,
        allowed: false,
        waits: WaitReason::Trial,
    }
}
