//! Closes a case: because its server is healthy again, because another incident continues it, or because an operator
//! has taken over.

use crate::contract::{OrderAnswer, ProbePace};
use crate::detect::{Detection, Detector};
use crate::incident::{CloseReason, IncidentStatus};
use crate::kind::FaultKind;
use crate::verify::Verification;

use super::ServerContext;
use super::phase::CasePhase;
use super::unproven::{Settled, Unproven};

impl ServerContext<'_> {
    /// Service has returned, and that is proven.
    pub(super) fn recovered(&mut self) {
        let now = self.now;
        self.learn_pause();
        self.server.restore(true, self.out);
        if let Some(case) = self.server.case.as_deref_mut() {
            if case.cannot_start {
                *self.started_again = Some((now, case.incident.id.clone()));
            }
            if let CasePhase::Verifying { verification, .. } = &case.phase {
                let verification = verification.clone();
                if case.repaired {
                    self.server.repairs.verified();
                }
                case.verified(&verification, "passed");
                let (probes, came) = (verification.probes, came(&verification));
                let text = format!("passed: {probes} probes passed in a row, {came}");
                case.note(now, "verification", text);
            }
            case.recovered(now);
        }
        self.close(CloseReason::Recovered);
    }

    /// Service has returned, and too few requests of the kind that failed have come to prove it: the incident stays open for them.
    pub(super) fn returned(&mut self) {
        let now = self.now;
        self.learn_pause();
        self.server.restore(true, self.out);
        let Some(mut case) = self.server.case.take() else {
            return;
        };
        let CasePhase::Verifying { verification, .. } = &case.phase else {
            self.server.case = Some(case);
            return;
        };
        let verification = verification.clone();
        case.verified(&verification, "not-proven");
        let (probes, came) = (verification.probes, came(&verification));
        let text = format!("not proven yet: {probes} probes passed in a row, {came}");
        case.note(now, "verification", text);
        case.recovered(now);
        case.set_status(IncidentStatus::Verifying);
        case.give_up_actions(now, "the server was back in service before it had ended");
        let objective = self.spec.options.objective.as_ref();
        let impact = self.traffic.impact(case.totals, now, objective);
        case.incident.impact = impact;
        let id = case.incident.id.clone();
        let unproven = Unproven::new(case, &verification, impact, now);
        self.server.unproven = Some(Box::new(unproven));
        self.is_well_now();
        let text = format!(
            "the server is in service again; incident {id} is open until requests prove that it is over"
        );
        self.server.answer(OrderAnswer::Done(text), self.out);
    }

    /// What is known of it from before its return says nothing any more.
    fn is_well_now(&mut self) {
        self.server.facts.forget(self.now);
        self.server.slow = None;
        self.server.doubt_until = None;
        self.server.set_pace(ProbePace::Normal, self.out);
    }

    /// An incident that is not proven to be over may be by now, or not to be.
    pub(super) fn tick_unproven(&mut self) {
        let now = self.now;
        let Some(unproven) = self.server.unproven.as_deref_mut() else {
            return;
        };
        match unproven.settled(now) {
            None => {
                if std::mem::take(&mut unproven.case.changed) {
                    let incident = Box::new(unproven.case.incident.clone());
                    self.record(incident);
                }
            }
            Some(Settled::Fails(since)) => {
                let by = unproven.case.joined.first().copied();
                let detection = Detection {
                    by: by.unwrap_or(Detector::ConsecutiveFailures),
                    onset: since,
                    text: unproven.text(),
                };
                unproven.reconsider();
                self.detections.push((self.server.id.index, detection));
            }
            Some(settled @ (Settled::Proven | Settled::Silent)) => {
                self.close_unproven(CloseReason::Recovered, settled == Settled::Proven);
            }
        }
    }

    /// Closes the incident that is not proven to be over, if there is one.
    pub(super) fn close_unproven(&mut self, end: CloseReason, is_proven: bool) {
        let now = self.now;
        let Some(unproven) = self.server.unproven.take() else {
            return;
        };
        let Unproven {
            mut case,
            impact,
            probes,
            succeeded,
            ..
        } = *unproven;
        if is_proven && case.repaired {
            self.server.repairs.verified();
        }
        let outcome = if is_proven { "passed" } else { "not-proven" };
        case.verified_by(probes, succeeded, outcome);
        let text = if is_proven {
            format!("passed: {succeeded} requests of the kind that failed have succeeded")
        } else {
            format!(
                "not proven: {succeeded} requests of the kind that failed have succeeded, too few to tell"
            )
        };
        case.note(now, "verification", text);
        self.shared.report(now, *case, (end, impact), self.out);
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
        let text = format!("its cause is not specific to this server: it continues as {into}");
        case.note(now, "diagnosis", text);
        let id = case.incident.id.clone();
        self.close(CloseReason::Merged);
        Some(id)
    }

    /// Ends the open incident: an operator handles the server now. It stays out of rotation if evenkeel had taken it
    /// out.
    pub(super) fn hand_over(&mut self, text: &str) {
        let now = self.now;
        if let Some(unproven) = &mut self.server.unproven {
            unproven.case.note(now, "maintenance", text.to_owned());
            self.close_unproven(CloseReason::Maintenance, false);
        }
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
        self.is_well_now();
        let text = format!("incident {id} is closed: {}", end.words());
        let answer = match end {
            CloseReason::Recovered | CloseReason::ClosedByPerson => OrderAnswer::Done(text),
            CloseReason::Maintenance
            | CloseReason::Left
            | CloseReason::Removed
            | CloseReason::Merged
            | CloseReason::Split
            | CloseReason::EvenkeelEnded => OrderAnswer::Failed(text),
        };
        self.server.answer(answer, self.out);
    }
}

/// What requests of the trickle have shown, in words.
fn came(verification: &Verification) -> String {
    let of_kind = if verification.rules.proof > 0 {
        " of the kind that failed"
    } else {
        ""
    };
    match verification.succeeded {
        0 => format!("no request{of_kind} came to try it with"),
        1 => format!("1 request{of_kind} succeeded in the trickle"),
        n => format!("{n} requests{of_kind} succeeded in the trickle"),
    }
}
