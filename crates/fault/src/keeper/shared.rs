//! State shared by all services: numbers of incidents and orders, randomness, and the memory of earlier incidents.

use std::collections::BTreeMap;

use evenkeel_core::{Epoch, Instant, Random, Recent, ServiceId};

use crate::analyze::{Similar, analysis};
use crate::contract::Output;
use crate::incident::{CloseReason, Impact, Incident, invariants};
use crate::maintenance::stamp;
use crate::recover::{SuccessRates, Veto};

use super::case::Case;
use super::names::RouteNames;

/// State shared by all services.
#[derive(Debug)]
pub(super) struct KeeperShared {
    pub(super) epoch: Epoch,
    pub(super) random: Random,
    pub(super) orders: u64,
    pub(super) numbers: BTreeMap<String, u32>,
    pub(super) names: RouteNames,
    pub(super) recent: Recent<Similar>,
    /// What says that the machine is short of processor time, while it is.
    pub(super) lacks_processor: Option<String>,
    /// Which actions have helped.
    pub(super) rates: SuccessRates,
    /// Contradictions that were found in records and mended.
    pub(super) inconsistencies: u64,
    /// Plans that the second check refused.
    pub(super) vetoes: BTreeMap<(ServiceId, Veto), u64>,
}

impl KeeperShared {
    /// Hands a record out, consistent.
    pub(super) fn record(&mut self, mut incident: Box<Incident>, out: &mut Vec<Output>) {
        let found = invariants::uphold(&mut incident).len() as u64;
        self.inconsistencies += found;
        out.push(Output::Record(incident));
    }

    /// The second check has refused a plan.
    pub(super) fn vetoed(&mut self, service: ServiceId, veto: Veto) {
        let count = self.vetoes.entry((service, veto)).or_default();
        *count = count.saturating_add(1);
    }

    /// The date of the onset and the next free number.
    pub(super) fn next_id(&mut self, onset: Instant) -> String {
        let date: String = stamp(self.epoch, onset).chars().take(10).collect();
        let number = self.numbers.entry(date.clone()).or_insert(0);
        *number = number.saturating_add(1);
        format!("{date}-{number:04}")
    }

    /// Writes the report of a case that is over, and hands its record out.
    pub(super) fn report(
        &mut self,
        now: Instant,
        mut case: Case,
        (end, impact): (CloseReason, Impact),
        out: &mut Vec<Output>,
    ) {
        case.give_up_actions(now, "the incident was closed before it had ended");
        case.incident.end = Some(end);
        case.incident.impact = impact;
        let report = analysis(&case.incident, self.recent.iter());
        case.note(now, "analysis", report.summary.clone());
        case.incident.analysis = Some(report);
        let closed = case.closed(now, end);
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
