//! Repeats the examination that told a fault which probes do not see: the kernel accepts their connections also for a process that
//! hangs. While something is waited for, and while a repair is verified, what the examination's request finds decides.

use std::time::Duration;

use crate::contract::{Examination, Output};

use super::ServerContext;
use super::examine::SLACK;
use super::phase::{CasePhase, Reexamination};
use super::transition::CaseEvent;

impl ServerContext<'_> {
    /// Examines again if it is time to.
    pub(super) fn reexamine(&mut self) {
        let now = self.now;
        let case = self.server.case.as_deref();
        let due = case.is_some_and(|case| case.reexamines_at().is_some_and(|at| now >= at));
        if !due {
            return;
        }
        let (order, timeout) = (self.order(), self.spec.options.diagnose_timeout);
        self.out.push(Output::Examine {
            id: order,
            server: self.server.id,
            timeout,
        });
        if let Some(case) = self.case() {
            case.reexamination.order = Some(order);
            case.reexamination.at = now + timeout + SLACK;
        }
    }

    /// The repeated examination has ended: it counts as a probe.
    pub(super) fn reexamined(&mut self, examination: &Examination) {
        let (now, every) = (self.now, self.reexamined_every());
        let answered = examination.http.map(|(outcome, _)| outcome.passed());
        let passed = answered == Some(true);
        if let Some(case) = self.case() {
            case.reexamination = Reexamination {
                order: None,
                at: now + every,
                passed,
            };
        }
        if let Some(verification) = self.verification() {
            let progress = verification.probe(now, passed);
            self.happened(CaseEvent::Verified(progress));
        } else if passed {
            self.happened(CaseEvent::ProbesPass);
        }
    }

    /// Between two of them is as long as between two probes.
    fn reexamined_every(&self) -> Duration {
        let options = &self.spec.options;
        match self.server.case.as_deref().map(|case| &case.phase) {
            Some(CasePhase::Verifying { verification, .. }) if verification.rules.ends => {
                options.recover.verify.every
            }
            _ => options.detect.probe.fast,
        }
    }
}
