//! A foreign process listens on the server's port: it answers in place of the server, which cannot bind the port.

use evenkeel_core::ProbeOutcome;

use crate::detect::exit_in_words;
use crate::diagnose::Evidence;
use crate::diagnose::evidence::finding;
use crate::incident::Finding;
use crate::kind::FaultKind;

pub(super) fn judge(evidence: &Evidence<'_>) -> Option<Finding> {
    if let Some(ended) = evidence.ended() {
        // One that was ready had the port.
        let holder = ended.exit.port_holder.as_deref();
        let holder = holder.filter(|_| ended.ready_for.is_none())?;
        let words = vec![
            format!("{holder} listens at its address"),
            format!("exit status: {}", exit_in_words(&ended.exit)),
        ];
        return finding(FaultKind::PortTaken, 0.97, words);
    }
    let seen = match evidence.tcp() {
        Some((outcome, _)) => outcome == ProbeOutcome::PortTaken,
        None => evidence.facts.probes.last == Some(ProbeOutcome::PortTaken),
    };
    if evidence.is_down() || !seen {
        return None;
    }
    let holder = evidence
        .process()
        .and_then(|process| process.port_holder.as_deref());
    let mut words = vec![format!(
        "{} listens at its address, and does not belong to the server",
        holder.unwrap_or("another process")
    )];
    words.extend(evidence.examined());
    finding(FaultKind::PortTaken, 0.97, words)
}
