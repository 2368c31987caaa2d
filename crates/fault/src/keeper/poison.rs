//! Requests that crash servers: correlates observed requests with process exits, quarantines the culprit, and describes
//! it in one incident of the service.
//!
//! The servers are repaired under their own incidents, which name the request and that incident. It closes when all of
//! them serve again and none has exited for a while; the quarantine lasts longer.

use std::time::Duration;

use evenkeel_core::{
    Exit, Exposure, ExposureEvent, Instant, Observation, ProbeOutcome, ServerId, ServiceId,
};

use crate::contract::{Managed, Output};
use crate::detect::{Detection, Detector};
use crate::incident::{CloseReason, Finding, IncidentStatus, RepairedBy, VerificationRecord};
use crate::kind::FaultKind;
use crate::maintenance::stamp;
use crate::poison::{BrokenAttempt, Conviction, Quarantined, SuspectLevel};
use crate::policy::Mode;
use crate::verify::UNPROVEN;

use super::Keeper;
use super::case::Case;
use super::poison_watch::PoisonCase;
use super::server::WatchedServer;

/// Between two looks while the incident is open.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A quarantine has held when no process has ended with such a request for so long.
const HELD: Duration = Duration::from_secs(10);

impl WatchedServer {
    /// Its process has exited unexpectedly: whether that counts, and whether the process did it by itself.
    fn ended_by_itself(&self, exit: &Exit) -> Option<bool> {
        // Hangup, interrupt, quit, kill, terminate: sent from outside, including the exit statuses by which shells
        // report them.
        let is_from_outside = |signal: i32| matches!(signal, 1 | 2 | 3 | 9 | 15);
        let signal = exit.signal.or(exit.code.map(|code| code - 128));
        let counts = !exit.asked && exit.guardian.is_none() && self.held.is_none();
        counts.then(|| !signal.is_some_and(is_from_outside))
    }
}

impl Keeper {
    /// Something was observed of a request.
    pub(super) fn exposed(&mut self, now: Instant, exposure: Exposure) {
        let server = exposure.server;
        let Some(service) = self.services.get_mut(server.service.0 as usize) else {
            return;
        };
        let (at, index, shape) = (exposure.at.min(now), server.index, exposure.shape);
        let judge = &mut service.poison.judge;
        match exposure.what {
            ExposureEvent::Began => judge.began(at, index, shape),
            ExposureEvent::Survived => judge.survived(at, index, shape),
            ExposureEvent::Unsent => judge.unsent(index, shape),
            ExposureEvent::Broke { age, route, text } => {
                judge.note_routes(&service.routes.tallies(now));
                judge.broke(BrokenAttempt {
                    at,
                    server: index,
                    shape,
                    age,
                    text,
                    route,
                });
            }
        }
    }

    /// Correlates the requests in flight with a process exit.
    pub(super) fn note_end(&mut self, at: Instant, id: ServerId, observation: &Observation) {
        let service = self.services.get_mut(id.service.0 as usize);
        let Some(service) = service else { return };
        let Some(server) = service.servers.get(id.index as usize) else {
            return;
        };
        let judge = &mut service.poison.judge;
        match observation {
            Observation::Exited(exit) => {
                if let Some(by_itself) = server.ended_by_itself(exit) {
                    judge.ended(at, id.index, by_itself);
                }
            }
            // Of a child the end is reported.
            Observation::Probe {
                outcome: ProbeOutcome::Refused,
                ..
            } if server.managed != Managed::Child => judge.refused(at, id.index),
            Observation::Probe { .. }
            | Observation::Attempt { .. }
            | Observation::Started { .. }
            | Observation::StartFailed(_)
            | Observation::Moved(_) => {}
        }
    }

    /// Judges what was observed in this step, and does what is due.
    pub(super) fn judge_poison(&mut self, now: Instant, out: &mut Vec<Output>) {
        for slot in 0..self.services.len() {
            let watch = &mut self.services[slot].poison;
            if watch.judge.wake().is_some_and(|at| now >= at) {
                watch.judge.tick(now);
            }
            while let Some(conviction) = self.services[slot].poison.judge.convict(now) {
                self.convicted(now, slot, &conviction, out);
            }
            if self.services[slot].poison.judge.take_doubt() {
                self.doubted(now, slot, out);
            }
            for (server, at) in self.services[slot].poison.judge.take_further_victims() {
                self.further(now, slot, (server, at), out);
            }
            let service = &mut self.services[slot];
            let mode = service.spec.options.recover.mode;
            if let Some(orders) = service.poison.orders(now, service.spec.id, mode) {
                out.push(Output::Shapes(Box::new(orders)));
            }
            self.judge_poison_requests(now, slot, out);
        }
    }

    /// The quarantined requests of this service.
    pub fn quarantined(&self, service: ServiceId) -> impl Iterator<Item = Quarantined> {
        let service = self.services.get(service.0 as usize);
        service
            .into_iter()
            .flat_map(|service| service.poison.judge.quarantined())
    }

    /// The place of the service whose incident of a request this is.
    pub(super) fn poison_of(&self, id: &str) -> Option<usize> {
        self.services.iter().position(|service| {
            let open = service.poison.open.as_ref();
            open.is_some_and(|open| open.case.incident.id == id)
        })
    }

    fn convicted(
        &mut self,
        now: Instant,
        slot: usize,
        conviction: &Conviction,
        out: &mut Vec<Output>,
    ) {
        let service = &mut self.services[slot];
        let name = |&index: &u32| {
            service
                .servers
                .get(index as usize)
                .map(|one| one.name.clone())
        };
        let names: Vec<String> = conviction.servers.iter().filter_map(name).collect();
        let finding = finding(conviction, &names);
        let text = finding.evidence[0].clone();
        let mut open = service.poison.open.take().unwrap_or_else(|| {
            let detection = Detection {
                by: Detector::Supervisor,
                onset: conviction.since,
                text: text.clone(),
            };
            let id = self.shared.next_id(conviction.since.min(now));
            let (of, epoch) = (service.spec.name.clone(), self.shared.epoch);
            let mut case = Case::new(id, of, String::new(), &detection, now, epoch);
            case.incident.servers.clear();
            case.totals = service.traffic.at(case.onset);
            Box::new(PoisonCase {
                case,
                servers: Vec::new(),
                finding: finding.clone(),
                last_end: now,
                back_since: None,
                recheck_at: now,
            })
        });
        let case = &mut open.case;
        case.kind = FaultKind::PoisonRequest;
        if case.diagnosed.is_some() {
            case.note(now, "detection", text);
        }
        case.incident.diagnosis.insert(0, finding.clone());
        case.incident.diagnosis.truncate(FINDINGS);
        case.diagnosed(now);
        for name in names {
            if !case.incident.servers.contains(&name) {
                case.incident.servers.push(name);
            }
        }
        if service.spec.options.recover.mode != Mode::Off {
            let until = stamp(self.shared.epoch, conviction.until);
            let what = conviction.words();
            case.quarantined(now, format!("{what} is answered with 503 until {until}"));
            case.set_status(IncidentStatus::Verifying);
        }
        for released in &conviction.released {
            let text = format!("{} is no longer suspected", released.path);
            case.note(now, "action", text);
        }
        (open.last_end, open.back_since, open.recheck_at) = (now, None, now + LOOK_EVERY);
        open.finding = finding;
        service.poison.open = Some(open);
        for &server in &conviction.servers {
            self.report_victim(now, slot, server, out);
        }
    }

    /// One more process has exited with a request that had been in flight since before its quarantine.
    fn further(
        &mut self,
        now: Instant,
        slot: usize,
        (server, at): (u32, Instant),
        out: &mut Vec<Output>,
    ) {
        let service = &mut self.services[slot];
        let name = service
            .servers
            .get(server as usize)
            .map(|one| one.name.clone());
        let (Some(open), Some(name)) = (&mut service.poison.open, name) else {
            return;
        };
        let text = format!("{name} has exited, too: the request was already in flight there");
        open.case.note(now, "signal", text);
        if !open.case.incident.servers.contains(&name) {
            open.case.incident.servers.push(name);
        }
        open.last_end = open.last_end.max(at);
        open.back_since = None;
        self.report_victim(now, slot, server, out);
    }

    /// The quarantine has ended since it is not sure: the servers' own incidents go on without it.
    fn doubted(&mut self, now: Instant, slot: usize, out: &mut Vec<Output>) {
        let service = &mut self.services[slot];
        let Some(open) = &mut service.poison.open else {
            return;
        };
        let text = "another process exited without it: it is doubtful, and no longer in quarantine";
        open.case.note(now, "diagnosis", text.to_owned());
        let victims = open.servers.clone();
        let service = service.spec.id;
        self.close_poison(now, slot, None, CloseReason::Split, out);
        for index in victims {
            self.with(now, ServerId { service, index }, out, |work| {
                if let Some(case) = work.case() {
                    case.not_poisoned();
                }
            });
        }
    }

    /// The server's own incident names the request, and the service's incident.
    fn report_victim(&mut self, now: Instant, slot: usize, server: u32, out: &mut Vec<Output>) {
        let service = &mut self.services[slot];
        let Some(open) = &mut service.poison.open else {
            return;
        };
        if !open.servers.contains(&server) {
            open.servers.push(server);
        }
        let (finding, into) = (open.finding.clone(), open.case.incident.id.clone());
        let id = ServerId {
            service: service.spec.id,
            index: server,
        };
        self.with(now, id, out, |work| {
            let is_down = work.server.facts.process.down.is_some();
            if let Some(case) = work.case().filter(|_| is_down) {
                case.poisoned(now, finding, &into);
            }
        });
    }

    /// The incident goes on, or is over.
    fn judge_poison_requests(&mut self, now: Instant, slot: usize, out: &mut Vec<Output>) {
        let service = &mut self.services[slot];
        let Some(open) = &mut service.poison.open else {
            return;
        };
        if now >= open.recheck_at {
            open.recheck_at = now + LOOK_EVERY;
            let objective = service.spec.options.objective.as_ref();
            open.case.keep_impact_up(now, &service.traffic, objective);
            let is_back = |&index: &u32| {
                let server = service.servers.get(index as usize);
                server.is_none_or(|one| one.vacant.is_some() || one.held.is_some() || one.is_well())
            };
            let all_back = open.servers.iter().all(is_back);
            open.back_since = all_back.then(|| open.back_since.unwrap_or(now));
            let quiet = now.since(open.last_end);
            if all_back && quiet >= HELD || quiet >= UNPROVEN {
                self.close_poison(now, slot, Some(all_back), CloseReason::Recovered, out);
                return;
            }
        }
        if std::mem::take(&mut open.case.changed) {
            let incident = Box::new(open.case.incident.clone());
            self.shared.record(incident, out);
        }
    }

    /// Writes the report and lets go of the incident. What is in quarantine stays there.
    pub(super) fn close_poison(
        &mut self,
        now: Instant,
        slot: usize,
        is_proven: Option<bool>,
        end: CloseReason,
        out: &mut Vec<Output>,
    ) {
        let service = &mut self.services[slot];
        let Some(open) = service.poison.open.take() else {
            return;
        };
        let mut case = open.case;
        if let Some(is_proven) = is_proven {
            let outcome = if is_proven { "passed" } else { "not-proven" };
            let is_off = service.spec.options.recover.mode == Mode::Off;
            case.incident.verification = Some(VerificationRecord {
                outcome: outcome.to_owned(),
                repaired_by: (!is_off).then_some(RepairedBy::Evenkeel),
                probes: 0,
                requests: 0,
            });
            let text = if is_proven {
                "passed: all servers that it crashed serve again, and none has exited since"
            } else {
                "not proven: not all servers that it crashed have come back"
            };
            case.note(now, "verification", text.to_owned());
            case.recovered(open.back_since.unwrap_or(now));
        }
        let objective = service.spec.options.objective.as_ref();
        let impact = service.traffic.impact(case.totals, now, objective);
        self.shared.report(now, case, (end, impact), out);
    }
}

/// So many requests are named in one incident.
const FINDINGS: usize = 8;

impl Conviction {
    /// The request in words.
    fn words(&self) -> String {
        match self.level {
            SuspectLevel::Path => self.text.path.clone(),
            SuspectLevel::Target => format!("{} with one certain query", self.text.path),
        }
    }
}

fn finding(conviction: &Conviction, servers: &[String]) -> Finding {
    let mut evidence = vec![format!(
        "{} was in flight when {} processes exited by themselves: {}",
        conviction.words(),
        conviction.ends,
        servers.join(", ")
    )];
    if conviction.again {
        evidence[0] = format!(
            "{} crashed {} again after its quarantine",
            conviction.words(),
            servers.join(", ")
        );
    }
    evidence.push("no server has survived it since the first of them".to_owned());
    Finding {
        fault: FaultKind::PoisonRequest,
        confidence: if conviction.ends > 2 { 0.95 } else { 0.9 },
        evidence,
    }
}
