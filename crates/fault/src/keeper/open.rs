//! Opens a case for a detection, or adds the detection to the open one.

use std::time::Duration;

use crate::common_cause::{JudgedServer, Symptom};
use crate::contract::{Examination, OrderAnswer};
use crate::detect::{self, Comparison, Detection, Detector, SlowLimits};
use crate::incident::ActionOutcome;
use crate::policy::Action;
use crate::verify;

use super::ServerContext;
use super::case::Case;
use super::proof::kinds_of;
use super::shown::PublishedState;
use super::transition::CaseEvent;

impl ServerContext<'_> {
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
            self.happened(CaseEvent::Detected);
        }
    }

    /// It was examined as one of several with the same symptom, and found to be stopped: that is its own fault.
    pub(super) fn found_stopped(
        &mut self,
        detection: &Detection,
        examination: &Examination,
        from: &str,
    ) {
        self.server.facts.process.stopped = true;
        if self.server.case.is_none() && !self.is_held() {
            self.open(detection);
            let now = self.now;
            if let Some(case) = self.case() {
                let text = format!("it was held for a cause that servers share: split from {from}");
                case.note(now, "detection", text);
            }
            self.diagnose(Some(examination));
        }
    }

    /// The detection is not due to a shared cause.
    pub(super) fn detected_alone(&mut self, detection: &Detection) {
        if self.server.case.is_none() && !self.is_held() {
            self.open(detection);
        }
    }

    fn open(&mut self, detection: &Detection) {
        let now = self.now;
        if self.server.routine.take().is_some() {
            let answer = OrderAnswer::Failed(detection.text.clone());
            self.server.answer(answer, self.out);
        }
        let mut case = self.begun(detection);
        let detect = &self.spec.options.detect;
        let lags = (detection.by == Detector::Slow).then_some(Symptom::Lags);
        let shown = JudgedServer::read(&self.server.facts, detect, now).symptom;
        case.symptom = shown.or(lags);
        self.server.case = Some(Box::new(case));
        if self.server.facts.process.down.is_some() {
            self.diagnose(None);
            return;
        }
        if detection.by != Detector::Slow && !self.server.facts.probe_red_traffic_green(self.now) {
            self.eject_meanwhile();
        }
        if detection.by == Detector::Probe && self.server.facts.probes.no_server_responds() {
            self.server.rescue(self.out);
        }
        self.examine();
    }

    /// A new incident; or the last one again, if that is not proven to be over.
    fn begun(&mut self, detection: &Detection) -> Case {
        let (now, facts) = (self.now, &self.server.facts);
        let failing = kinds_of(facts.attempts.shapes_since(detection.onset));
        let proof = verify::proof(detection.by, facts, now);
        if let Some(unproven) = self.server.unproven.take() {
            return unproven.case.reopened(now, detection, (failing, proof));
        }
        let id = self.shared.next_id(detection.onset.min(now));
        let (service, server) = (self.spec.name.clone(), self.server.name.clone());
        let mut case = Case::new(id, service, server, detection, now, self.shared.epoch);
        case.totals = self.traffic.at(case.onset);
        (case.failing, case.proof) = (failing, proof);
        case
    }

    /// Takes the server out while it is examined: cheap, and undone if the diagnosis disagrees. Not done at all if the
    /// guard is against it.
    fn eject_meanwhile(&mut self) {
        let keep = self.spec.options.recover.keep_serving;
        if self.is_off()
            || self.server.shown != PublishedState::Serving
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
        self.happened(CaseEvent::ProcessDown(detection.text));
    }

    /// The comparison with its peers was evaluated.
    pub(super) fn compared(&mut self, limits: SlowLimits, comparison: Option<Comparison>) {
        if self.server.case.is_some() {
            return;
        }
        self.server.slow = comparison.map(Box::new);
        self.note_fast(limits);
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
        let facts = &self.server.facts;
        if facts.process.is_cold(self.now, facts.attempts.succeeded) {
            return;
        }
        if let Some(detection) = comparison.detection(since.unwrap_or(self.now)) {
            self.detected(&detection);
        }
    }
}
