//! One incident as plain text for a terminal.

use std::fmt::{Arguments, Write as _};

use evenkeel_fault::Incident;
use evenkeel_fault::incident::ActionRecord;

use super::{clean, count, maybe_duration, percent, time_of_day, to_the_second};

/// The whole incident: what, how long, why, what was done, what happened when, what it cost, what to change.
#[must_use]
pub fn incident(incident: &Incident) -> String {
    let mut page = IncidentPage::default();
    header(&mut page, incident);
    durations(&mut page, incident);
    diagnosis(&mut page, incident);
    actions(&mut page, incident);
    timeline(&mut page, incident);
    impact(&mut page, incident);
    analysis(&mut page, incident);
    page.0
}

/// The most likely finding.
pub(super) fn fault(incident: &Incident) -> &'static str {
    incident
        .diagnosis
        .first()
        .map_or("undiagnosed", |finding| finding.fault.word())
}

/// `done in 12 ms: why`.
pub(super) fn outcome(action: &ActionRecord) -> String {
    let mut text = action
        .outcome
        .map_or("under way", |outcome| outcome.word())
        .to_owned();
    if let Some(detail) = &action.detail {
        text.push_str(": ");
        text.push_str(&clean(detail));
    }
    text
}

/// The four durations by name, and their sum up to recovery.
pub(super) fn phases(incident: &Incident) -> [(&'static str, Option<f64>); 5] {
    let known = &incident.durations_ms;
    [
        ("detection", known.detection),
        ("diagnosis", known.diagnosis),
        ("recovery", known.recovery),
        ("analysis", known.analysis),
        ("time to restore", known.time_to_restore()),
    ]
}

/// The impact in a sentence.
pub(super) fn impact_sentence(incident: &Incident) -> String {
    let impact = &incident.impact;
    let mut text = format!(
        "{}, {} failed, {} saved by retry",
        count(impact.requests, "request"),
        impact.failed,
        impact.saved_by_retry
    );
    if impact.budget_spent > 0.0 {
        text.push_str(&format!(
            "; {} of the error budget spent",
            percent(impact.budget_spent)
        ));
    }
    text
}

#[derive(Default)]
struct IncidentPage(String);

impl IncidentPage {
    fn line(&mut self, text: Arguments<'_>) {
        writeln!(self.0, "{text}").expect("a String takes everything");
    }

    fn title(&mut self, text: &str) {
        self.line(format_args!("\n{text}"));
    }
}

fn header(page: &mut IncidentPage, incident: &Incident) {
    let drill = if incident.drill { " (drill)" } else { "" };
    let (id, service) = (clean(&incident.id), clean(&incident.service));
    page.line(format_args!(
        "incident {id}{drill}: {} in {service}, {}",
        fault(incident),
        incident.standing()
    ));
    let servers: Vec<String> = incident
        .servers
        .iter()
        .map(|server| clean(server))
        .collect();
    page.line(format_args!("  servers      {}", servers.join(", ")));
    page.line(format_args!(
        "  onset        {} UTC",
        to_the_second(&incident.onset)
    ));
    page.line(format_args!(
        "  detected by  {}",
        clean(&incident.detected_by)
    ));
}

fn durations(page: &mut IncidentPage, incident: &Incident) {
    page.title("durations");
    for (name, ms) in phases(incident) {
        page.line(format_args!("  {name:<15}  {:>12}", maybe_duration(ms)));
    }
}

fn diagnosis(page: &mut IncidentPage, incident: &Incident) {
    page.title("diagnosis");
    if incident.diagnosis.is_empty() {
        page.line(format_args!("  none yet"));
    }
    for finding in &incident.diagnosis {
        page.line(format_args!(
            "  {} ({})",
            finding.fault.word(),
            percent(finding.confidence)
        ));
        for evidence in &finding.evidence {
            page.line(format_args!("    - {}", clean(evidence)));
        }
    }
}

fn actions(page: &mut IncidentPage, incident: &Incident) {
    page.title("actions");
    if incident.actions.is_empty() {
        page.line(format_args!("  none"));
    }
    for action in &incident.actions {
        let (at, what, server) = (
            time_of_day(&action.started),
            clean(&action.action),
            clean(&action.server),
        );
        page.line(format_args!("  {at}  {what} {server}: {}", outcome(action)));
    }
    if let Some(held) = &incident.verification {
        let (probes, requests) = (
            count(held.probes.into(), "probe"),
            count(held.requests.into(), "request"),
        );
        page.line(format_args!(
            "  verification {}: {probes}, {requests}",
            clean(&held.outcome)
        ));
    }
}

fn timeline(page: &mut IncidentPage, incident: &Incident) {
    if incident.timeline.is_empty() {
        return;
    }
    page.title("timeline");
    let width = incident
        .timeline
        .iter()
        .map(|entry| clean(&entry.kind).chars().count())
        .max()
        .unwrap_or(0);
    for entry in &incident.timeline {
        let (at, kind, text) = (
            time_of_day(&entry.at),
            clean(&entry.kind),
            clean(&entry.text),
        );
        page.line(format_args!("  {at}  {kind:<width$}  {text}"));
    }
}

fn impact(page: &mut IncidentPage, incident: &Incident) {
    page.title("impact");
    page.line(format_args!("  {}", impact_sentence(incident)));
}

fn analysis(page: &mut IncidentPage, incident: &Incident) {
    let Some(analysis) = &incident.analysis else {
        return;
    };
    page.title("analysis");
    page.line(format_args!("  {}", clean(&analysis.summary)));
    page.line(format_args!("  cause: {}", clean(&analysis.cause)));
    if !analysis.similar.is_empty() {
        let similar: Vec<String> = analysis.similar.iter().map(|id| clean(id)).collect();
        page.line(format_args!("  similar: {}", similar.join(", ")));
    }
    for recommendation in &analysis.recommendations {
        page.line(format_args!("  - {}", clean(recommendation)));
    }
}
