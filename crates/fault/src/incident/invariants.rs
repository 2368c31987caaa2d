//! Invariants of every incident record, checked before a record is written.
//!
//! A reader of a record cannot ask what was meant, so a record that contradicts itself is a bug: tests fail on it, and
//! in production the record is repaired as far as possible, and the contradiction is counted.

use super::{ActionOutcome, Incident, IncidentStatus};

/// Contradictions in the record, in words; empty if it is consistent.
#[must_use]
pub fn violations(incident: &Incident) -> Vec<String> {
    let mut found = Vec::new();
    let closed = incident.status == IncidentStatus::Closed;
    if closed != incident.closed.is_some() {
        found.push("the status and the time of closing contradict each other".to_owned());
    }
    for action in &incident.actions {
        if action.outcome.is_some() != action.ended.is_some() {
            found.push(format!(
                "{} has an outcome or an end, not both",
                action.action
            ));
        }
        if closed && action.outcome.is_none() {
            found.push(format!(
                "{} is in progress in a closed incident",
                action.action
            ));
        }
    }
    if let Some(slot) = out_of_order(incident) {
        found.push(format!(
            "entry {slot} of the timeline is earlier than the one before"
        ));
    }
    let durations = &incident.durations_ms;
    for (name, value, is_known) in [
        (
            "detection",
            durations.detection,
            incident.detected.is_some(),
        ),
        (
            "diagnosis",
            durations.diagnosis,
            incident.diagnosed.is_some(),
        ),
        ("recovery", durations.recovery, incident.recovered.is_some()),
        ("analysis", durations.analysis, incident.closed.is_some()),
    ] {
        if value.is_some_and(|value| !is_known || value < 0.0 || value.is_nan()) {
            found.push(format!("the duration of {name} does not fit its time"));
        }
    }
    let impact = &incident.impact;
    if impact.failed.max(impact.saved_by_retry) > impact.requests {
        found.push("more requests failed or were saved than came".to_owned());
    }
    let held = incident
        .verification
        .as_ref()
        .map(|verification| verification.outcome.as_str());
    if matches!(held, Some("passed" | "not-proven")) != incident.recovered.is_some() {
        found.push("the verification and the time of recovery contradict each other".to_owned());
    }
    found
}

/// Makes the record consistent; says what was wrong. Tests and debug builds stop there.
pub fn uphold(incident: &mut Incident) -> Vec<String> {
    let found = violations(incident);
    debug_assert!(found.is_empty(), "{found:?}: {incident:#?}");
    if !found.is_empty() {
        correct(incident);
    }
    found
}

/// Takes out what contradicts the rest. Nothing is invented: what is not known is absent afterwards.
pub fn correct(incident: &mut Incident) {
    let last = incident.timeline.last().map(|entry| entry.at.clone());
    if incident.status == IncidentStatus::Closed && incident.closed.is_none() {
        incident.closed = last.or_else(|| Some(incident.onset.clone()));
    }
    if incident.status != IncidentStatus::Closed {
        incident.closed = None;
    }
    let closed = incident.closed.clone();
    for action in &mut incident.actions {
        if closed.is_some() && action.outcome.is_none() {
            action.outcome = Some(ActionOutcome::Failed);
            let why = "how it ended is not known";
            action.detail.get_or_insert_with(|| why.to_owned());
        }
        if action.outcome.is_some() && action.ended.is_none() {
            action.ended = closed.clone().or_else(|| Some(action.started.clone()));
        }
        if action.outcome.is_none() {
            action.ended = None;
        }
    }
    while let Some(slot) = out_of_order(incident) {
        incident.timeline[slot].at = incident.timeline[slot - 1].at.clone();
    }
    let durations = &mut incident.durations_ms;
    for (value, is_known) in [
        (&mut durations.detection, incident.detected.is_some()),
        (&mut durations.diagnosis, incident.diagnosed.is_some()),
        (&mut durations.recovery, incident.recovered.is_some()),
        (&mut durations.analysis, incident.closed.is_some()),
    ] {
        *value = value.filter(|value| is_known && *value >= 0.0);
    }
    let impact = &mut incident.impact;
    impact.failed = impact.failed.min(impact.requests);
    impact.saved_by_retry = impact.saved_by_retry.min(impact.requests);
    if incident.recovered.is_none() {
        let verification = incident.verification.as_mut();
        if let Some(verification) = verification.filter(|held| held.outcome != "failed") {
            "failed".clone_into(&mut verification.outcome);
        }
    }
}

/// The first entry that is stamped before the one above it, unless the clock was set there.
fn out_of_order(incident: &Incident) -> Option<usize> {
    let pairs = incident.timeline.windows(2);
    let slot = pairs
        .into_iter()
        .position(|pair| pair[1].at < pair[0].at && pair[1].kind != "clock")?;
    Some(slot + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Closed, with an action that was never ended, a timeline out of order, and impossible numbers.
    fn broken() -> Incident {
        serde_json::from_str(
            r#"{"id":"2026-01-02-0001","drill":false,"status":"closed","service":"shop","servers":["one"],
            "onset":"2026-01-02T03:04:05.000Z","detected":"2026-01-02T03:04:05.000Z",
            "closed":"2026-01-02T03:05:00.000Z","durations_ms":{"detection":1.0,"recovery":5.0,"analysis":0.0},
            "detected_by":"probe","diagnosis":[],
            "actions":[{"action":"restart","server":"one","started":"2026-01-02T03:04:06.000Z"}],
            "verification":{"outcome":"passed","probes":3},
            "impact":{"requests":1,"failed":2,"saved_by_retry":3,"budget_spent":0.0},
            "timeline":[{"at":"2026-01-02T03:04:07.000Z","kind":"signal","text":"a"},
                        {"at":"2026-01-02T03:04:06.000Z","kind":"action","text":"b"}]}"#,
        )
        .expect("parses")
    }

    #[test]
    fn a_record_that_contradicts_itself_is_found_and_mended() {
        let mut incident = broken();
        assert_eq!(
            violations(&incident).len(),
            5,
            "{:?}",
            violations(&incident)
        );
        correct(&mut incident);
        assert_eq!(violations(&incident), Vec::<String>::new());
        assert_eq!(incident.actions[0].outcome, Some(ActionOutcome::Failed));
        assert_eq!(incident.impact.failed, 1);
    }

    #[test]
    fn after_the_clock_was_set_back_the_timeline_goes_on_from_there() {
        let mut incident = broken();
        correct(&mut incident);
        incident.timeline[1].at = "2026-01-02T02:04:07.000Z".to_owned();
        assert_eq!(violations(&incident).len(), 1);
        "clock".clone_into(&mut incident.timeline[1].kind);
        assert_eq!(violations(&incident), Vec::<String>::new());
    }
}
