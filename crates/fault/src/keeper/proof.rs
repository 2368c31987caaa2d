//! What requests prove: whether an incident is about failed requests, about which, and how many of them have to succeed until it is over.

use evenkeel_core::{Instant, RequestShape};

use crate::detect::{Detection, Detector};
use crate::incident::IncidentStatus;
use crate::signal::covers;

use super::case::Case;

/// So many kinds of requests are told apart.
const KINDS: usize = 4;

impl Case {
    /// Whether requests were what opened the incident, so that only requests tell that it is over.
    pub(super) fn is_about_requests(&self) -> bool {
        match self.joined.first() {
            _ if self.had_ended => false,
            Some(Detector::ConsecutiveFailures | Detector::FailureRatio | Detector::Statistics) => {
                true
            }
            Some(Detector::Supervisor | Detector::Probe | Detector::SelfCheck | Detector::Load)
            | None => false,
            // If only requests are slow, probes say nothing about its speed.
            Some(Detector::Slow) => self.only_traffic_tells,
        }
    }

    /// How many requests of the kind that failed have to succeed; 0 if probes prove that it is over.
    pub(super) fn needed_proof(&self) -> u32 {
        if self.is_about_requests() {
            self.proof
        } else {
            0
        }
    }

    /// Whether it is about such requests.
    pub(super) fn is_about(&self, shape: RequestShape) -> bool {
        self.failing.is_empty() || covers(&self.failing, shape)
    }

    /// Service had returned, and it turns out that the fault was not over: begins again, in the same record.
    pub(super) fn reopened(
        mut self,
        now: Instant,
        detection: &Detection,
        (mut failing, proof): (Vec<RequestShape>, u32),
    ) -> Self {
        if let Some(verification) = &mut self.incident.verification {
            "failed".clone_into(&mut verification.outcome);
        }
        self.incident.recovered = None;
        self.incident.durations_ms.recovery = None;
        self.set_status(IncidentStatus::Open);
        let text = format!("again: {}: {}", detection.by.word(), detection.text);
        self.note(now, "detection", text);
        // What was not proven then is still to be proven.
        let mut joined = vec![detection.by];
        if self.is_about_requests() {
            joined.insert(0, self.joined[0]);
            let is_all = self.failing.is_empty() || failing.is_empty();
            self.failing.retain(|one| !covers(&failing, *one));
            failing.append(&mut self.failing);
            failing.truncate(if is_all { 0 } else { 2 * KINDS });
        }
        let nobody = String::new;
        let begun = Self::new(nobody(), nobody(), nobody(), detection, now, self.epoch);
        Self {
            incident: self.incident,
            onset: self.onset,
            diagnosed: self.diagnosed,
            totals: self.totals,
            poisoned: self.poisoned,
            latest: self.latest,
            joined,
            failing,
            proof: proof.max(self.proof),
            ..begun
        }
    }
}

/// The kinds of requests that failed: those that make up most of the failures; none if there are many.
pub(super) fn kinds_of(failed: impl Iterator<Item = RequestShape>) -> Vec<RequestShape> {
    let mut counts: Vec<(RequestShape, usize)> = Vec::new();
    for shape in failed {
        match counts.iter_mut().find(|(one, _)| one.route == shape.route) {
            Some((_, count)) => *count += 1,
            None => counts.push((shape, 1)),
        }
    }
    let sum = |counts: &[(RequestShape, usize)]| -> usize { counts.iter().map(|one| one.1).sum() };
    let all = sum(&counts);
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.truncate(KINDS);
    let is_known = counts.iter().all(|(shape, _)| shape.is_known());
    if is_known && sum(&counts) * 4 >= all * 3 {
        counts.into_iter().map(|(shape, _)| shape).collect()
    } else {
        Vec::new()
    }
}
