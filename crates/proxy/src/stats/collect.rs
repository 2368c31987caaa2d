//! Everything that is counted, shown to whoever collects metrics, and summed up for whoever looks at services.

use evenkeel_balance::PickReason;
use evenkeel_core::metric::{DurationSnapshot, Sink, Source};
use evenkeel_core::{Instant, Outcome, ServiceId};
use evenkeel_request::route::Route;

use super::counters::{LOCAL_ERRORS, ServerCounters, ServiceCounters, Statuses};
use super::results::{DEADLINE_RESULTS, FALLBACK_RESULTS, HEDGE_RESULTS, KEPT_RESULTS};
use super::server_metrics;
use super::server_work::server_totals;
use crate::worker::proxy_snapshot::ProxySnapshot;
use crate::worker::service_entry::ServiceEntry;
use crate::worker::state::ProxyState;

/// A service's totals since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServiceTotals {
    /// Requests that got an answer, or should have.
    pub requests: u64,
    /// Of these, those that the client saw fail: an answer of 500 or above, or one that broke off.
    pub failed: u64,
    /// Of these, those that succeeded after a retry.
    pub saved_by_retry: u64,
    /// Requests for which the servers had no room: they were refused at once, or waited in vain.
    pub shed: u64,
    /// Requests that had to wait for room on a server.
    pub queued: u64,
}

impl ProxyState {
    /// A service's totals since the start.
    #[must_use]
    pub fn totals(&self, service: ServiceId) -> ServiceTotals {
        let Some(entry) = self.service(service) else {
            return ServiceTotals::default();
        };
        ServiceTotals {
            requests: entry.add_up(|it| it.statuses.total() + it.aborted.value()),
            failed: entry.add_up(|it| it.failed.value()),
            saved_by_retry: entry.add_up(|it| it.saved_by_retry.value()),
            shed: entry.service().shed(),
            queued: entry.service().queued(),
        }
    }

    /// How long a service's requests took until their last byte.
    #[must_use]
    pub fn response_times(&self, service: ServiceId) -> DurationSnapshot {
        let entry = self.service(service);
        entry.map_or_else(DurationSnapshot::default, |entry| response_times(&entry))
    }
}

fn response_times(entry: &ServiceEntry) -> DurationSnapshot {
    let mut sum = DurationSnapshot::default();
    let workers = entry.counters().iter();
    workers.for_each(|counters| sum.merge(&counters.durations.snapshot()));
    sum
}

fn sum_of_server(
    entry: &ServiceEntry,
    server: u32,
    number: &dyn Fn(&ServerCounters) -> u64,
) -> u64 {
    entry.add_up(|counters| {
        let used = counters.server_if_used(server as usize);
        used.map_or(0, number)
    })
}

fn collect_requests<'s>(
    sink: &mut dyn Sink,
    name: &str,
    statuses: impl Iterator<Item = &'s Statuses>,
) {
    let mut sums = [0; 500];
    statuses.for_each(|statuses| statuses.add_to(&mut sums));
    for (index, &value) in sums.iter().enumerate().filter(|(_, value)| **value > 0) {
        let code = (index + 100).to_string();
        sink.counter(
            "evenkeel_requests_total",
            "Requests that were answered, by status.",
            &[("service", name), ("code", &code)],
            value,
        );
    }
}

fn collect_service(sink: &mut dyn Sink, entry: &ServiceEntry) {
    let name = entry.name();
    let of = |number: &dyn Fn(&ServiceCounters) -> u64| entry.add_up(number);
    let workers = entry.counters().iter();
    collect_requests(sink, name, workers.map(|it| &it.statuses));
    let service = [("service", name)];
    sink.counter(
        "evenkeel_requests_failed_total",
        "Requests that the client saw fail: answered 500 or above, or broken off.",
        &service,
        of(&|counters| counters.failed.value()),
    );
    sink.counter(
        "evenkeel_requests_aborted_total",
        "Requests that the client gave up before their answer.",
        &service,
        of(&|counters| counters.aborted.value()),
    );
    sink.counter(
        "evenkeel_requests_saved_by_retry_total",
        "Requests that succeeded after an attempt had failed.",
        &service,
        of(&|counters| counters.saved_by_retry.value()),
    );
    sink.durations(
        "evenkeel_request_duration_seconds",
        "From the request's head to the last byte of its answer.",
        &service,
        &response_times(entry),
    );
    for (place, reason) in Outcome::WORDS.iter().enumerate() {
        let value = of(&|counters| counters.retries[place].value());
        if value > 0 {
            let labels = [("service", name), ("reason", *reason)];
            sink.counter(
                "evenkeel_retries_total",
                "Retries, by how the attempt before ended.",
                &labels,
                value,
            );
        }
    }
}

fn collect_server(sink: &mut dyn Sink, entry: &ServiceEntry, server: (u32, &str)) {
    let of = |number: &dyn Fn(&ServerCounters) -> u64| sum_of_server(entry, server.0, number);
    let labels = [("service", entry.name()), ("server", server.1)];
    for (place, outcome) in Outcome::WORDS.iter().enumerate() {
        let value = of(&|counters| counters.attempts[place].value());
        if value > 0 || place == 0 {
            let labels = [
                ("service", entry.name()),
                ("server", server.1),
                ("outcome", *outcome),
            ];
            sink.counter(
                "evenkeel_attempts_total",
                "Attempts on a server, by how they ended.",
                &labels,
                value,
            );
        }
    }
    for (place, reason) in PickReason::WORDS.iter().enumerate() {
        let value = of(&|counters| counters.picks[place].value());
        if value > 0 || place == PickReason::Policy.index() {
            let labels = [
                ("service", entry.name()),
                ("server", server.1),
                ("reason", *reason),
            ];
            let about = "Times that a server was picked for an attempt, by why it was.";
            sink.counter("evenkeel_picks_total", about, &labels, value);
        }
    }
    sink.durations(
        "evenkeel_attempt_duration_seconds",
        "From the start of an attempt to the response's head, or to its failure.",
        &labels,
        &server_totals(entry, server.0).durations,
    );
    collect_flow(sink, entry, server);
}

fn collect_flow(sink: &mut dyn Sink, entry: &ServiceEntry, server: (u32, &str)) {
    let of = |number: &dyn Fn(&ServerCounters) -> u64| sum_of_server(entry, server.0, number);
    let labels = [("service", entry.name()), ("server", server.1)];
    let connections = "Connections that were opened to a server.";
    sink.counter(
        "evenkeel_server_connections_total",
        connections,
        &labels,
        of(&|counters| counters.connections.value()),
    );
    let reused = "Attempts that were made on a connection which was open already.";
    sink.counter(
        "evenkeel_server_connections_reused_total",
        reused,
        &labels,
        of(&|counters| counters.reused.value()),
    );
    sink.counter(
        "evenkeel_server_sent_bytes_total",
        "Bytes sent to a server, heads included.",
        &labels,
        of(&|counters| counters.bytes_sent.value()),
    );
    sink.counter(
        "evenkeel_server_received_bytes_total",
        "Bytes received from a server, heads included.",
        &labels,
        of(&|counters| counters.bytes_received.value()),
    );
}

impl Source for ProxyState {
    fn collect(&self, sink: &mut dyn Sink) {
        self.collect_connections(sink);
        let snapshot = self.snapshot();
        snapshot.collect_mirrors(sink);
        snapshot.collect_asked(sink);
        for results in [
            &FALLBACK_RESULTS,
            &HEDGE_RESULTS,
            &DEADLINE_RESULTS,
            &KEPT_RESULTS,
        ] {
            snapshot.collect_results(sink, results);
        }
        snapshot.collect_injects(sink);
        snapshot.collect_retries(sink);
        snapshot.collect_stale(sink);
        let workers = self.workers().iter();
        collect_requests(sink, "", workers.map(|worker| &worker.unrouted));
        let now = self.now();
        for service in snapshot.services() {
            collect_service(sink, service);
            let servers = service.servers();
            for (index, server) in servers.names() {
                let is_absent = servers.address(index).is_none();
                if is_absent && server_totals(service, index).attempts == 0 {
                    continue;
                }
                collect_server(sink, service, (index, server));
                let labels = [("service", service.name()), ("server", server)];
                server_metrics::collect(sink, &labels, &servers, index, now);
            }
            collect_shared(sink, &snapshot, service, now);
            let budget = "Retries that the service's budget would pay for now.";
            sink.gauge(
                "evenkeel_retry_budget",
                budget,
                &[("service", service.name())],
                service.budget().balance(now),
            );
        }
    }
}

impl ProxyState {
    /// The metrics of connections of clients, and of what evenkeel itself lacks.
    fn collect_connections(&self, sink: &mut dyn Sink) {
        let opened = self.add_up(|worker| worker.connections_opened.value());
        let closed = self.add_up(|worker| worker.connections_closed.value());
        let refused = self.add_up(|worker| worker.connections_refused.value());
        let dropped = self.add_up(|worker| worker.signals_dropped.value());
        sink.counter(
            "evenkeel_connections_total",
            "Client connections that were accepted.",
            &[],
            opened,
        );
        sink.gauge(
            "evenkeel_connections_open",
            "Client connections that are open now.",
            &[],
            opened.saturating_sub(closed) as f64,
        );
        let full = "Client connections that were closed at once because the listener was full.";
        sink.counter("evenkeel_connections_refused_total", full, &[], refused);
        let lost = "Workers that do not run because of a bug in evenkeel; their share of new connections is not served.";
        sink.gauge(
            "evenkeel_workers_lost",
            lost,
            &[],
            self.workers_lost() as f64,
        );
        for (place, side) in LOCAL_ERRORS.iter().enumerate() {
            let value = self.add_up(|worker| worker.local_errors[place].value());
            let about = "Connections that evenkeel could not accept (client) or open (server) for want of descriptors, local ports or memory.";
            let labels = [("side", *side)];
            sink.counter("evenkeel_local_errors_total", about, &labels, value);
        }
        let (limit, about) = (
            evenkeel_runtime::descriptors::limit(),
            "The most descriptors that evenkeel may have open.",
        );
        sink.gauge("evenkeel_descriptor_limit", about, &[], limit as f64);
        let lost = "Signals that were lost because the control loop did not read them in time.";
        sink.counter("evenkeel_signals_dropped_total", lost, &[], dropped);
    }
}

/// The metrics of what the requests of a service share.
fn collect_shared(
    sink: &mut dyn Sink,
    snapshot: &ProxySnapshot,
    entry: &ServiceEntry,
    now: Instant,
) {
    let leads_here = |route: &Route| route.services().any(|it| it == entry.id());
    let has_rate = (snapshot.routes()).any(|route| route.rate.is_some() && leads_here(route));
    entry.service().collect(sink, now, has_rate);
}
