//! Incidents of a whole service: one cause that servers share. Judged before a server is judged alone, and while such an
//! incident is open.
//!
//! Its servers stay in rotation: what they share is not repaired by taking them out, and requests that reach them
//! show at once when it is back. Nothing costly is done. It ends when requests of the kind that failed succeed.

use std::time::Duration;

use evenkeel_core::stat::Window;
use evenkeel_core::{Instant, Outcome, RequestShape, ServerId, Verdict};

use crate::analyze::{Similar, analysis};
use crate::common_cause::{Alike, CommonCause, ServerView, ServiceView, common_cause};
use crate::contract::{Examination, OrderId, Output, Pace};
use crate::detect::{Detection, Detector};
use crate::incident::{ActionOutcome, End, Finding, Status, Verification};
use crate::kind::FaultKind;
use crate::policy::{Action, Mode};

use super::case::{Case, IMPACT_EVERY, Phase};
use super::server::Shown;
use super::service::Service;
use super::{Keeper, Shared};

/// Between two looks while an incident of the service is open.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two counts of who shows the same.
const ALIKE_EVERY: Duration = Duration::from_millis(100);
/// Requests that are looked at to tell whether it is over.
const WINDOW: Duration = Duration::from_secs(3);
/// So many of them, at least, prove something.
const PROOF: u64 = 3;
/// It must have been well for so long.
const QUIET: Duration = Duration::from_secs(2);
/// Without requests that tell, it is over after so long, and not proven.
const UNPROVEN: Duration = Duration::from_secs(600);
/// A success after so many failures in a row is a return …
const ROW: u32 = 10;
/// … of which so many are told.
const RETURNS: u32 = 20;
/// So many servers are examined, at most.
const EXAMINED: usize = 8;
/// After so long the first diagnosis stands unless something graver is seen.
const SETTLED: Duration = Duration::from_secs(3);

/// An incident of a whole service.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) case: Case,
    cause: CommonCause,
    /// The ends of the requests that it is about.
    ends: Window,
    succeeded: u32,
    well_since: Option<Instant>,
    last_failure: Instant,
    /// Of each server that fails, how many failures in a row there are: the first success after several is told.
    failing: Vec<(u32, u32)>,
    /// Returns that were told.
    returns: u32,
    /// Servers that are being examined: one that somebody has stopped is no sign of a common cause.
    examined: Vec<(OrderId, usize)>,
    pub(super) look_at: Instant,
}

impl Common {
    /// An attempt has ended.
    pub(super) fn attempt(
        &mut self,
        at: Instant,
        server: u32,
        name: &str,
        shape: RequestShape,
        outcome: Outcome,
    ) {
        let failed = outcome.is_failure();
        if !(failed || outcome.is_success()) || !self.is_about(shape) {
            return;
        }
        self.ends.add(at, failed);
        if failed {
            self.last_failure = at;
            self.well_since = None;
            match self.failing.iter_mut().find(|(one, _)| *one == server) {
                Some((_, row)) => *row += 1,
                None => self.failing.push((server, 1)),
            }
            return;
        }
        self.succeeded = self.succeeded.saturating_add(1);
        let place = self.failing.iter().position(|(one, _)| *one == server);
        let row = place.map_or(0, |place| self.failing.swap_remove(place).1);
        if row >= ROW && self.returns < RETURNS {
            self.returns += 1;
            self.case
                .note(at, "signal", format!("{name} answers again"));
        }
    }

    fn is_about(&self, shape: RequestShape) -> bool {
        let failing = self.cause.failing.as_ref();
        failing.is_none_or(|failing| failing.covers(shape))
    }

    /// Whether what opened it is gone, and whether that is proven.
    fn is_over(&mut self, now: Instant, still_there: bool) -> Option<bool> {
        let tally = self.ends.clone().tally(now);
        let is_well = if self.cause.kind == FaultKind::BadProbe {
            !still_there
        } else {
            tally.total >= PROOF && tally.hits * 10 <= tally.total
        };
        if !is_well {
            self.well_since = None;
            let silent = tally.total == 0 && !still_there;
            return (silent && now.since(self.last_failure) >= UNPROVEN).then_some(false);
        }
        let since = *self.well_since.get_or_insert(now);
        (now.since(since) >= QUIET).then_some(true)
    }
}

impl Service {
    fn views(&self, now: Instant) -> Vec<Option<ServerView>> {
        let detect = &self.spec.options.detect;
        let of = |server: &super::server::Server| {
            let takes_part = server.vacant.is_none()
                && server.held.is_none()
                && server.starting.is_none()
                && server.routine.is_none()
                && server.facts.process.down.is_none()
                && !server.facts.process.stopped;
            let read = || {
                let view = ServerView::read(&server.facts, detect, now);
                let case = server.case.as_deref();
                match case.and_then(|case| case.symptom.map(|symptom| (symptom, case.onset))) {
                    Some((symptom, since)) if view.symptom.is_none() && !view.is_well => {
                        ServerView {
                            symptom: Some(symptom),
                            since,
                            is_well: false,
                        }
                    }
                    _ => view,
                }
            };
            takes_part.then(read)
        };
        self.servers.iter().map(of).collect()
    }

    /// Whether the open incident of the service explains what was detected at one of its servers: the server shows the same, and
    /// nothing else.
    fn explains(&mut self, now: Instant, index: u32, detection: &Detection) -> bool {
        let Some(common) = &self.common else {
            return false;
        };
        let server = &self.servers[index as usize];
        let shows = ServerView::read(&server.facts, &self.spec.options.detect, now).symptom;
        let cause = &common.cause;
        match detection.by {
            Detector::Supervisor => false,
            Detector::Slow => cause.kind == FaultKind::Overload,
            // Probes say nothing about a route; one that is answered may fail for the same cause as requests.
            Detector::Probe => {
                cause.failing.is_none()
                    && (!server.facts.probes.nobody_answers() || shows == cause.symptom)
            }
            Detector::ConsecutiveFailures | Detector::FailureRatio => match &cause.failing {
                Some(failing) => !failing.is_not_all(&self.routes.tallies(now), index),
                None => shows.is_none() || shows == cause.symptom,
            },
        }
    }

    /// Counts, now and then while a server has an incident, who shows the same.
    fn look_alike(&mut self, now: Instant) {
        let has_case = self.servers.iter().any(|server| server.case.is_some());
        if now >= self.alike_at && (has_case || !self.detections.is_empty()) {
            self.alike_at = now + ALIKE_EVERY;
            self.alike = Alike::count(&self.views(now));
        }
    }

    pub(super) fn cause(&mut self, now: Instant) -> Option<CommonCause> {
        let servers = self.views(now);
        let routes = self.routes.tallies(now);
        common_cause(&ServiceView {
            servers: &servers,
            routes: &routes,
            load: self.traffic.load(now),
        })
    }
}

impl Keeper {
    /// Judges what was detected in this step, and looks at the services whose incident is due.
    pub(super) fn judge_services(&mut self, now: Instant, out: &mut Vec<Output>) {
        for place in 0..self.services.len() {
            let service = &mut self.services[place];
            service.look_alike(now);
            if service.detections.is_empty() && !service.common_is_due(now) {
                continue;
            }
            let detections = std::mem::take(&mut service.detections);
            let is_due = service.common.is_none() || service.common_is_due(now);
            let cause = if !is_due || service.is_suspended() {
                None
            } else {
                service.cause(now)
            };
            match cause {
                _ if !is_due => {}
                cause if service.common.is_some() => self.look_again(now, place, cause, out),
                Some(cause) => self.open_common(now, place, cause, detections.first(), out),
                None => {}
            }
            self.pass_on(now, place, detections, out);
        }
    }

    /// What the service's incident does not explain is its server's own.
    fn pass_on(
        &mut self,
        now: Instant,
        place: usize,
        detections: Vec<(u32, Detection)>,
        out: &mut Vec<Output>,
    ) {
        for (index, detection) in detections {
            let service = &mut self.services[place];
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

    fn open_common(
        &mut self,
        now: Instant,
        place: usize,
        cause: CommonCause,
        detection: Option<&(u32, Detection)>,
        out: &mut Vec<Output>,
    ) {
        let service = &mut self.services[place];
        let first = service.first_of(&cause);
        let case = match first {
            Some(index) => {
                let mut case = service.servers[index].case.take();
                if let Some(case) = &mut case {
                    case.give_up_actions(now, "the cause is not the server's own");
                    case.note(now, "diagnosis", "other servers show the same".to_owned());
                }
                case
            }
            None => None,
        };
        let case = case.map_or_else(
            || {
                let detection = detection.map_or_else(
                    || Detection {
                        by: Detector::FailureRatio,
                        onset: cause.onset,
                        text: cause.evidence.join("; "),
                    },
                    |(_, detection)| Detection {
                        onset: detection.onset.min(cause.onset),
                        ..detection.clone()
                    },
                );
                let id = self.shared.next_id(detection.onset.min(now));
                let name = service.spec.name.clone();
                let mut case =
                    Case::new(id, name, String::new(), &detection, now, self.shared.epoch);
                case.totals = service.traffic.at(case.onset);
                case
            },
            |case| *case,
        );
        let mut common = Common {
            case,
            ends: Window::new(WINDOW),
            succeeded: 0,
            well_since: None,
            last_failure: now,
            failing: Vec::new(),
            returns: 0,
            examined: Vec::new(),
            look_at: now + LOOK_EVERY,
            cause,
        };
        common.case.phase = Phase::Examining {
            order: OrderId(0),
            until: Instant::NEVER,
        };
        common.name_servers(service);
        common.diagnose(now, &self.shared);
        let id = common.case.incident.id.clone();
        service.common = Some(Box::new(common));
        self.merge(now, place, &id, out);
        self.escalate_common(now, place, out);
        self.examine_some(place, out);
    }

    /// Has a few of the servers examined that do not answer.
    fn examine_some(&mut self, place: usize, out: &mut Vec<Output>) {
        let service = &mut self.services[place];
        let Some(common) = &mut service.common else {
            return;
        };
        if service.spec.options.recover.mode == Mode::Off {
            return;
        }
        for &index in common.cause.servers.iter().take(EXAMINED) {
            self.shared.orders += 1;
            let id = OrderId(self.shared.orders);
            common.examined.push((id, index));
            out.push(Output::Examine {
                id,
                server: service.servers[index].id,
                timeout: service.spec.options.diagnose_timeout,
            });
        }
    }

    /// What an examination found out about a server of the service's incident.
    pub(super) fn examined_for_common(
        &mut self,
        now: Instant,
        id: OrderId,
        examination: &Examination,
        out: &mut Vec<Output>,
    ) {
        for place in 0..self.services.len() {
            let service = &mut self.services[place];
            let Some(common) = &mut service.common else {
                continue;
            };
            let Some(found) = common.examined.iter().position(|(one, _)| *one == id) else {
                continue;
            };
            let (_, index) = common.examined.swap_remove(found);
            if !examination.is_stopped() {
                return;
            }
            let server = service.servers[index].id;
            let name = &service.servers[index].name;
            let text = format!("the process of {name} is stopped (state T): that is its own fault");
            common.case.note(now, "diagnosis", text.clone());
            common.cause.servers.retain(|one| *one != index);
            common.case.incident.servers.retain(|one| one != name);
            let onset = common.case.onset;
            let is_empty = common.cause.servers.is_empty();
            let detection = Detection {
                by: Detector::Probe,
                onset,
                text,
            };
            self.with(now, server, out, |work| {
                work.found_stopped(&detection, examination);
            });
            if is_empty {
                self.close_common(now, place, None, End::Split, out);
            }
            return;
        }
    }

    /// Incidents of single servers that the common cause explains end in it, and their servers return to rotation.
    fn merge(&mut self, now: Instant, place: usize, into: &str, out: &mut Vec<Output>) {
        let servers = self.services[place]
            .common
            .as_ref()
            .map_or_else(Vec::new, |common| common.cause.servers.clone());
        for index in 0..self.services[place].servers.len() {
            let server = &self.services[place].servers[index];
            let (id, is_alive) = (server.id, server.facts.process.down.is_none());
            let merges = servers.contains(&index) && server.may_merge();
            let lost_its_case = server.case.is_none()
                && server.routine.is_none()
                && matches!(
                    server.shown,
                    Shown::Ejected(Verdict::Suspected) | Shown::Trial
                );
            if !is_alive || !(merges || lost_its_case) {
                continue;
            }
            self.with(now, id, out, |work| {
                if work.server.case.is_some() {
                    work.merged(into);
                }
                work.server.restore(false, work.out);
                work.server.set_pace(Pace::Fast, work.out);
            });
        }
    }

    fn escalate_common(&mut self, now: Instant, place: usize, out: &mut Vec<Output>) {
        let service = &mut self.services[place];
        let mode = service.spec.options.recover.mode;
        let Some(common) = &mut service.common else {
            return;
        };
        let case = &mut common.case;
        if mode != Mode::Off && !case.escalated {
            case.escalated = true;
            let why = "servers are not ejected or restarted for a cause that they share";
            case.action(
                now,
                &Action::Escalate,
                ActionOutcome::Done,
                Some(why.to_owned()),
            );
            case.note(now, "escalation", format!("a person is needed: {why}"));
            case.set_status(Status::Escalated);
        }
        self.record_common(place, out);
    }

    /// The incident of the service goes on, changes its diagnosis, or is over.
    fn look_again(
        &mut self,
        now: Instant,
        place: usize,
        cause: Option<CommonCause>,
        out: &mut Vec<Output>,
    ) {
        let service = &mut self.services[place];
        let traffic = service.traffic.clone();
        let objective = service.spec.options.objective;
        let Some(common) = &mut service.common else {
            return;
        };
        common.look_at = now + LOOK_EVERY;
        if now >= common.case.impact_at {
            common.case.impact_at = now + IMPACT_EVERY;
            let impact = traffic.impact(common.case.totals, now, objective.as_ref());
            common.case.changed |= impact != common.case.incident.impact;
            common.case.incident.impact = impact;
        }
        let still_there = cause.is_some();
        if let Some(cause) = cause {
            let changes = common.is_overruled_by(&cause, now);
            let grew = cause
                .servers
                .iter()
                .any(|at| !common.cause.servers.contains(at));
            if changes || grew && cause.kind == common.cause.kind {
                let mut servers = common.cause.servers.clone();
                servers.extend(
                    cause
                        .servers
                        .iter()
                        .filter(|at| !servers.contains(at))
                        .copied()
                        .collect::<Vec<_>>(),
                );
                common.cause = CommonCause { servers, ..cause };
                let mut common = service.common.take().expect("it is there");
                common.name_servers(service);
                if changes {
                    common.diagnose(now, &self.shared);
                }
                let id = common.case.incident.id.clone();
                service.common = Some(common);
                self.merge(now, place, &id, out);
            }
        }
        let over = self.services[place]
            .common
            .as_mut()
            .and_then(|common| common.is_over(now, still_there));
        if let Some(is_proven) = over {
            self.close_common(now, place, Some(is_proven), End::Recovered, out);
        }
        self.record_common(place, out);
    }

    /// Writes the report and lets go of the service's incident.
    pub(super) fn close_common(
        &mut self,
        now: Instant,
        place: usize,
        is_proven: Option<bool>,
        end: End,
        out: &mut Vec<Output>,
    ) {
        let service = &mut self.services[place];
        let Some(common) = service.common.take() else {
            return;
        };
        let Common {
            mut case,
            succeeded,
            well_since,
            ..
        } = *common;
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
            case.recovered(well_since.unwrap_or(now));
        }
        case.incident.end = Some(end);
        case.incident.impact =
            service
                .traffic
                .impact(case.totals, now, service.spec.options.objective.as_ref());
        let report = analysis(&case.incident, self.shared.recent.iter());
        case.note(now, "analysis", report.summary.clone());
        case.incident.analysis = Some(report);
        let closed = case.closed(now, now, end);
        self.shared.recent.push(Similar {
            id: case.incident.id.clone(),
            service: case.incident.service.clone(),
            fault: case.kind,
            closed,
        });
        service.routes.forget();
        let ids: Vec<ServerId> = service.servers.iter().map(|server| server.id).collect();
        for id in ids {
            self.with(now, id, out, |work| {
                if work.server.is_quiet() && work.server.facts.process.down.is_none() {
                    work.server.facts.forget(now);
                    work.server.set_pace(Pace::Normal, work.out);
                }
            });
        }
        self.shared.record(Box::new(case.incident), out);
    }

    fn record_common(&mut self, place: usize, out: &mut Vec<Output>) {
        let Some(common) = &mut self.services[place].common else {
            return;
        };
        if std::mem::take(&mut common.case.changed) {
            let incident = Box::new(common.case.incident.clone());
            self.shared.record(incident, out);
        }
    }
}

impl Common {
    fn joins(&mut self, now: Instant, index: u32, name: String, detection: &Detection) {
        if !self.case.incident.servers.contains(&name) {
            self.case
                .note(now, "detection", format!("{name} also: {}", detection.text));
            self.case.incident.servers.push(name);
            self.cause.servers.push(index as usize);
        }
    }

    /// Whether a later look tells more: soon after the first, or if what was only the probes' is the requests' by now.
    fn is_overruled_by(&self, cause: &CommonCause, now: Instant) -> bool {
        cause.kind != self.cause.kind
            && (now.since(self.case.detected) < SETTLED || self.cause.kind == FaultKind::BadProbe)
    }

    fn name_servers(&mut self, service: &Service) {
        let names = self.cause.servers.iter().filter_map(|&at| {
            let server = service.servers.get(at)?;
            Some(server.name.clone())
        });
        self.case.incident.servers = names.collect();
        self.case.changed = true;
    }

    fn diagnose(&mut self, now: Instant, shared: &Shared) {
        let mut evidence = self.cause.evidence.clone();
        if let Some(failing) = &self.cause.failing {
            let named = failing.shapes.iter().take(3);
            let names: Vec<String> = named
                .map(|shape| shared.names.of(*shape, failing.is_method))
                .collect();
            evidence.insert(0, format!("what fails is {}", names.join(", ")));
        }
        if let Some(first) = self.case.incident.servers.first()
            && self.cause.failing.is_none()
        {
            evidence.push(format!("{first} showed it first"));
        }
        self.case.kind = self.cause.kind;
        self.case.incident.diagnosis = vec![Finding {
            fault: self.cause.kind,
            confidence: self.cause.confidence,
            evidence,
        }];
        self.case.diagnosed(now);
    }
}
