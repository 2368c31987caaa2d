//! Closes an incident of a service, and those of other services that it covers.

use evenkeel_core::{Instant, ServerId};

use crate::contract::{Output, ProbePace};
use crate::incident::{CloseReason, VerificationRecord};
use crate::keeper::Keeper;

use super::CommonIncident;

impl Keeper {
    /// Writes the report and lets go of the service's incident.
    pub(in crate::keeper) fn close_common(
        &mut self,
        now: Instant,
        slot: usize,
        is_proven: Option<bool>,
        end: CloseReason,
        out: &mut Vec<Output>,
    ) {
        let service = &mut self.services[slot];
        let Some(mut common) = service.common.take() else {
            return;
        };
        common.end_mitigation(now);
        let shed = common.shed();
        let CommonIncident {
            mut case,
            limits,
            succeeded,
            well_since,
            follows,
            holds_others,
            cause,
            ..
        } = *common;
        let is_burn = cause.by_statistics;
        if !limits.is_empty() {
            let text = format!("the temporary limits are removed; {shed} requests were shed");
            case.note(now, "action", text);
        }
        if let Some(is_proven) = is_proven {
            let outcome = if is_proven { "passed" } else { "not-proven" };
            case.incident.verification = Some(VerificationRecord {
                outcome: outcome.to_owned(),
                repaired_by: None,
                probes: 0,
                requests: succeeded,
            });
            let text = if is_proven {
                format!("passed: {succeeded} requests of the kind that failed have succeeded")
            } else {
                "not proven: no request of the kind that failed has come since".to_owned()
            };
            case.note(now, "verification", text);
            // Others may have been well later.
            let since = well_since.filter(|_| !holds_others);
            case.recovered(since.unwrap_or(now));
        }
        let objective = service.spec.options.objective.as_ref();
        let impact = service.traffic.impact(case.totals, now, objective);
        service.routes.forget();
        service
            .burn
            .forget(end == CloseReason::ClosedByPerson && is_burn);
        let ids: Vec<ServerId> = service.servers.iter().map(|server| server.id).collect();
        for id in ids {
            self.with(now, id, out, |work| {
                if work.server.is_quiet() && work.server.facts.process.down.is_none() {
                    work.server.facts.forget(now);
                    work.server.set_pace(ProbePace::Normal, work.out);
                }
            });
        }
        if follows.is_some() {
            return;
        }
        let id = case.incident.id.clone();
        self.shared.report(now, case, (end, impact), out);
        self.release_services(now, &id, end, out);
    }

    pub(super) fn record_common(&mut self, slot: usize, out: &mut Vec<Output>) {
        let id = self.services[slot].spec.id;
        let Some(common) = &mut self.services[slot].common else {
            return;
        };
        for veto in common.vetoes.drain(..) {
            self.shared.vetoed(id, veto);
        }
        if std::mem::take(&mut common.case.changed) && common.follows.is_none() {
            let incident = Box::new(common.case.incident.clone());
            self.shared.record(incident, out);
        }
    }

    /// The one incident was closed before all were well: each service is judged by itself again.
    fn release_services(
        &mut self,
        now: Instant,
        id: &str,
        end: CloseReason,
        out: &mut Vec<Output>,
    ) {
        for slot in 0..self.services.len() {
            let common = self.services[slot].common.as_ref();
            if common.is_some_and(|common| common.follows.as_deref() == Some(id)) {
                self.close_common(now, slot, None, end, out);
            }
        }
    }
}
