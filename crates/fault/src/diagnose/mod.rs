//! Diagnosis: the faults that explain the observations, the most likely first, each with its evidence in words.
//!
//! Every kind is one file in `kinds/` and one line in its registry: a function from the gathered [`Evidence`] to a
//! finding or nothing. They are independent of each other; the order of their confidence decides.

mod evidence;
mod kinds;

pub use evidence::{Evidence, OutcomeCounts};

use crate::incident::Finding;

/// A finding less sure than this is left out when there is a better one.
const WORTH_TELLING: f64 = 0.3;

/// All findings that the evidence supports, the likeliest first; never empty.
#[must_use]
pub fn diagnose(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = kinds::REGISTRY
        .iter()
        .filter_map(|judge| judge(evidence))
        .collect();
    findings.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    let mut slot = 0;
    findings.retain(|finding| {
        slot += 1;
        slot == 1 || finding.confidence >= WORTH_TELLING
    });
    findings
}
