//! An incident of a service goes on, changes its diagnosis, and is over.

use evenkeel_core::{Instant, ServerId};

use crate::common_cause::CommonCause;
use crate::contract::{Output, Pace};
use crate::incident::{End, Verification};
use crate::keeper::Keeper;
use crate::keeper::service::Service;
use crate::policy::Mode;

use super::{Common, LOOK_EVERY};

impl Keeper {
    /// The incident of the service goes on, changes its diagnosis, or is over.
    pub(super) fn look_again(
        &mut self,
        now: Instant,
        place: usize,
        cause: Option<CommonCause>,
        out: &mut Vec<Output>,
    ) {
        let service = &mut self.services[place];
        let objective = service.spec.options.objective;
        let routes = service.routes.tallies(now);
        let Some(common) = &mut service.common else {
            return;
        };
        common.look_at = now + LOOK_EVERY;
        common.note_shed(now, &service.traffic);
        common
            .case
            .keep_impact_up(now, &service.traffic, objective.as_ref());
        let still_there = cause.is_some();
        if let Some(cause) = cause {
            common.take_in(&cause);
            let changes = common.is_overruled_by(&cause, &routes, now);
            let grew = cause
                .servers
                .iter()
                .any(|at| !common.cause.servers.contains(at));
            if changes || grew && cause.kind == common.cause.kind {
                let mut servers = std::mem::take(&mut common.cause.servers);
                let new = cause.servers.iter().filter(|at| !servers.contains(at));
                let new: Vec<usize> = new.copied().collect();
                servers.extend(new);
                common.cause = CommonCause { servers, ..cause };
                let mut common = service.common.take().expect("it is there");
                common.name_servers(service);
                if changes {
                    common.diagnose(now, &self.shared.names);
                    common.find_limits(now, service);
                    common.choose_mitigation(now, service);
                }
                let id = common.case.incident.id.clone();
                service.common = Some(common);
                self.merge(now, place, &id, out);
            }
        }
        let service = &mut self.services[place];
        if service.spec.options.recover.mode != Mode::Off
            && let Some(mut common) = service.common.take()
        {
            common.tell_closed(now, &self.shared.names);
            common.mitigate(now, service);
            service.common = Some(common);
        }
        let Service { common, burn, .. } = &mut self.services[place];
        let over = common.as_mut().and_then(|common| {
            if common.cause.by_statistics {
                burn.is_over(now, common)
            } else {
                common.is_over(now, still_there)
            }
        });
        let holds = |common: &Common| self.holds_others(&common.case.incident.id);
        let waits = self.services[place].common.as_deref().is_some_and(holds);
        if let Some(is_proven) = over.filter(|_| !waits) {
            self.close_common(now, place, Some(is_proven), End::Recovered, out);
        }
        self.record_common(place, out);
    }

    /// Writes the report and lets go of the service's incident.
    pub(in crate::keeper) fn close_common(
        &mut self,
        now: Instant,
        place: usize,
        is_proven: Option<bool>,
        end: End,
        out: &mut Vec<Output>,
    ) {
        let service = &mut self.services[place];
        let Some(mut common) = service.common.take() else {
            return;
        };
        common.end_mitigation(now);
        let shed = common.shed();
        let Common {
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
            let text =
                format!("the limits that were found are taken off; {shed} requests were shed");
            case.note(now, "action", text);
        }
        if let Some(is_proven) = is_proven {
            let outcome = if is_proven { "passed" } else { "not-proven" };
            case.incident.verification = Some(Verification {
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
        service.burn.forget(end == End::ClosedByPerson && is_burn);
        let ids: Vec<ServerId> = service.servers.iter().map(|server| server.id).collect();
        for id in ids {
            self.with(now, id, out, |work| {
                if work.server.is_quiet() && work.server.facts.process.down.is_none() {
                    work.server.facts.forget(now);
                    work.server.set_pace(Pace::Normal, work.out);
                }
            });
        }
        if follows.is_some() {
            return;
        }
        let id = case.incident.id.clone();
        self.shared.report(now, case, (end, impact), out);
        self.let_go(now, &id, end, out);
    }

    pub(super) fn record_common(&mut self, place: usize, out: &mut Vec<Output>) {
        let Some(common) = &mut self.services[place].common else {
            return;
        };
        if std::mem::take(&mut common.case.changed) && common.follows.is_none() {
            let incident = Box::new(common.case.incident.clone());
            self.shared.record(incident, out);
        }
    }
}
