//! The backend of the admin API: counters of the data plane, states from the control loop, incidents from the history.
//! It reads snapshots and atomics, and blocks nobody.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_admin::{
    AdminBackend, ConfigurationView, IncidentQuery, InstanceView, Order, OrderError, OrderProgress,
    ServiceReport, ServiceView, ServiceWhy,
};
use evenkeel_core::metric::{Sink, Source as _};
use evenkeel_core::{Instant, WallTime};
use evenkeel_fault::Incident;
use evenkeel_fault::maintenance::OrderTerms;
use evenkeel_history::StoreError;
use evenkeel_proxy::ServiceEntry;
use serde_json::Value as Json;

use super::now::LiveBackend;
use crate::{logging, period};

/// How long the store may take to write what waits before it is read.
const WRITING: Duration = Duration::from_millis(500);
/// How long the store may take to answer.
const READING: Duration = Duration::from_secs(3);

impl LiveBackend {
    /// Parses `since`. An age is subtracted on the monotonic clock, so that setting the system clock meanwhile omits
    /// nothing.
    fn since(&self, since: &str) -> String {
        let now = self.clock.now();
        let Some(age) = evenkeel_admin::age(since) else {
            return since.to_owned();
        };
        let millis = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        // Timestamps from before this run were taken from the clock of that time.
        let before_start = age.saturating_sub(now - Instant::ZERO);
        let stamped = self.clock.earliest_since(now.before(age));
        let stamped = stamped.0.saturating_sub(millis(before_start));
        let counted = self.clock.epoch().wall(now).0.saturating_sub(millis(age));
        period::rfc3339(WallTime(stamped.min(counted)))
    }

    /// Data that could not be written in time is shown, but not counted in reports.
    fn flush(&self) {
        let _written: bool = self.incident_store.flush(WRITING);
    }
}

impl AdminBackend for LiveBackend {
    fn why(&self, service: &str) -> Option<ServiceWhy> {
        let services = self.state.services();
        let entry = services.iter().find(|entry| entry.name() == service)?;
        Some(self.service_why(entry.id().0, entry))
    }

    fn services(&self) -> Vec<ServiceView> {
        let now = self.clock.now();
        let services = self.state.services();
        let view = |entry: &Arc<ServiceEntry>| self.service(entry.id().0, entry, now);
        services.iter().map(view).collect()
    }

    fn incidents(&self, filter: &IncidentQuery) -> Result<Vec<Incident>, String> {
        let status = filter
            .status
            .as_ref()
            .map(|word| serde_json::from_value(word.as_str().into()));
        let asked = evenkeel_history::IncidentFilter {
            service: filter.service.clone(),
            since: filter.since.as_ref().map(|since| self.since(since)),
            status: status
                .transpose()
                .map_err(|_| "there is no such status".to_owned())?,
            limit: u32::try_from(filter.limit).ok(),
        };
        self.flush();
        answered(self.incident_store.list(&asked, READING))
    }

    fn incident(&self, id: &str) -> Result<Option<Incident>, String> {
        // Open incidents are known here, even if the store cannot be read.
        if let Some(open) = self
            .views
            .now()
            .open
            .iter()
            .find(|incident| incident.id == id)
        {
            return Ok(Some(Incident::clone(open)));
        }
        self.flush();
        answered(self.incident_store.get(id, READING))
    }

    fn report(&self, since: &str) -> Result<Vec<ServiceReport>, String> {
        let since = self.since(since);
        self.flush();
        let reports = self
            .incident_store
            .ask(READING, move |store| store.report(&since));
        let mut reports: Vec<ServiceReport> =
            answered(reports)?.into_iter().map(report_view).collect();
        // A service about which nothing is known yet is listed nevertheless.
        let known: BTreeSet<String> = reports
            .iter()
            .map(|report| report.service.clone())
            .collect();
        let services = self.state.services();
        let names = services.iter().map(|entry| entry.name());
        let missing = names.filter(|name| !known.contains(*name));
        reports.extend(missing.map(|name| ServiceReport {
            service: name.to_owned(),
            ..ServiceReport::default()
        }));
        Ok(reports)
    }

    fn collect(&self, sink: &mut dyn Sink) {
        self.state.collect(sink);
        self.supervisor.collect(sink);
        self.reloads.collect(sink);
        self.reloads.collect_runtime_changes(sink);
        self.counters.collect(sink);
        self.discovery.collect(sink);
        self.admin.collect(sink);
        self.tasks.collect(sink);
        let panics =
            "Panics in evenkeel, caught or not: each is a bug, and its location is in the log.";
        sink.counter(
            "evenkeel_panics_total",
            panics,
            &[],
            evenkeel_runtime::contain::panics(),
        );
        let dropped = "Dropped log lines: the log was not read, or could not be written.";
        sink.counter(
            "evenkeel_log_lines_dropped_total",
            dropped,
            &[],
            logging::dropped(),
        );
        let health = self.incident_store.health();
        let (ok, lost) = (
            "Whether the last write to the incident store succeeded and survives a restart of the program.",
            "Data that could not be stored in the incident store.",
        );
        sink.gauge("evenkeel_store_ok", ok, &[], f64::from(u8::from(health.ok)));
        sink.counter("evenkeel_store_dropped_total", lost, &[], health.dropped);
        let recreated = "How often the incident store's file was recreated after it had been removed or replaced.";
        let times = health.recreated;
        sink.counter("evenkeel_store_made_again_total", recreated, &[], times);
    }

    fn alive(&self) -> Result<(), String> {
        self.check_alive()
    }

    fn ready(&self) -> Result<(), String> {
        self.check_ready()
    }

    fn instance(&self) -> InstanceView {
        InstanceView {
            version: self.version(),
            uptime_seconds: self.uptime().as_secs_f64(),
            file: self.reloads.file().map(|file| file.display().to_string()),
            refused_reload: self.reloads.last_refused(),
            runtime_changes: self.reloads.runtime_changes(),
        }
    }

    fn configuration(&self, all: bool) -> ConfigurationView {
        let in_force = self.reloads.in_force();
        let settings = in_force.effective();
        let list = settings.json(all).get_mut("settings").map(Json::take);
        ConfigurationView {
            file: self.reloads.file().map(|file| file.display().to_string()),
            settings: match list {
                Some(Json::Array(list)) => list,
                _ => Vec::new(),
            },
            toml: settings.toml(all),
            runtime_changes: self.reloads.runtime_changes(),
            overlay: serde_json::to_value(&in_force.overlay).unwrap_or_default(),
        }
    }

    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    fn uptime(&self) -> Duration {
        self.clock.now() - Instant::ZERO
    }

    fn order(
        &self,
        order: Order,
        terms: &OrderTerms,
        wait: Option<Duration>,
    ) -> Result<OrderProgress, OrderError> {
        self.carry_out(&order, terms, wait)
    }
}

/// An answer of the store, or why there is none.
fn answered<T>(answer: Option<Result<T, StoreError>>) -> Result<T, String> {
    match answer {
        Some(answer) => answer.map_err(|error| error.to_string()),
        None => Err("the incident store does not respond".to_owned()),
    }
}

/// A report of the store as the admin API shows it.
pub(crate) fn report_view(report: evenkeel_history::PeriodReport) -> ServiceReport {
    ServiceReport {
        service: report.service,
        incidents: report.incidents,
        open: report.open,
        mttd_ms: report.mttd_ms,
        mttr_ms: report.mttr_ms,
        p50_restore_ms: report.p50_restore_ms,
        p90_restore_ms: report.p90_restore_ms,
        availability: report.availability,
        requests: report.requests,
        failed: report.failed,
    }
}
