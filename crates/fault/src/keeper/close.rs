//! The end of a case: because its server is well again, because it goes on elsewhere, or because a person looks after it now.

use crate::contract::{OrderAnswer, Pace};
use crate::incident::End;
use crate::kind::FaultKind;

use super::Work;
use super::phase::Phase;

impl Work<'_> {
    /// Service has returned.
    pub(super) fn recovered(&mut self) {
        let now = self.now;
        self.learn_pause();
        self.server.restore(true, self.out);
        if let Some(case) = self.server.case.as_deref_mut() {
            if case.cannot_start {
                *self.started_again = Some((now, case.incident.id.clone()));
            }
            if let Phase::Verifying { verification, .. } = &case.phase {
                let verification = verification.clone();
                let is_proven = case.is_proven(&verification);
                if case.repaired {
                    self.server.repairs.verified();
                }
                let outcome = if is_proven { "passed" } else { "not-proven" };
                case.verified(&verification, outcome);
                let trickle = match verification.succeeded {
                    0 => "no request came to try it with".to_owned(),
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
        self.close(End::Recovered);
    }

    /// A hang that ended by itself tells how long the next one may last.
    pub(super) fn learn_pause(&mut self) {
        let case = self.server.case.as_deref();
        let pause = case
            .filter(|case| case.kind == FaultKind::ProcessHung && !case.costly)
            .map(|case| self.now - case.onset);
        self.server.longest_pause = self.server.longest_pause.max(pause);
    }

    /// The incident of this server, if there is one, ends in another. Its id.
    pub(super) fn merged(&mut self, into: &str) -> Option<String> {
        let now = self.now;
        let case = self.case()?;
        let text = format!("its cause is not this server's own: it goes on as {into}");
        case.note(now, "diagnosis", text);
        let id = case.incident.id.clone();
        self.close(End::Merged);
        Some(id)
    }

    /// Ends the open incident: a person looks after the server now. What evenkeel has taken out stays out.
    pub(super) fn hand_over(&mut self, text: &str) {
        let now = self.now;
        if let Some(case) = self.case() {
            case.note(now, "maintenance", text.to_owned());
            self.close(End::Maintenance);
        }
    }

    /// Writes the report and lets go of the case.
    pub(super) fn close(&mut self, end: End) {
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
        self.server.set_pace(Pace::Normal, self.out);
        let text = format!("incident {id} is closed: {}", end.words());
        let answer = match end {
            End::Recovered | End::ClosedByPerson => OrderAnswer::Done(text),
            End::Maintenance | End::Left | End::Merged | End::Split | End::EvenkeelEnded => {
                OrderAnswer::Failed(text)
            }
        };
        self.server.answer(answer, self.out);
    }
}
