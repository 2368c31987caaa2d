//! Probes failed `fall` times in a row, or never passed since the process was started.

use std::time::Duration;

use evenkeel_core::Instant;

use crate::policy::DetectOptions;
use crate::signal::Facts;

use super::{Detection, Detector, NEAR};

/// Judges the row of failed probes.
#[must_use]
pub fn probe(facts: &Facts, options: &DetectOptions) -> Option<Detection> {
    let failed = facts.probes.failed_in_row;
    if failed < options.probe.fall.max(1) {
        return None;
    }
    let began = facts.probes.row_began;
    let onset = facts
        .attempts
        .failing_since(began, NEAR)
        .map_or(began, |since| since.min(began));
    let how = facts
        .probes
        .last
        .map_or("failed", evenkeel_core::ProbeOutcome::word);
    Some(Detection {
        by: Detector::Probe,
        onset,
        text: format!("{failed} probes failed in a row, the last: {how}"),
    })
}

/// Judges a started process that was never ready within `grace`. `began` is its start.
#[must_use]
pub fn late_start(facts: &Facts, began: Instant, grace: Duration) -> Option<Detection> {
    (facts.probes.failed_in_row > 0).then(|| Detection {
        by: Detector::Probe,
        onset: began,
        text: format!(
            "not ready {} ms after its start; the last probe: {}",
            grace.as_millis(),
            facts
                .probes
                .last
                .map_or("failed", evenkeel_core::ProbeOutcome::word)
        ),
    })
}
