//! Counters of the fault path: incidents, the durations of their phases, actions.
//!
//! Under one lock, written by the loop only, a few times per second.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use evenkeel_core::metric::{DurationHistogram, Sink, Source};
use evenkeel_fault::Incident;
use evenkeel_fault::incident::IncidentStatus;

/// Incidents of which is known what has been counted. Ids grow, so the oldest goes first.
const REMEMBERED: usize = 1000;

/// The counters of the fault path.
#[derive(Debug, Default)]
pub struct ControlCounters {
    numbers: Mutex<CounterValues>,
}

#[derive(Debug, Default)]
struct CounterValues {
    /// By service, fault, status.
    incidents: BTreeMap<(String, &'static str, &'static str), u64>,
    /// By service, action, outcome.
    actions: BTreeMap<(String, String, &'static str), u64>,
    /// By service: detection, diagnosis, recovery, analysis.
    phases: BTreeMap<String, [DurationHistogram; 4]>,
    /// By order, what came of it.
    orders: BTreeMap<(&'static str, &'static str), u64>,
    /// Plans that the second check refused, by service and reason.
    vetoes: BTreeMap<(String, &'static str), u64>,
    /// Contradictions in records that were mended.
    inconsistencies: u64,
    /// How long evenkeel itself was stalled, by stalls.
    stalls: DurationHistogram,
    /// Incidents whose server was back in service before that was proven, by service and fault.
    unproven: BTreeMap<(String, &'static str), u64>,
    /// Of the latest incidents: what has been counted already.
    counted: BTreeMap<String, CountedIncident>,
}

#[derive(Debug, Default)]
struct CountedIncident {
    status: Option<IncidentStatus>,
    actions: usize,
    is_unproven: bool,
}

impl ControlCounters {
    /// Counts what is new in `incident` since it was last seen.
    pub(crate) fn incident(&self, incident: &Incident) {
        let mut guard = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let numbers = &mut *guard;
        if numbers.counted.len() > REMEMBERED && !numbers.counted.contains_key(&incident.id) {
            numbers.counted.pop_first();
        }
        let counted = numbers.counted.entry(incident.id.clone()).or_default();
        let is_new = counted.status != Some(incident.status);
        let fault = incident
            .diagnosis
            .first()
            .map_or("unknown", |finding| finding.fault.word());
        if incident.is_unproven() && !std::mem::replace(&mut counted.is_unproven, true) {
            let key = (incident.service.clone(), fault);
            *numbers.unproven.entry(key).or_default() += 1;
        }
        if is_new {
            counted.status = Some(incident.status);
            let key = (incident.service.clone(), fault, incident.status.word());
            *numbers.incidents.entry(key).or_default() += 1;
        }
        for action in incident.actions.iter().skip(counted.actions) {
            let Some(outcome) = action.outcome else { break };
            counted.actions += 1;
            let key = (
                incident.service.clone(),
                action.action.clone(),
                outcome.word(),
            );
            *numbers.actions.entry(key).or_default() += 1;
        }
        if is_new && incident.status == IncidentStatus::Closed {
            let phases = numbers.phases.entry(incident.service.clone()).or_default();
            let durations = &incident.durations_ms;
            let took = [
                durations.detection,
                durations.diagnosis,
                durations.recovery,
                durations.analysis,
            ];
            for (histogram, millis) in phases.iter().zip(took) {
                if let Some(millis) = millis {
                    histogram.add_from_owner(Duration::from_secs_f64(millis.max(0.0) / 1000.0));
                }
            }
        }
    }
}

impl ControlCounters {
    /// Counts the outcome of an operator's order.
    pub fn order(&self, order: &'static str, outcome: &'static str) {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        *numbers.orders.entry((order, outcome)).or_default() += 1;
    }

    /// evenkeel itself was stalled for this long.
    pub(crate) fn stalled(&self, lasted: Duration) {
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.stalls.add_from_owner(lasted);
    }

    /// Takes how often the second check has refused a plan of this service so far, for this reason.
    pub(crate) fn vetoes(&self, service: &str, reason: &'static str, count: u64) {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        match numbers.vetoes.get_mut(&(service.to_owned(), reason)) {
            Some(known) => *known = count,
            None => {
                numbers.vetoes.insert((service.to_owned(), reason), count);
            }
        }
    }

    /// A service is not configured any more: nothing is told of it.
    pub(crate) fn forget(&self, service: &str) {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.incidents.retain(|(one, ..), _| one != service);
        numbers.actions.retain(|(one, ..), _| one != service);
        numbers.phases.retain(|one, _| one != service);
        numbers.vetoes.retain(|(one, _), _| one != service);
        numbers.unproven.retain(|(one, _), _| one != service);
    }

    /// Takes the number of contradictions that were found in records so far.
    pub(crate) fn inconsistencies(&self, found: u64) {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.inconsistencies = found;
    }
}

impl Source for ControlCounters {
    fn collect(&self, sink: &mut dyn Sink) {
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        for ((service, fault, status), &count) in &numbers.incidents {
            let labels = [
                ("service", service.as_str()),
                ("fault", fault),
                ("status", status),
            ];
            sink.counter(
                "evenkeel_incidents_total",
                "Incidents that have reached a status.",
                &labels,
                count,
            );
        }
        for ((service, fault), &count) in &numbers.unproven {
            let labels = [("service", service.as_str()), ("fault", *fault)];
            sink.counter(
                "evenkeel_incidents_not_proven_total",
                "Incidents whose server was in service again before requests had proven that it is well.",
                &labels,
                count,
            );
        }
        for (service, phases) in &numbers.phases {
            for (phase, histogram) in ["detection", "diagnosis", "recovery", "analysis"]
                .into_iter()
                .zip(phases)
            {
                let labels = [("service", service.as_str()), ("phase", phase)];
                let help = "Durations of the phases of closed incidents.";
                sink.durations(
                    "evenkeel_incident_seconds",
                    help,
                    &labels,
                    &histogram.snapshot(),
                );
            }
        }
        sink.durations(
            "evenkeel_stall_seconds",
            "How long evenkeel itself was stalled, by its own timers that fired half a second or more late.",
            &[],
            &numbers.stalls.snapshot(),
        );
        for ((order, outcome), &count) in &numbers.orders {
            let labels = [("order", *order), ("outcome", *outcome)];
            sink.counter(
                "evenkeel_orders_total",
                "Operators' orders, by outcome.",
                &labels,
                count,
            );
        }
        sink.counter(
            "evenkeel_incident_inconsistencies_total",
            "Contradictions in incident records, corrected before they were written. Each is a bug in evenkeel.",
            &[],
            numbers.inconsistencies,
        );
        numbers.collect_actions(sink);
    }
}

impl CounterValues {
    /// Actions taken, and actions refused.
    fn collect_actions(&self, sink: &mut dyn Sink) {
        for ((service, reason), &count) in &self.vetoes {
            let labels = [("service", service.as_str()), ("reason", *reason)];
            sink.counter(
                "evenkeel_vetoes_total",
                "Recovery plans refused by the second check, by reason.",
                &labels,
                count,
            );
        }
        for ((service, action, outcome), &count) in &self.actions {
            let labels = [
                ("service", service.as_str()),
                ("action", action.as_str()),
                ("outcome", outcome),
            ];
            sink.counter(
                "evenkeel_actions_total",
                "Completed recovery actions.",
                &labels,
                count,
            );
        }
    }
}
