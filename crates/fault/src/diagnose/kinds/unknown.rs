//! Something is wrong and nothing above explains it; or the probe itself is what is wrong. Always a finding, so that a
//! diagnosis is never empty: certain for a bad probe, else the last resort.

use crate::diagnose::{Evidence, finding};
use crate::incident::Finding;
use crate::kind::FaultKind;

pub(super) fn judge(evidence: &Evidence<'_>) -> Option<Finding> {
    let mut words = Vec::new();
    let bad_probe = evidence.facts.probe_red_traffic_green(evidence.now);
    if bad_probe {
        let (succeeded, failed) = evidence.facts.since_probes_fail();
        let answered = evidence.wrong_status();
        let answered = answered.map_or_else(String::new, |answered| format!("; {answered}"));
        words.push(format!(
            "bad probe: {} probes failed in a row, while {succeeded} attempts succeeded and {failed} failed{answered}",
            evidence.facts.probes.failed_in_row
        ));
    } else {
        words.extend(evidence.wrong_status());
    }
    words.extend(evidence.examined());
    words.extend(evidence.attempts_in_words());
    if words.is_empty() {
        words.push("no examination was possible and no attempt failed".to_owned());
    }
    finding(
        FaultKind::Unknown,
        if bad_probe { 0.93 } else { 0.1 },
        words,
    )
}
