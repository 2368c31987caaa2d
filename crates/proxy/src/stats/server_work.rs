//! What servers have done and have to do, for whoever looks at them: read from counters that there are anyway.

use std::time::Duration;

use evenkeel_balance::Member;
use evenkeel_core::metric::DurationSnapshot;
use evenkeel_core::{ServerId, ServiceId};

use crate::stats::counters::is_failure;
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
        let mut sum = ServerTotals::default();
        for counters in self
            .counters(server.service)
            .filter_map(|service| service.server_if_used(server.index as usize))
        {
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

    /// How much each server of a service has to do, by its place.
    #[must_use]
    pub fn loads(&self, service: ServiceId) -> Vec<ServerWork> {
        let Some(entry) = self.services().get(service.0 as usize) else {
            return Vec::new();
        };
        let servers = entry.servers();
        let work = |(place, member): (usize, &Member)| {
            let (mut answered, mut nanos) = (0, 0);
            let workers = self.counters(service);
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

    pub(crate) fn queued(&self, service: ServiceId) -> u64 {
        let entry = self.services().get(service.0 as usize);
        entry.map_or(0, |entry| entry.service().queued())
    }

    pub(crate) fn shed(&self, service: ServiceId) -> u64 {
        let entry = self.services().get(service.0 as usize);
        entry.map_or(0, |entry| entry.service().shed())
    }
}
