//! Faults of evenkeel itself: an incident of its own, and no evidence against a server.
//!
//! Nothing is done about it. It closes by itself once it has been over for a while.

use std::time::Duration;

use evenkeel_core::{Epoch, Instant, Outcome, ProbeOutcome};

use crate::contract::{OrderAnswer, OrderTicket, Output, Totals};
use crate::detect::{Detection, Detector};
use crate::incident::{CloseReason, VerificationRecord};
use crate::self_check::{SELF, SelfReading, Trouble};
use crate::verify::Verification as Verifying;

use super::Keeper;
use super::case::Case;
use super::phase::CasePhase;
use super::self_watch::{SelfIncident, finding};
use super::server::WatchedServer;

/// The backlog of a stall is served for as long as the stall took, at most this long.
const LONGEST_CATCHING_UP: Duration = Duration::from_secs(10);

/// The interval between two evaluations while there is something to evaluate.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Keeper {
    pub(super) fn self_reading(&mut self, now: Instant, reading: SelfReading) {
        let watch = &mut self.self_watch;
        watch.check.read(now, reading);
        self.shared.lacks_processor = watch.check.lacks_processor(now);
        watch.recheck_at = Some(now);
        let mut totals = Totals::default();
        for service in &self.services {
            let latest = service.traffic.latest;
            totals.requests += latest.requests;
            totals.failed += latest.failed;
            totals.saved_by_retry += latest.saved_by_retry;
        }
        watch.traffic.note(now, totals);
    }

    /// evenkeel was stalled until `until`: no server is blamed for missing answers meanwhile, and deadlines are
    /// extended.
    pub(super) fn stalled(&mut self, until: Instant, lasted: Duration) {
        if lasted < crate::self_check::STALL {
            return;
        }
        self.self_watch.check.stalled(until, lasted);
        self.self_watch.recheck_at = Some(until);
        for service in &mut self.services {
            service.catches_up_until = until + lasted.min(LONGEST_CATCHING_UP);
            for server in &mut service.servers {
                server.postpone(lasted);
            }
        }
    }

    /// The machine's calendar clock was set: open incidents say so, and what is written from now on follows it.
    pub(super) fn clock_set(&mut self, now: Instant, epoch: Epoch, by_millis: i64) {
        self.shared.epoch = epoch;
        self.self_watch.check.clock_set(now, by_millis);
        self.self_watch.recheck_at = Some(now);
        if let Some(open) = &mut self.self_watch.open {
            open.case.clock_set(now, epoch, by_millis);
        }
        for service in &mut self.services {
            for server in &mut service.servers {
                let unproven = server.unproven.as_mut().map(|one| &mut one.case);
                for case in server.case.iter_mut().chain(unproven) {
                    case.clock_set(now, epoch, by_millis);
                }
            }
            if let Some(common) = &mut service.common {
                common.case.clock_set(now, epoch, by_millis);
            }
            if let Some(open) = &mut service.poison.open {
                open.case.clock_set(now, epoch, by_millis);
            }
        }
    }

    /// Opens, keeps up and closes the incident of evenkeel itself.
    pub(super) fn judge_self(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.self_watch.recheck_at.is_none_or(|at| now < at) {
            return;
        }
        let mut check = std::mem::take(&mut self.self_watch.check);
        let troubles = check.troubles(now, || self.is_cut_off());
        let is_busy = check.is_busy(now);
        self.self_watch.check = check;
        if let Some(first) = troubles.first()
            && self.self_watch.open.is_none()
        {
            self.open_self(now, &first.clone());
        }
        let watch = &mut self.self_watch;
        if let Some(open) = &mut watch.open {
            open.update(now, troubles);
            open.case.keep_impact_up(now, &watch.traffic, None);
            if open.is_over(now) {
                self.close_self(now, CloseReason::Recovered, out);
            }
        }
        let watch = &mut self.self_watch;
        watch.recheck_at = (is_busy || watch.open.is_some()).then_some(now + LOOK_EVERY);
        if let Some(open) = &mut watch.open
            && std::mem::take(&mut open.case.changed)
        {
            let incident = Box::new(open.case.incident.clone());
            self.shared.record(incident, out);
        }
    }

    fn open_self(&mut self, now: Instant, first: &Trouble) {
        let detection = Detection {
            by: Detector::SelfCheck,
            onset: first.since,
            text: first.evidence.clone(),
        };
        let id = self.shared.next_id(first.since.min(now));
        let (service, nobody) = (SELF.to_owned(), String::new());
        let mut case = Case::new(id, service, nobody, &detection, now, self.shared.epoch);
        case.incident.servers.clear();
        case.totals = self.self_watch.traffic.at(case.onset);
        case.kind = first.cause.kind();
        case.incident.diagnosis = vec![finding(first)];
        case.diagnosed(now);
        self.self_watch.open = Some(Box::new(SelfIncident {
            case,
            troubles: vec![first.clone()],
            over_since: None,
        }));
    }

    /// Closes it: it is over, or an operator says so.
    pub(super) fn close_self(&mut self, now: Instant, end: CloseReason, out: &mut Vec<Output>) {
        let Some(open) = self.self_watch.open.take() else {
            return;
        };
        let SelfIncident {
            mut case,
            over_since,
            ..
        } = *open;
        if end == CloseReason::Recovered {
            case.incident.verification = Some(VerificationRecord {
                outcome: "passed".to_owned(),
                repaired_by: None,
                probes: 0,
                requests: 0,
            });
            case.note(now, "verification", "passed: it is over".to_owned());
            case.recovered(over_since.unwrap_or(now));
        }
        let impact = self.self_watch.traffic.impact(case.totals, now, None);
        self.shared.report(now, case, (end, impact), out);
    }

    /// An operator closes it as it is. Returns whether the id matches.
    pub(super) fn close_self_by_operator(
        &mut self,
        (now, ticket): (Instant, OrderTicket),
        id: &str,
        out: &mut Vec<Output>,
    ) -> bool {
        match &mut self.self_watch.open {
            Some(open) if open.case.incident.id == id => {
                let text = "closed by an operator".to_owned();
                open.case.note(now, "approval", text);
            }
            Some(_) | None => return false,
        }
        self.close_self(now, CloseReason::ClosedByPerson, out);
        let answer = OrderAnswer::Done(format!("incident {id} is closed"));
        out.push(Output::Answer { ticket, answer });
        true
    }

    /// Whether a server was found unreachable and none is healthy.
    fn is_cut_off(&self) -> bool {
        let mut is_tried = false;
        for server in self.services.iter().flat_map(|service| &service.servers) {
            let (attempts, probes) = (&server.facts.attempts, &server.facts.probes);
            let is_well = attempts.failed_in_row == 0 && attempts.succeeded > 0
                || probes.last.is_some_and(ProbeOutcome::passed);
            if is_well {
                return false;
            }
            is_tried |= probes.last == Some(ProbeOutcome::Unreachable)
                || attempts.last_failure() == Some(Outcome::Unreachable);
        }
        is_tried
    }
}

impl WatchedServer {
    /// evenkeel was stalled for this long: pending deadlines are extended by as much.
    fn postpone(&mut self, by: Duration) {
        if let Some(starting) = &mut self.starting {
            *starting += by;
        }
        if let Some(routine) = &mut self.routine {
            routine.verification.postpone(by);
        }
        let Some(case) = &mut self.case else {
            return;
        };
        match &mut case.phase {
            CasePhase::Judged => {}
            CasePhase::Examining { until, .. } | CasePhase::Acting { until, .. } => {
                *until += by;
            }
            CasePhase::Verifying { verification, .. } => Verifying::postpone(verification, by),
        }
    }
}
