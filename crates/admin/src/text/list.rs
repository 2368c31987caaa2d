//! A list of incidents, with totals per service.

use evenkeel_fault::Incident;

use super::incident::fault;
use super::table::{Align, TextTable};
use super::{clean, maybe_duration, percent, to_the_second};
use crate::backend::ServiceReport;

/// The list of incidents, then each service's means and availability; either may be empty.
#[must_use]
pub fn incidents(incidents: &[Incident], reports: &[ServiceReport]) -> String {
    let list = if incidents.is_empty() {
        "No incidents.\n".to_owned()
    } else {
        list(incidents)
    };
    if reports.is_empty() {
        return list;
    }
    format!("{list}\n{}", means(reports))
}

/// Each service's means and availability.
#[must_use]
pub fn reports(reports: &[ServiceReport]) -> String {
    if reports.is_empty() {
        return "Nothing is known of this period.\n".to_owned();
    }
    means(reports)
}

fn list(incidents: &[Incident]) -> String {
    let mut table = TextTable::new(&[
        ("ID", Align::Left),
        ("ONSET (UTC)", Align::Left),
        ("SERVICE", Align::Left),
        ("SERVERS", Align::Left),
        ("FAULT", Align::Left),
        ("STATUS", Align::Left),
        ("DETECTED IN", Align::Right),
        ("RESTORED IN", Align::Right),
        ("FAILED", Align::Right),
        ("SAVED", Align::Right),
    ]);
    for incident in incidents {
        let servers: Vec<String> = incident
            .servers
            .iter()
            .map(|server| clean(server))
            .collect();
        let drill = if incident.drill { " (drill)" } else { "" };
        let cells = [
            clean(&incident.id),
            to_the_second(&incident.onset),
            clean(&incident.service),
            servers.join(", "),
            format!("{}{drill}", fault(incident)),
            incident.standing().to_owned(),
            maybe_duration(incident.durations_ms.detection),
            maybe_duration(incident.durations_ms.time_to_restore()),
            incident.impact.failed.to_string(),
            incident.impact.saved_by_retry.to_string(),
        ];
        table.row(cells.map(|cell| (cell, None)));
    }
    table.text("")
}

fn means(reports: &[ServiceReport]) -> String {
    let mut table = TextTable::new(&[
        ("SERVICE", Align::Left),
        ("INCIDENTS", Align::Right),
        ("OPEN", Align::Right),
        ("MTTD", Align::Right),
        ("MTTR", Align::Right),
        ("P50", Align::Right),
        ("P90", Align::Right),
        ("AVAILABILITY", Align::Right),
        ("REQUESTS", Align::Right),
        ("FAILED", Align::Right),
    ]);
    for report in reports {
        let cells = [
            clean(&report.service),
            report.incidents.to_string(),
            report.open.to_string(),
            maybe_duration(report.mttd_ms),
            maybe_duration(report.mttr_ms),
            maybe_duration(report.p50_restore_ms),
            maybe_duration(report.p90_restore_ms),
            report.availability.map_or_else(|| "-".to_owned(), percent),
            report.requests.to_string(),
            report.failed.to_string(),
        ];
        table.row(cells.map(|cell| (cell, None)));
    }
    table.text("")
}
