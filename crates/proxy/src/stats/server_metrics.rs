//! How a server is, in metrics: what is in flight and may be, its weight, the load that it reports, its circuit breaker.

use evenkeel_core::Instant;
use evenkeel_core::metric::Sink;
use evenkeel_request::service::ServerSet;
use evenkeel_tolerate::{BreakerSnapshot, BreakerState};

use crate::upstream::load_report;

/// How a server is: what is in flight and may be, its weight, the load that it reports, its breaker.
pub(crate) fn collect(
    sink: &mut dyn Sink,
    labels: &[(&str, &str); 2],
    servers: &ServerSet,
    index: u32,
    now: Instant,
) {
    let Some(member) = servers.pool().members().get(index as usize) else {
        return;
    };
    let about = "Attempts that are under way on a server.";
    let in_flight = f64::from(member.state.in_flight());
    sink.gauge("evenkeel_server_in_flight", about, labels, in_flight);
    if let Some(bound) = member.bound() {
        let about = "The most attempts that a server may have at once now.";
        sink.gauge("evenkeel_server_limit", about, labels, f64::from(bound));
    }
    load_report::collect(sink, labels, &member.state);
    let about = "A server's weight.";
    let weight = f64::from(member.weight);
    sink.gauge("evenkeel_server_weight", about, labels, weight);
    if let Some(snapshot) = servers.breaker(index, now) {
        collect_breaker(sink, labels, &snapshot);
    }
}

fn collect_breaker(sink: &mut dyn Sink, labels: &[(&str, &str); 2], snapshot: &BreakerSnapshot) {
    for (state, changes) in BreakerState::ALL.into_iter().zip(snapshot.changes).take(3) {
        let labels = [labels[0], labels[1], ("state", state.word())];
        let is = f64::from(u8::from(snapshot.state == state));
        let about = "Whether a server's breaker is in this state.";
        sink.gauge("evenkeel_breaker_state", about, &labels, is);
        let about = "How often a server's breaker came to this state.";
        sink.counter("evenkeel_breaker_changes_total", about, &labels, changes);
    }
    let about = "Attempts that a server's breaker did not let through although it was picked.";
    sink.counter(
        "evenkeel_breaker_refused_total",
        about,
        labels,
        snapshot.refused,
    );
}
