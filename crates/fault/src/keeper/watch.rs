//! Watches for recovery: either a repair is verified, which ends, or a server is watched, which does not.
//!
//! An endless watch continues beside everything that waits (a back-off, an approval, an operator): an incident closes
//! by itself as soon as its server is healthy again.

use std::time::Duration;

use crate::contract::ProbePace;
use crate::incident::IncidentStatus;
use crate::verify::Verification;

use super::ServerContext;
use super::phase::{CasePhase, Reexamination, Retry};
use super::shown::PublishedState;

impl ServerContext<'_> {
    /// Verifies what was done; action `then` is next if it did not hold.
    pub(super) fn verify(&mut self, then: usize) {
        let every = self.spec.options.recover.verify.every;
        let mut rules = self.rules(true);
        if rules.patient && !rules.in_service {
            rules.from = self.now + self.hold();
        }
        self.server.set_pace(ProbePace::Every(every), self.out);
        self.set_status(IncidentStatus::Verifying);
        let now = self.now;
        if let Some(case) = self.case() {
            case.acted = false;
            case.reexamination = Reexamination::from(now);
            case.note(now, "verification", "began".to_owned());
            case.phase = CasePhase::Verifying {
                verification: Verification::new(rules),
                then,
                retry: None,
            };
        }
    }

    /// Watches without an end, and restarts at `retry` if it is not well before.
    pub(super) fn watch(&mut self, retry: Option<Retry>) {
        let rules = self.rules(false);
        // Nobody probes what is known not to run and is about to be started.
        let pace = if retry.is_some() && self.server.facts.process.down.is_some() {
            ProbePace::Paused
        } else {
            ProbePace::Fast
        };
        self.server.set_pace(pace, self.out);
        let reexamined = self.now + self.spec.options.detect.probe.fast;
        if let Some(case) = self.case() {
            case.acted = false;
            case.reexamination = Reexamination::from(reexamined);
            let then = case.steps.len();
            case.phase = CasePhase::Verifying {
                verification: Verification::new(rules),
                then,
                retry,
            };
        }
    }

    /// Lets a trickle of requests reach it.
    pub(super) fn try_with_requests(&mut self) {
        if self.server.shown != PublishedState::Serving {
            self.server.trial(self.now, self.out);
        }
    }

    /// How long a server that could not be repaired stays out, with up to a tenth more so that several do not come
    /// back together.
    pub(super) fn hold(&mut self) -> Duration {
        let hold = self.server.repairs.hold(self.now);
        hold + self.shared.random.duration_up_to(hold / 10)
    }
}
