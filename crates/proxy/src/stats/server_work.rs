//! What servers have done and have to do, for whoever looks at them: read from counters that there are anyway.

use std::time::Duration;

use evenkeel_balance::Member;
use evenkeel_core::metric::DurationSnapshot;
use evenkeel_core::{ServerId, ServiceId};

use crate::stats::counters::is_failure;
use crate::worker::service_entry::ServiceEntry;
use crate::worker::state::ProxyState;

/// How much one server has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerWork {
    /// Attempts that are under way.
    pub in_flight: u32,
    /// Attempts that were answered below 500, since the start.
    pub answered: u64,
    /// How long these took together, until the answer's head.
    pub busy: Duration,
}

/// A server's totals since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerTotals {
    /// Attempts that ended.
    pub attempts: u64,
    /// Of these, those that count against the server.
    pub failures: u64,
    /// How long attempts took until the response's head.
    pub durations: DurationSnapshot,
}

impl ProxyState {
    /// A server's totals since the start.
    #[must_use]
    pub fn server_totals(&self, server: ServerId) -> ServerTotals {
        let entry = self.service(server.service);
        let totals = entry.map(|entry| server_totals(&entry, server.index));
        totals.unwrap_or_default()
    }

    /// How much each server of a service has to do, by its place.
    #[must_use]
    pub fn loads(&self, service: ServiceId) -> Vec<ServerWork> {
        let Some(entry) = self.service(service) else {
            return Vec::new();
        };
        let servers = entry.servers();
        let work = |(place, member): (usize, &Member)| {
            let (mut answered, mut nanos) = (0, 0);
            let workers = entry.counters().iter();
            for counters in workers.filter_map(|worker| worker.server_if_used(place)) {
                answered += counters.answered.value();
                nanos += counters.answer_nanos.value();
            }
            ServerWork {
                in_flight: member.state.in_flight(),
                answered,
                busy: Duration::from_nanos(nanos),
            }
        };
        servers
            .pool()
            .members()
            .iter()
            .enumerate()
            .map(work)
            .collect()
    }
}

/// A server's totals since the start.
pub(super) fn server_totals(entry: &ServiceEntry, server: u32) -> ServerTotals {
    let mut sum = ServerTotals::default();
    let workers = entry.counters().iter();
    for counters in workers.filter_map(|service| service.server_if_used(server as usize)) {
        for (place, attempts) in counters.attempts.iter().enumerate() {
            sum.attempts += attempts.value();
            sum.failures += if is_failure(place) {
                attempts.value()
            } else {
                0
            };
        }
        sum.durations.merge(&counters.durations.snapshot());
    }
    sum
}
