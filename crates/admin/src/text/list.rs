//! Incidents as a list, and what they come to per service.

use evenkeel_fault::Incident;

use super::incident::fault;
use super::table::{Side, Table};
use super::{clean, maybe_duration, percent, to_the_second};
use crate::live::ServiceReport;

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
    let mut table = Table::new(&[
        ("ID", Side::Left),
        ("ONSET (UTC)", Side::Left),
        ("SERVICE", Side::Left),
        ("SERVERS", Side::Left),
        ("FAULT", Side::Left),
        ("STATUS", Side::Left),
        ("DETECTED IN", Side::Right),
        ("RESTORED IN", Side::Right),
        ("FAILED", Side::Right),
        ("SAVED", Side::Right),
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
    let mut table = Table::new(&[
        ("SERVICE", Side::Left),
        ("INCIDENTS", Side::Right),
        ("OPEN", Side::Right),
        ("MTTD", Side::Right),
        ("MTTR", Side::Right),
        ("P50", Side::Right),
        ("P90", Side::Right),
        ("AVAILABILITY", Side::Right),
        ("REQUESTS", Side::Right),
        ("FAILED", Side::Right),
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
