//! Re-evaluates the open incident of a service: current evidence may be more specific than that at the opening, or show
//! that it is over.

use evenkeel_core::Instant;

use crate::common_cause::CommonCause;
use crate::contract::Output;
use crate::incident::CloseReason;
use crate::keeper::Keeper;
use crate::keeper::service::WatchedService;
use crate::policy::Mode;

use super::{CommonIncident, LOOK_EVERY};

impl Keeper {
    /// The incident of the service goes on, changes its diagnosis, or is over.
    pub(super) fn recheck(
        &mut self,
        now: Instant,
        slot: usize,
        cause: Option<CommonCause>,
        out: &mut Vec<Output>,
    ) {
        let service = &mut self.services[slot];
        let objective = service.spec.options.objective;
        let routes = service.routes.tallies(now);
        let Some(common) = &mut service.common else {
            return;
        };
        common.recheck_at = now + LOOK_EVERY;
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
                common.was_overload |= common.is_overload();
                common.cause = CommonCause { servers, ..cause };
                let mut common = service.common.take().expect("it is there");
                common.name_servers(service);
                if changes {
                    common.change = service.change_before(now, &common.cause);
                    common.diagnose(now, &self.shared.names);
                    common.find_limits(now, service);
                    common.choose_mitigation(now, service);
                }
                let id = common.case.incident.id.clone();
                service.common = Some(common);
                self.merge(now, slot, &id, out);
            }
        }
        let service = &mut self.services[slot];
        if service.spec.options.recover.mode != Mode::Off
            && let Some(mut common) = service.common.take()
        {
            common.report_closed(now, &self.shared.names);
            common.mitigate(now, service);
            service.common = Some(common);
        }
        let WatchedService { common, burn, .. } = &mut self.services[slot];
        let over = common.as_mut().and_then(|common| {
            if common.cause.by_statistics {
                burn.is_over(now, common)
            } else {
                common.is_over(now, still_there)
            }
        });
        let holds = |common: &CommonIncident| self.holds_others(&common.case.incident.id);
        let waits = self.services[slot].common.as_deref().is_some_and(holds);
        if let Some(is_proven) = over.filter(|_| !waits) {
            self.close_common(now, slot, Some(is_proven), CloseReason::Recovered, out);
        }
        self.record_common(slot, out);
    }

    /// Whether services are not well yet whose incidents ended in this one.
    fn holds_others(&self, id: &str) -> bool {
        self.services.iter().any(|service| {
            let common = service.common.as_ref();
            common.is_some_and(|common| common.follows.as_deref() == Some(id))
        })
    }
}
