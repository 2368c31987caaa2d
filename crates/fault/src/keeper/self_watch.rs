//! State of the self-check, and the correction of observations made while evenkeel itself was impaired.

use std::time::Duration;

use evenkeel_core::{Instant, Observation, ProbeOutcome};

use crate::analyze::ServiceTraffic;
use crate::incident::Finding;
use crate::self_check::{SelfCheck, Trouble};

use super::case::Case;

/// It must have been over for so long.
const QUIET: Duration = Duration::from_secs(10);
/// Anything that lasts longer than this is escalated.
const LONG: Duration = Duration::from_secs(30);

/// The self-check and its incident.
#[derive(Debug, Default)]
pub(super) struct SelfWatch {
    pub(super) check: SelfCheck,
    /// Of all services together.
    pub(super) traffic: ServiceTraffic,
    pub(super) open: Option<Box<SelfIncident>>,
    /// When it is evaluated; never if absent.
    pub(super) recheck_at: Option<Instant>,
}

/// An open incident of evenkeel itself.
#[derive(Debug)]
pub(super) struct SelfIncident {
    pub(super) case: Case,
    /// All that was found since it began, the first one first.
    pub(super) troubles: Vec<Trouble>,
    pub(super) over_since: Option<Instant>,
}

impl SelfWatch {
    pub(super) fn wake(&self) -> Instant {
        self.recheck_at.unwrap_or(Instant::NEVER)
    }

    /// An observation, corrected for shortages of evenkeel itself.
    pub(super) fn corrected(&mut self, at: Instant, observation: Observation) -> Observation {
        if let Observation::Probe {
            outcome: ProbeOutcome::LocalError,
            ..
        } = observation
        {
            self.check.unsent_probe(at);
            self.recheck_at.get_or_insert(at);
        }
        self.check.corrected(at, observation)
    }
}

impl SelfIncident {
    /// Takes in what is wrong now.
    pub(super) fn update(&mut self, now: Instant, troubles: Vec<Trouble>) {
        if troubles.is_empty() {
            self.over_since.get_or_insert(now);
            return;
        }
        self.over_since = None;
        let mut has_changed = false;
        for trouble in troubles {
            match self
                .troubles
                .iter_mut()
                .find(|one| one.cause == trouble.cause)
            {
                // Its numbers grow: the record has those reported last.
                Some(known) => {
                    has_changed |= known.evidence != trouble.evidence;
                    known.evidence = trouble.evidence;
                }
                None => {
                    has_changed = true;
                    let text = format!("evenkeel itself: {}", trouble.evidence);
                    self.case.note(now, "signal", text);
                    self.troubles.push(trouble);
                }
            }
        }
        if has_changed {
            self.case.incident.diagnosis = self.troubles.iter().map(finding).collect();
            self.case.changed = true;
        }
        let lasts = self.troubles.iter().any(|trouble| trouble.cause.lasts());
        if lasts && now.since(self.case.detected) >= LONG {
            let why = "evenkeel itself lacks resources; no server is to blame";
            self.case.escalate(now, why);
        }
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.over_since
            .is_some_and(|since| now.since(since) >= QUIET)
    }
}

pub(super) fn finding(trouble: &Trouble) -> Finding {
    Finding {
        fault: trouble.cause.kind(),
        confidence: 0.95,
        evidence: vec![trouble.evidence.clone()],
    }
}
