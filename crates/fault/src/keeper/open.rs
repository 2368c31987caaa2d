//! From a detection to a diagnosis: a case is opened, the server examined, the findings ranked.

use std::time::Duration;

use evenkeel_core::Verdict;

use crate::common_cause::{ServerView, Symptom};
use crate::contract::{Examination, OrderAnswer, OrderId, Output, Pace};
use crate::detect::{self, Comparison, Detection, Detector, Limits};
use crate::diagnose::{Evidence, diagnose};
use crate::incident::{ActionOutcome, End, Status};
use crate::kind::FaultKind;
use crate::policy::{Action, ProbeKind};
use crate::recover::serves_nothing;

use super::Work;
use super::case::Case;
use super::phase::Phase;
use super::server::Shown;
use super::transition::Event;

/// An examination that is not answered so long after its time was over is given up.
const SLACK: Duration = Duration::from_millis(250);

impl Case {
    pub(super) const fn awaits_examination(&self, id: OrderId) -> bool {
        matches!(&self.phase, Phase::Examining { order, .. } if order.0 == id.0)
    }
}

impl Work<'_> {
    /// Something is wrong: opens a case, or tells the open one.
    pub(super) fn detected(&mut self, detection: &Detection) {
        if self.server.follows && self.server.routine.is_none() {
            return;
        }
        if self.is_held() || self.server.starting.is_some() && detection.by != Detector::Supervisor
        {
            return;
        }
        if self.server.routine.is_some() && detection.by != Detector::Supervisor {
            // The symptoms of a restart that was ordered: its own verification tells whether it succeeds, and when it is over.
            return;
        }
        let now = self.now;
        let Some(case) = self.server.case.as_deref_mut() else {
            if detection.by == Detector::Supervisor {
                self.open(detection);
            } else {
                self.detections
                    .push((self.server.id.index, detection.clone()));
            }
            return;
        };
        if case.join(now, detection) {
            self.happened(Event::Detected);
        }
    }

    /// It was examined as one of several with the same symptom, and found to be stopped: that is its own fault.
    pub(super) fn found_stopped(&mut self, detection: &Detection, examination: &Examination) {
        self.server.facts.process.stopped = true;
        if self.server.case.is_none() && !self.is_held() {
            self.open(detection);
            self.diagnose(Some(examination));
        }
    }

    /// What was detected is no common cause.
    pub(super) fn detected_alone(&mut self, detection: &Detection) {
        if self.server.case.is_none() && !self.is_held() {
            self.open(detection);
        }
    }

    /// The incident of this server ends in that of the service.
    pub(super) fn merged(&mut self, into: &str) {
        let now = self.now;
        if let Some(case) = self.case() {
            case.note(
                now,
                "diagnosis",
                format!("its cause is not this server's own: it goes on as {into}"),
            );
        }
        self.close(End::Merged);
    }

    fn open(&mut self, detection: &Detection) {
        let now = self.now;
        if self.server.routine.take().is_some() {
            let answer = OrderAnswer::Failed(detection.text.clone());
            self.server.answer(answer, self.out);
        }
        let id = self.shared.next_id(detection.onset.min(now));
        let (service, server) = (self.spec.name.clone(), self.server.name.clone());
        let mut case = Case::new(id, service, server, detection, now, self.shared.epoch);
        case.totals = self.traffic.at(case.onset);
        let detect = &self.spec.options.detect;
        let lags = (detection.by == Detector::Slow).then_some(Symptom::Lags);
        let shown = ServerView::read(&self.server.facts, detect, now).symptom;
        case.symptom = shown.or(lags);
        self.server.case = Some(Box::new(case));
        if self.server.facts.process.down.is_some() {
            self.diagnose(None);
            return;
        }
        if detection.by != Detector::Slow && !self.server.facts.probe_red_traffic_green(self.now) {
            self.eject_meanwhile();
        }
        if detection.by == Detector::Probe && self.server.facts.probes.nobody_answers() {
            self.server.rescue(self.out);
        }
        self.examine();
    }

    /// Takes the server out while it is examined: cheap, and undone if the diagnosis disagrees. Not done at all if the
    /// guard is against it.
    fn eject_meanwhile(&mut self) {
        let keep = self.spec.options.recover.keep_serving;
        if self.is_off()
            || self.server.shown != Shown::Serving
            || self.capacity.allows(keep).is_err()
            || self.second_check(&Action::Eject).is_err()
        {
            return;
        }
        let now = self.now;
        self.server.eject(now, self.server.suspicion(), self.out);
        if let Some(case) = self.case() {
            case.action(
                now,
                &Action::Eject,
                ActionOutcome::Done,
                Some("while it is examined".to_owned()),
            );
        }
    }

    pub(super) fn examine(&mut self) {
        let timeout = self.spec.options.diagnose_timeout;
        let (order, now) = (self.order(), self.now);
        self.server.set_pace(Pace::Fast, self.out);
        self.out.push(Output::Examine {
            id: order,
            server: self.server.id,
            timeout,
        });
        if let Some(case) = self.case() {
            case.phase = Phase::Examining {
                order,
                until: now + timeout + SLACK,
            };
        }
    }

    /// The process ended, or could not be started.
    pub(super) fn process_down(&mut self) {
        let Some(detection) = detect::exit(&self.server.facts) else {
            return;
        };
        self.server.starting = None;
        let now = self.now;
        let Some(case) = self.server.case.as_deref_mut() else {
            self.detected(&detection);
            return;
        };
        if !case.join(now, &detection) {
            case.note(now, "signal", detection.text.clone());
        }
        self.happened(Event::ProcessDown(detection.text));
    }

    /// Ranks what explains the signals, and goes on to recovery.
    pub(super) fn diagnose(&mut self, examination: Option<&Examination>) {
        let before = self.case().and_then(|case| case.again.take());
        self.judge(examination);
        if before.is_some() && before == self.case().map(|case| case.kind) {
            // It is what it was, and what can be done for that is done.
            self.watch(None);
            return;
        }
        let bad_probe = self
            .server
            .case
            .as_ref()
            .is_some_and(|case| case.kind == FaultKind::BadProbe);
        let is_down = self.server.facts.process.down.is_some();
        // What was out for the examination only goes back if the diagnosis clears the server.
        let cleared = bad_probe || self.fault_passed(examination);
        if cleared && self.server.shown.is_suspicion() {
            self.server.restore(false, self.out);
        }
        if is_down && !self.is_off() {
            self.server.eject(self.now, Verdict::Known, self.out);
        } else if self.server.shown.is_suspicion() {
            // By now it may be known that it answers nothing.
            let verdict = self.server.suspicion();
            self.server.eject(self.now, verdict, self.out);
        }
        self.begin_playbook(self.fault_passed(examination));
        self.rescue_if_dead_or_hung();
    }

    /// What waits on a server that answers nothing is tried elsewhere. One that only errs or is slow may still answer.
    fn rescue_if_dead_or_hung(&mut self) {
        let kind = self.server.case.as_ref().map(|case| case.kind);
        if kind.is_some_and(serves_nothing) {
            self.server.rescue(self.out);
        }
    }

    /// Writes the diagnosis into the case.
    pub(super) fn judge(&mut self, examination: Option<&Examination>) {
        let now = self.now;
        let case = self.server.case.as_deref();
        let servers = case.map_or(&[][..], |case| &case.incident.servers);
        let findings = diagnose(&Evidence {
            followers: servers.get(1..).unwrap_or_default(),
            now,
            facts: &self.server.facts,
            options: &self.spec.options.detect,
            managed: self.server.managed,
            examination,
            slow: self.server.slow.as_deref(),
        });
        let slow_limit = self.server.slow.as_ref().map(|slow| slow.limit);
        self.server.facts.process.stopped |= examination.is_some_and(Examination::is_stopped);
        let probes_pass = self.server.facts.probes.failed_in_row == 0;
        let probes_connect_only = self.spec.options.detect.probe.kind == ProbeKind::Tcp;
        let Some(case) = self.server.case.as_deref_mut() else {
            return;
        };
        case.kind = findings
            .first()
            .map_or(FaultKind::Unknown, |finding| finding.fault);
        case.incident.diagnosis = findings;
        case.name_poison();
        case.slow_limit = slow_limit.filter(|_| case.kind == FaultKind::SlowServer);
        let process = examination.and_then(|examination| examination.process.as_ref());
        case.listens_elsewhere = process.is_some_and(|process| !process.listens_at.is_empty());
        // The kernel takes connections for a process that hangs.
        let hangs_unseen = case.kind == FaultKind::ProcessHung && probes_connect_only;
        case.only_traffic_tells = hangs_unseen
            || probes_pass && matches!(case.kind, FaultKind::SlowServer | FaultKind::ErrorBurst);
        case.diagnosed(now);
    }

    fn fault_passed(&self, examination: Option<&Examination>) -> bool {
        let kind = self.server.case.as_ref().map(|case| case.kind);
        let passes = |examination: &Examination| {
            let outcomes = [examination.tcp, examination.http];
            outcomes
                .iter()
                .flatten()
                .all(|(outcome, _)| outcome.passed())
                && outcomes.iter().any(Option::is_some)
        };
        kind == Some(FaultKind::Unknown) && examination.is_some_and(passes)
    }

    /// How it compares with its peers was looked at.
    pub(super) fn compared(&mut self, limits: Limits, comparison: Option<Comparison>) {
        if self.server.case.is_some() {
            return;
        }
        self.server.slow = comparison.map(Box::new);
        self.note_fast(comparison.is_some());
        let mut since = None;
        if let Some(latencies) = &mut self.server.facts.latencies {
            let limit = |limits: Option<(Duration, Duration)>| {
                limits.map_or(Duration::MAX, |(_, limit)| limit)
            };
            latencies.slow_attempts.limit = limit(limits.attempts);
            latencies.slow_probes.limit = limit(limits.probes);
            let by_probes = comparison.is_some_and(|comparison| comparison.by_probes);
            since = if by_probes {
                latencies.slow_probes.since
            } else {
                latencies.slow_attempts.since
            };
        }
        let Some(comparison) = comparison else {
            return;
        };
        self.doubt();
        if let Some(detection) = comparison.detection(since.unwrap_or(self.now)) {
            self.detected(&detection);
        }
    }

    pub(super) fn set_status(&mut self, status: Status) {
        if let Some(case) = self.case() {
            // A question that a person can answer goes before the word that one is needed.
            let is_last = matches!(status, Status::Closed | Status::AwaitingApproval);
            let status = if case.escalated && !is_last {
                Status::Escalated
            } else {
                status
            };
            case.set_status(status);
        }
    }
}
