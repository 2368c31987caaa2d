//! Assigns a detection: to a cause that servers share, or to its server alone.

use std::time::Duration;

use evenkeel_core::Instant;

use crate::common_cause::{
    CommonCause, JudgedServer, JudgedService, Symptom, SymptomCounts, common_cause,
};
use crate::contract::{Output, ServerLoad};
use crate::detect::{Detection, Detector, Overload};
use crate::keeper::Keeper;
use crate::keeper::service::WatchedService;
use crate::kind::FaultKind;
use crate::policy::Action;

use super::{CommonIncident, SETTLED};

/// Between two counts of who shows the same.
const ALIKE_EVERY: Duration = Duration::from_millis(100);

impl WatchedService {
    /// Whether the open incident of the service explains what was detected at one of its servers: the server shows the same, and
    /// nothing else.
    fn explains(&mut self, now: Instant, index: u32, detection: &Detection) -> bool {
        let Some(common) = &self.common else {
            return false;
        };
        let server = &self.servers[index as usize];
        let shows = JudgedServer::read(&server.facts, &self.spec.options.detect, now).symptom;
        let cause = &common.cause;
        if cause.kind == FaultKind::Overload {
            // Whoever has too much fails in many ways. Who refuses connections does not serve, and who answers nothing at all while it
            // was not among those that have too much does not fail for it.
            let is_silent = matches!(shows, Some(Symptom::Hangs | Symptom::Unreachable))
                && server.facts.probes.no_server_responds();
            let is_own = is_silent && !cause.servers.contains(&(index as usize));
            let is_closed = shows == Some(Symptom::Refuses);
            return detection.by != Detector::Supervisor && !is_closed && !is_own;
        }
        match detection.by {
            // Of those that were slow together a moment ago, one may seem to be a little longer than the others.
            Detector::Slow => {
                let slow = self.spec.options.detect.slow;
                let window = slow.map_or(Duration::ZERO, |slow| slow.window);
                cause.by_statistics
                    && cause.kind == FaultKind::SlowServer
                    && cause.servers.contains(&(index as usize))
                    && now.since(self.burn.slow_at) < window
            }
            Detector::Supervisor | Detector::Load | Detector::SelfCheck | Detector::Statistics => {
                false
            }
            Detector::Probe if cause.by_statistics => false,
            // Probes say nothing about a route; one that is answered may fail for the same cause as requests.
            Detector::Probe => {
                cause.failing.is_none()
                    && (!server.facts.probes.no_server_responds() || shows == cause.symptom)
            }
            Detector::ConsecutiveFailures | Detector::FailureRatio => match &cause.failing {
                Some(failing) => !failing.is_not_all(&self.routes.tallies(now), index),
                None if cause.by_statistics => false,
                None => shows.is_none() || shows == cause.symptom,
            },
        }
    }

    /// Takes in how much its servers have to do.
    pub(in crate::keeper) fn take_load(&mut self, now: Instant, servers: &[ServerLoad]) {
        // While a limit is found, what is usual is what was usual before.
        let common = self.common.as_deref();
        let is_bounded = |common: &CommonIncident| {
            common.cause.kind == FaultKind::Overload || !common.limits().is_empty()
        };
        self.load.freeze(common.is_some_and(is_bounded));
        self.load.take(now, servers);
    }

    /// Counts, now and then while a server has an incident, who shows the same.
    fn show_same_symptom(&mut self, now: Instant) {
        let has_case = self.servers.iter().any(|server| server.case.is_some());
        if now >= self.alike_at && (has_case || !self.detections.is_empty()) {
            self.alike_at = now + ALIKE_EVERY;
            let slow = self.servers.iter().filter(|server| server.is_slow());
            let slow = slow.count();
            self.alike = SymptomCounts::count(&self.views(now)).with_slow(slow);
        }
    }

    fn may_fail_over(&self) -> bool {
        let mut playbooks = self.spec.options.recover.playbooks.iter();
        playbooks.any(|playbook| playbook.actions.contains(&Action::FailOver))
    }

    pub(in crate::keeper) fn cause(&mut self, now: Instant) -> Option<CommonCause> {
        let overload = self.load.overload(now);
        self.cause_under(now, overload.as_ref(), self.traffic.load(now))
    }

    /// What the open overload has become, if its servers serve nothing any more: that much is asked of them does not explain it.
    pub(super) fn graver_than_overload(&mut self, now: Instant) -> Option<CommonCause> {
        let common = self.common.as_deref()?;
        if !common.is_overload() || !common.serves_nothing(now, SETTLED) {
            return None;
        }
        let cause = self.cause_under(now, None, 1.0)?;
        let common = self.common.as_deref()?;
        common.is_dead(&cause, now).then_some(cause)
    }

    fn cause_under(
        &mut self,
        now: Instant,
        overload: Option<&Overload>,
        load: f64,
    ) -> Option<CommonCause> {
        let mut servers = self.views(now);
        if self.may_fail_over() {
            // Servers of later tiers are not counted: a fail-over requires them to be healthy.
            for (view, spec) in servers.iter_mut().zip(&self.spec.servers) {
                *view = view.filter(|view| spec.tier == 0 || view.symptom.is_some());
            }
        }
        let routes = self.routes.tallies(now);
        common_cause(&JudgedService {
            servers: &servers,
            routes: &routes,
            overload,
            load,
        })
    }
}

impl Keeper {
    /// Judges the detections of this step, and evaluates the services whose incident is due.
    pub(in crate::keeper) fn judge_services(&mut self, now: Instant, out: &mut Vec<Output>) {
        for slot in 0..self.services.len() {
            let service = &mut self.services[slot];
            service.show_same_symptom(now);
            let has_too_much = service.common.is_none() && service.load.is_overloaded(now);
            if service.detections.is_empty() && !has_too_much && !service.common_is_due(now) {
                continue;
            }
            let detections = std::mem::take(&mut service.detections);
            // Other detections during a slow burn are judged for the service as usual.
            let burns = service.common.as_ref().is_none_or(|one| !one.is_shared());
            let is_due = burns || service.common_is_due(now);
            let cause = if !is_due || service.is_suspended() {
                None
            } else {
                service.cause(now)
            };
            match cause {
                _ if !is_due => {}
                cause if service.common.is_some() => {
                    let cause = service.graver_than_overload(now).or(cause);
                    self.recheck(now, slot, cause, out);
                }
                Some(cause) => {
                    let is_its =
                        |(index, _): &&(u32, Detection)| cause.servers.contains(&(*index as usize));
                    let first = detections.iter().find(is_its);
                    self.open_common(now, slot, cause.clone(), first, out);
                }
                None => {}
            }
            self.pass_on(now, slot, detections, out);
        }
    }

    /// A detection that the service's incident does not explain is specific to its server.
    fn pass_on(
        &mut self,
        now: Instant,
        slot: usize,
        detections: Vec<(u32, Detection)>,
        out: &mut Vec<Output>,
    ) {
        for (index, detection) in detections {
            let service = &mut self.services[slot];
            if service.explains(now, index, &detection) {
                let name = service.servers[index as usize].name.clone();
                if let Some(common) = &mut service.common {
                    common.joins(now, index, name, &detection);
                }
                continue;
            }
            let id = service.servers[index as usize].id;
            self.with(now, id, out, |work| work.detected_alone(&detection));
        }
    }
}
