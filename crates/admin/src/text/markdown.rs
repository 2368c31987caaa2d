//! One incident as Markdown, for an issue or a wiki.

use evenkeel_fault::Incident;

use super::incident::{fault, impact_sentence, outcome, phases};
use super::{clean, count, maybe_duration, percent, time_of_day, to_the_second};

/// The whole incident, in the order of [`super::incident()`].
#[must_use]
pub fn incident_markdown(incident: &Incident) -> String {
    let mut lines = Vec::new();
    header(&mut lines, incident);
    diagnosis(&mut lines, incident);
    actions(&mut lines, incident);
    timeline(&mut lines, incident);
    lines.extend([
        String::new(),
        "## Impact".to_owned(),
        String::new(),
        format!("{}.", impact_sentence(incident)),
    ]);
    analysis(&mut lines, incident);
    lines.push(String::new());
    lines.join("\n")
}

fn header(lines: &mut Vec<String>, incident: &Incident) {
    let drill = if incident.drill { " (drill)" } else { "" };
    let servers: Vec<String> = incident
        .servers
        .iter()
        .map(|server| escaped(server))
        .collect();
    lines.extend([
        format!(
            "# Incident {}{drill}: {} in {}",
            escaped(&incident.id),
            fault(incident),
            escaped(&incident.service)
        ),
        String::new(),
        format!("- Status: {}", incident.standing()),
        format!("- Servers: {}", servers.join(", ")),
        format!("- Onset: {} UTC", to_the_second(&incident.onset)),
        format!("- Detected by: {}", escaped(&incident.detected_by)),
        String::new(),
        "| Phase | Duration |".to_owned(),
        "|---|---:|".to_owned(),
    ]);
    lines.extend(phases(incident).map(|(name, ms)| format!("| {name} | {} |", maybe_duration(ms))));
}

fn diagnosis(lines: &mut Vec<String>, incident: &Incident) {
    lines.extend([String::new(), "## Diagnosis".to_owned(), String::new()]);
    if incident.diagnosis.is_empty() {
        lines.push("None yet.".to_owned());
    }
    for finding in &incident.diagnosis {
        lines.push(format!(
            "- **{}** ({})",
            finding.fault.word(),
            percent(finding.confidence)
        ));
        lines.extend(
            finding
                .evidence
                .iter()
                .map(|evidence| format!("  - {}", escaped(evidence))),
        );
    }
}

fn actions(lines: &mut Vec<String>, incident: &Incident) {
    lines.extend([String::new(), "## Actions".to_owned(), String::new()]);
    if incident.actions.is_empty() {
        lines.push("None.".to_owned());
    } else {
        lines.extend([
            "| Time | Action | Server | Outcome |".to_owned(),
            "|---|---|---|---|".to_owned(),
        ]);
    }
    for action in &incident.actions {
        let cells = [
            time_of_day(&action.started),
            escaped(&action.action),
            escaped(&action.server),
            escaped(&outcome(action)),
        ];
        lines.push(format!("| {} |", cells.join(" | ")));
    }
    if let Some(held) = &incident.verification {
        let (probes, requests) = (
            count(held.probes.into(), "probe"),
            count(held.requests.into(), "request"),
        );
        lines.extend([
            String::new(),
            format!(
                "Verification {}: {probes}, {requests}.",
                escaped(&held.outcome)
            ),
        ]);
    }
}

fn timeline(lines: &mut Vec<String>, incident: &Incident) {
    if incident.timeline.is_empty() {
        return;
    }
    lines.extend([String::new(), "## Timeline".to_owned(), String::new()]);
    lines.extend(["| Time | What | |".to_owned(), "|---|---|---|".to_owned()]);
    for entry in &incident.timeline {
        lines.push(format!(
            "| {} | {} | {} |",
            time_of_day(&entry.at),
            escaped(&entry.kind),
            escaped(&entry.text)
        ));
    }
}

fn analysis(lines: &mut Vec<String>, incident: &Incident) {
    let Some(analysis) = &incident.analysis else {
        return;
    };
    lines.extend([
        String::new(),
        "## Analysis".to_owned(),
        String::new(),
        escaped(&analysis.summary),
    ]);
    lines.extend([
        String::new(),
        format!("Cause: {}", escaped(&analysis.cause)),
    ]);
    if !analysis.similar.is_empty() {
        let similar: Vec<String> = analysis.similar.iter().map(|id| escaped(id)).collect();
        lines.extend([String::new(), format!("Similar: {}", similar.join(", "))]);
    }
    if !analysis.recommendations.is_empty() {
        lines.push(String::new());
        lines.extend(
            analysis
                .recommendations
                .iter()
                .map(|text| format!("- {}", escaped(text))),
        );
    }
}

/// `text` without anything that Markdown or HTML would take for more than text.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in clean(text).chars() {
        match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' => out.extend(['\\', letter]),
            _ => out.push(letter),
        }
    }
    out
}
