//! What comes next in an open incident, and who has to do it: for whoever looks at the status.

use crate::incident::{ActionOutcome, Incident, Status};

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
        (Status::Closed, _) => "none: it is closed".to_owned(),
        (Status::AwaitingApproval, _) => {
            format!("a person decides: `evenkeel approve {id}` or `evenkeel reject {id}`")
        }
        (Status::Escalated, _) => {
            let why = incident.timeline.iter().rev();
            let why = why.into_iter().find(|entry| entry.kind == "escalation");
            let why = why.map_or("a person is needed", |entry| entry.text.as_str());
            format!("{why}; it is watched, and closes when the server is well")
        }
        (Status::Recovering, Some(action)) => format!("{action} is under way"),
        (Status::Recovering, None) => waits(incident).unwrap_or("the next action").to_owned(),
        (Status::Verifying, _) if incident.is_unproven() => {
            "not proven yet: it closes once enough requests of the kind that failed have succeeded"
                .to_owned()
        }
        (Status::Verifying, _) => "probes, then a part of the requests, verify it".to_owned(),
        (Status::Open, _) if incident.diagnosed.is_none() => "it is examined".to_owned(),
        (Status::Open, _) => {
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

/// What the last entry says that an action waits for.
fn waits(incident: &Incident) -> Option<&str> {
    let last = incident
        .timeline
        .last()
        .filter(|entry| entry.kind == "action")?;
    Some(last.text.as_str()).filter(|text| text.contains("waits"))
}
