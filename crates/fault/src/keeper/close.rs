//! Closes a case: because its server is healthy again, because another incident continues it, or because an operator
//! has taken over.

use crate::contract::{OrderAnswer, ProbePace};
use crate::incident::CloseReason;
use crate::kind::FaultKind;

use super::ServerContext;
use super::phase::CasePhase;

impl ServerContext<'_> {
    /// Service has returned.
    pub(super) fn recovered(&mut self) {
        let now = self.now;
        self.learn_pause();
        self.server.restore(true, self.out);
        if let Some(case) = self.server.case.as_deref_mut() {
            if let CasePhase::Verifying { verification, .. } = &case.phase {
                let verification = verification.clone();
                let is_proven = case.is_proven(&verification);
                if case.repaired {
                    self.server.repairs.verified();
                }
                let outcome = if is_proven { "passed" } else { "not-proven" };
                case.verified(&verification, outcome);
                let trickle = match verification.succeeded {
                    0 => "no request arrived to try it".to_owned(),
                    1 => "1 request of the trickle succeeded".to_owned(),
                    n => format!("{n} requests of the trickle succeeded"),
                };
                let judged = if is_proven {
                    "passed"
                } else {
                    "not proven yet"
                };
                let probes = verification.probes;
                case.note(
                    now,
                    "verification",
                    format!("{judged}: {probes} probes passed in a row, {trickle}"),
                );
            }
            case.recovered(now);
        }
        self.close(CloseReason::Recovered);
    }

    /// A hang that ended by itself tells how long the next one may last.
    pub(super) fn learn_pause(&mut self) {
        let case = self.server.case.as_deref();
        let pause = case
            .filter(|case| case.kind == FaultKind::ProcessHung && !case.costly)
            .map(|case| self.now - case.onset);
        self.server.longest_pause = self.server.longest_pause.max(pause);
    }

    /// The incident of this server ends in that of the service.
    pub(super) fn merged(&mut self, into: &str) {
        let now = self.now;
        if let Some(case) = self.case() {
            case.note(
                now,
                "diagnosis",
                format!("its cause is not specific to this server: it continues as {into}"),
            );
        }
        self.close(CloseReason::Merged);
    }

    /// Ends the open incident: an operator handles the server now. It stays out of rotation if evenkeel had taken it
    /// out.
    pub(super) fn hand_over(&mut self, text: &str) {
        let now = self.now;
        if let Some(case) = self.case() {
            case.note(now, "maintenance", text.to_owned());
            self.close(CloseReason::Maintenance);
        }
    }

    /// Writes the report and lets go of the case.
    pub(super) fn close(&mut self, end: CloseReason) {
        let now = self.now;
        let Some(case) = self.server.case.take() else {
            return;
        };
        let id = case.incident.id.clone();
        let objective = self.spec.options.objective.as_ref();
        let impact = self.traffic.impact(case.totals, now, objective);
        self.shared.report(now, *case, (end, impact), self.out);
        self.server.facts.forget(now);
        self.server.slow = None;
        self.server.doubt_until = None;
        self.server.set_pace(ProbePace::Normal, self.out);
        let text = format!("incident {id} is closed: {}", end.words());
        let answer = match end {
            CloseReason::Recovered | CloseReason::ClosedByPerson => OrderAnswer::Done(text),
            CloseReason::Maintenance
            | CloseReason::Left
            | CloseReason::Merged
            | CloseReason::Split
            | CloseReason::EvenkeelEnded => OrderAnswer::Failed(text),
        };
        self.server.answer(answer, self.out);
    }
}
