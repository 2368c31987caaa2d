//! An attempt under way, as the balancer counts it: whatever ends it, also a panic, it is counted out once.

use std::time::Duration;

use evenkeel_core::{Instant, Outcome};

use super::Service;
use super::server_set::ServerSet;
use super::watch::Watched;

/// An attempt that is counted in at a server, and has to be counted out with [`InFlight::end`]. Plain data, so that whoever owns the set
/// of servers can own this beside it; [`InFlightGuard`] ends by itself.
#[derive(Debug)]
pub(crate) struct InFlight {
    server: u32,
    /// What it reports to what watches the server, if anything does.
    watched: Option<Watched>,
    /// What an attempt takes at present in the whole service.
    typical: Duration,
    at: Instant,
    outcome: Outcome,
    latency: Duration,
}

impl InFlight {
    /// `None` if the server has as many requests as it may, or if its breaker lets nothing through.
    pub(crate) fn begin(
        servers: &ServerSet,
        server: u32,
        typical: Duration,
        now: Instant,
    ) -> Option<Self> {
        let member = servers.pool().members().get(server as usize)?;
        if !member.begin() {
            return None;
        }
        let mut in_flight = Self {
            server,
            watched: None,
            typical,
            at: now,
            outcome: Outcome::Cancelled,
            latency: Duration::ZERO,
        };
        if let Some(watch) = servers.watch(server) {
            in_flight.watched = watch.begin(member, now);
            if in_flight.watched.is_none() {
                // The picker may pick it again, and nobody has to be told that a slot is free.
                in_flight.count_out(servers);
                return None;
            }
        }
        Some(in_flight)
    }

    /// How it ended; a later report replaces an earlier one.
    pub(crate) const fn came_to(&mut self, at: Instant, outcome: Outcome, latency: Duration) {
        self.at = at;
        self.outcome = outcome;
        self.latency = latency;
    }

    /// Counts it out, with what was reported by `now`, and lets the next request in the queue look for a server.
    pub(crate) fn end(mut self, service: &Service, servers: &ServerSet, now: Instant) {
        self.count_out(servers);
        service.queue.free_one(now);
    }

    fn count_out(&mut self, servers: &ServerSet) {
        let Some(member) = servers.pool().members().get(self.server as usize) else {
            return;
        };
        let state = &member.state;
        state.end(self.at, self.outcome, self.latency, self.typical);
        if let Some((watch, watched)) = servers.watch(self.server).zip(self.watched.take()) {
            watch.ended(watched, state, (self.at, self.outcome, self.latency));
        }
    }
}

/// An attempt under way that is counted out when this is dropped.
#[derive(Debug)]
pub struct InFlightGuard<'a> {
    service: &'a Service,
    servers: &'a ServerSet,
    in_flight: Option<InFlight>,
}

impl<'a> InFlightGuard<'a> {
    /// `None` if the server has as many requests as it may, or if its breaker lets nothing through. `typical`: what an attempt takes at
    /// present in the whole service.
    #[must_use]
    pub fn begin(
        service: &'a Service,
        servers: &'a ServerSet,
        server: u32,
        typical: Duration,
        now: Instant,
    ) -> Option<Self> {
        let in_flight = InFlight::begin(servers, server, typical, now)?;
        Some(Self {
            service,
            servers,
            in_flight: Some(in_flight),
        })
    }

    /// How it ended; a later report replaces an earlier one.
    pub const fn came_to(&mut self, at: Instant, outcome: Outcome, latency: Duration) {
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.came_to(at, outcome, latency);
        }
    }
}

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        if let Some(in_flight) = self.in_flight.take() {
            let at = in_flight.at;
            in_flight.end(self.service, self.servers, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use evenkeel_core::Random;
    use evenkeel_tolerate::Class;
    use evenkeel_tolerate::queue::DequeueReason;

    use super::*;
    use crate::service::tests::options;

    /// The response's head had come before that.
    #[test]
    fn a_request_that_has_waited_too_long_when_an_attempt_ends_is_not_called() {
        let service = Service::new(options(1), Instant::ZERO, &mut Random::seeded(1));
        let servers = service.servers();
        let at = Instant::from_millis;
        let mut attempt = InFlight::begin(&servers, 0, Duration::ZERO, at(0)).expect("no limit");
        let waiting = service
            .queue
            .enter(at(0), Class::Critical, at(50), Duration::ZERO)
            .expect("room");
        attempt.came_to(at(10), Outcome::Answered(200), Duration::from_millis(10));
        attempt.end(&service, &servers, at(60));
        assert_eq!(waiting.reason(), Some(DequeueReason::Expired));
    }

    /// The picker looks at the limit first, but several workers may have looked before one of them begins.
    #[test]
    fn a_server_never_has_more_in_flight_than_its_limit() {
        for (limit, workers) in [(1, 2), (3, 4)] {
            let mut options = options(1);
            options.servers[0].max_requests = limit;
            let service = Service::new(options, Instant::ZERO, &mut Random::seeded(1));
            let servers = service.servers();
            let begin = || InFlight::begin(&servers, 0, Duration::ZERO, Instant::ZERO);
            let end = |attempt: InFlight| attempt.end(&service, &servers, Instant::ZERO);
            let all: Vec<_> = (0..=limit).map(|_| begin()).collect();
            assert_eq!(all.iter().flatten().count(), limit as usize);
            all.into_iter().flatten().for_each(end);

            let (in_flight, most) = (AtomicU32::new(0), AtomicU32::new(0));
            let order = Ordering::SeqCst;
            let worker = || {
                // Who has one and who has none lets another go on: so they meet where a limit is looked at and not yet taken.
                for _ in 0..100_000 {
                    let attempt = begin();
                    if attempt.is_some() {
                        most.fetch_max(in_flight.fetch_add(1, order) + 1, order);
                    }
                    std::thread::yield_now();
                    if let Some(attempt) = attempt {
                        in_flight.fetch_sub(1, order);
                        end(attempt);
                    }
                }
            };
            std::thread::scope(|scope| {
                (0..workers).for_each(|_| drop(scope.spawn(worker)));
            });
            assert!(most.load(order) <= limit, "{most:?} at once");
            assert_eq!(servers.pool().members()[0].state.in_flight(), 0);
        }
    }
}
