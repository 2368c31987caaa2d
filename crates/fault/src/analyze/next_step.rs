//! The next step of an open incident, and who has to take it, for the status.

use crate::incident::{ActionOutcome, Incident, IncidentStatus};

/// The next step in words.
#[must_use]
pub fn next_step(incident: &Incident) -> String {
    let id = &incident.id;
    let under_way = incident
        .actions
        .iter()
        .rev()
        .find(|action| action.outcome.is_none())
        .map(|action| action.action.as_str());
    match (incident.status, under_way) {
        (IncidentStatus::Closed, _) => "none: it is closed".to_owned(),
        (IncidentStatus::AwaitingApproval, _) => {
            format!("an operator decides: `evenkeel approve {id}` or `evenkeel reject {id}`")
        }
        (IncidentStatus::Escalated, _) => {
            let why = incident.timeline.iter().rev();
            let why = why.into_iter().find(|entry| entry.kind == "escalation");
            let why = why.map_or("an operator is needed", |entry| entry.text.as_str());
            format!("{why}; it is watched, and closes when the server is healthy")
        }
        (IncidentStatus::Recovering, Some(action)) => format!("{action} is in progress"),
        (IncidentStatus::Recovering, None) => {
            waits(incident).unwrap_or("the next action").to_owned()
        }
        (IncidentStatus::Verifying, _) if incident.is_unproven() => {
            "not proven yet: it closes once enough requests of the kind that failed have succeeded"
                .to_owned()
        }
        (IncidentStatus::Verifying, _) => {
            "it is verified by probes, then by a part of the requests".to_owned()
        }
        (IncidentStatus::Open, _) if incident.diagnosed.is_none() => "it is examined".to_owned(),
        (IncidentStatus::Open, _) => {
            let would = incident.actions.iter();
            let would = would
                .filter(|action| action.outcome == Some(ActionOutcome::WouldDo))
                .map(|action| action.action.as_str());
            match would.collect::<Vec<_>>().as_slice() {
                [] => "it is only watched".to_owned(),
                actions => format!("it is only watched; `{}` would help", actions.join("`, `")),
            }
        }
    }
}

/// The wait reason in the last entry.
fn waits(incident: &Incident) -> Option<&str> {
    let last = incident
        .timeline
        .last()
        .filter(|entry| entry.kind == "action")?;
    Some(last.text.as_str()).filter(|text| text.contains("waits"))
}
