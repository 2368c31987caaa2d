//! The end of an incident, of a server or of a whole service: its report is written and its record handed out.

use evenkeel_core::Instant;

use crate::analyze::{Similar, analysis};
use crate::contract::Output;
use crate::incident::{End, Impact};

use super::Shared;
use super::case::Case;

impl Shared {
    /// Writes the report of a case that is over, and hands its record out.
    pub(super) fn report(
        &mut self,
        now: Instant,
        mut case: Case,
        (end, impact): (End, Impact),
        out: &mut Vec<Output>,
    ) {
        case.give_up_actions(now, "the incident was closed before it had ended");
        case.incident.end = Some(end);
        case.incident.impact = impact;
        let report = analysis(&case.incident, self.recent.iter());
        case.note(now, "analysis", report.summary.clone());
        case.incident.analysis = Some(report);
        let closed = case.closed(now, now, end);
        self.recent.push(Similar {
            id: case.incident.id.clone(),
            service: case.incident.service.clone(),
            fault: case.kind,
            closed,
        });
        self.rates.learn(&case.incident);
        self.record(Box::new(case.incident), out);
    }
}
