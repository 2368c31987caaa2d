//! Probes get unexpected answers while requests succeed: the probe is wrong, not the server.

use crate::diagnose::Evidence;
use crate::diagnose::evidence::finding;
use crate::incident::Finding;
use crate::kind::FaultKind;

pub(super) fn judge(evidence: &Evidence<'_>) -> Option<Finding> {
    if !evidence.facts.probe_red_traffic_green(evidence.now) || evidence.connects() == Some(false) {
        return None;
    }
    let (succeeded, failed) = evidence.facts.since_probes_fail();
    let answered = evidence.wrong_status();
    let answered = answered.map_or_else(String::new, |answered| format!("; {answered}"));
    let mut words = vec![format!(
        "{} probes failed in a row, while {succeeded} attempts succeeded and {failed} failed{answered}",
        evidence.facts.probes.failed_in_row
    )];
    words.extend(evidence.examined());
    words.extend(evidence.attempts_in_words());
    finding(FaultKind::BadProbe, 0.93, words)
}
