//! An attempt that evenkeel makes for no client: a copy of a request for another service, or one that fetches an answer anew.
//!
//! It is an ordinary attempt to its service: it counts as load of its server, in the server's metrics, and as a signal. It
//! waits for no place, is never tried again, and no retry budget knows of it. Connecting and the answer's head end by the service's
//! timeouts; whoever reads the body sees to its end.

use std::rc::Rc;
use std::time::Duration;

use evenkeel_core::blame::AttemptPhase;
use evenkeel_core::{Instant, Outcome, RequestShape};
use evenkeel_http1::Method;
use evenkeel_request::Cause;
use evenkeel_request::service::{InFlightGuard, ServerSet};
use evenkeel_tolerate::TimeoutOptions;

use crate::upstream::client::{BodyEnd, UpstreamClient};
use crate::upstream::deadlines::earlier;
use crate::upstream::idle_timeout::Reuse;
use crate::upstream::load_report;
use crate::upstream::retry_after;
use crate::worker::Worker;
use crate::worker::worker_snapshot::WorkerService;

/// What is asked, of which service.
#[derive(Debug)]
pub(crate) struct BackgroundRequest {
    pub(crate) worker: Rc<Worker>,
    pub(crate) service: Rc<WorkerService>,
    pub(crate) method: Method,
    /// What it is hashed on, if the service's policy hashes.
    pub(crate) key: Option<u64>,
    /// How long its steps may take.
    pub(crate) timeout: TimeoutOptions,
}

/// An answer whose head has come.
#[derive(Debug)]
pub(crate) struct Answered<'s> {
    pub(crate) line: UpstreamClient,
    /// When its head had come.
    pub(crate) at: Instant,
    server: u32,
    /// Which of the servers that have been at this place it is.
    generation: u64,
    in_flight: InFlightGuard<'s>,
}

impl BackgroundRequest {
    /// Makes the attempt, and counts it.
    ///
    /// # Errors
    /// There was no answer. The status that stands for it.
    pub(crate) async fn ask<'s>(
        &'s self,
        servers: &'s ServerSet,
        bytes: Vec<u8>,
    ) -> Result<Answered<'s>, u16> {
        let worker = &*self.worker;
        // Copies and renewals are requests of the service, too.
        if self.service.entry.in_maintenance() {
            return Err(Cause::Maintenance.status());
        }
        let started = worker.clock.now();
        let Some((server, mut in_flight)) = self.place(servers, started) else {
            return Err(Cause::NoServer.status());
        };
        let (outcome, line) = self.attempt(servers, server, started, &bytes).await;
        drop(bytes);
        let at = worker.clock.now();
        let latency = at.since(started);
        in_flight.came_to(at, outcome, latency);
        let generation = servers.generation(server);
        let durations = &self.service.counters.server(server).durations;
        durations.add_from_owner(latency);
        self.signal(at, (server, generation), outcome, latency);
        let Some(line) = line else {
            self.service.count_attempt(server, outcome);
            return Err(Cause::of_outcome(outcome).map_or(502, Cause::status));
        };
        self.hear(servers, server, &line, at);
        Ok(Answered {
            line,
            at,
            server,
            generation,
            in_flight,
        })
    }

    /// Its body has ended so. Whether it broke off.
    pub(crate) fn over(&self, answered: Answered<'_>, end: BodyEnd) -> bool {
        let Answered {
            line,
            server,
            generation,
            mut in_flight,
            ..
        } = answered;
        let outcome = match end {
            BodyEnd::Broken(event) => line.judge(event, AttemptPhase::Streaming, false).outcome,
            BodyEnd::Whole { .. } | BodyEnd::Enough | BodyEnd::Late => {
                Outcome::Answered(line.head.status)
            }
        };
        self.service.count_attempt(server, outcome);
        let broken = matches!(end, BodyEnd::Broken(_));
        if broken {
            let now = self.worker.clock.now();
            in_flight.came_to(now, outcome, Duration::ZERO);
            let at = (server, generation);
            self.signal(now, at, outcome, Duration::ZERO);
        }
        let reusable = matches!(end, BodyEnd::Whole { reusable: true });
        self.end(line, server, reusable);
        broken
    }

    /// What the head of an answer says about the server itself: how busy it is, and that it wants to be left alone. The attempt is not
    /// made again, so nobody waits because of it.
    fn hear(&self, servers: &ServerSet, server: u32, line: &UpstreamClient, at: Instant) {
        let state = &servers.pool().members()[server as usize].state;
        let (head, bytes) = (&line.head, line.incoming.unread());
        let name = self.service.entry.load_header.as_deref();
        if let Some(load) = name.and_then(|name| load_report::reported(head, bytes, name)) {
            state.report_load(at, load);
        }
        if let Some(pause) = retry_after::asked(head, bytes) {
            state.relieve(at, pause);
        }
    }

    /// A server that takes it now.
    fn place<'s>(
        &'s self,
        servers: &'s ServerSet,
        now: Instant,
    ) -> Option<(u32, InFlightGuard<'s>)> {
        let entry = &self.service.entry;
        // A client's request that waits goes before it.
        if entry.waiting() > 0 {
            return None;
        }
        let picker = &mut self.service.picker().borrow_mut();
        let pick = picker.pick_for(servers.pool(), now, &[], self.key).ok()?;
        let typical = picker.typical_latency();
        let service = entry.service();
        let in_flight = InFlightGuard::begin(service, servers, pick.index, typical, now)?;
        self.worker.ask(&self.service, picker, servers, now);
        let picks = &self.service.counters.server(pick.index).picks;
        picks[pick.reason.index()].add_from_owner(1);
        Some((pick.index, in_flight))
    }

    /// A connection, the request, the answer's head; the line is there if the head is.
    async fn attempt(
        &self,
        servers: &ServerSet,
        server: u32,
        begun: Instant,
        bytes: &[u8],
    ) -> (Outcome, Option<UpstreamClient>) {
        let Some(address) = servers.address(server) else {
            return (Outcome::Unreachable, None);
        };
        let at = (address, servers.generation(server));
        let timeout = &self.timeout;
        let times = (timeout.connect, timeout.total);
        let to = (&self.service, server);
        let opened = UpstreamClient::open(&self.worker, to, at, Reuse::Once, times).await;
        let mut line = match opened {
            Ok(line) => line,
            Err(outcome) => return (outcome, None),
        };
        let counters = self.service.counters.server(server);
        if line.is_reused() {
            counters.reused.add_from_owner(1);
        }
        let end = begun + timeout.connect + timeout.attempt;
        line.until(earlier(end, begun + timeout.total));
        let sent = Some(&counters.bytes_sent);
        match line.ask(bytes, self.method, sent).await {
            Ok(status) => (Outcome::Answered(status), Some(line)),
            Err(outcome) => {
                self.end(line, server, false);
                (outcome, None)
            }
        }
    }

    fn end(&self, line: UpstreamClient, server: u32, reusable: bool) {
        let received = &self.service.counters.server(server).bytes_received;
        received.add_from_owner(line.received);
        line.end(&self.worker, reusable);
    }

    /// Says what the attempt has shown of the server, unless another one is at its place by now.
    fn signal(
        &self,
        at: Instant,
        (server, generation): (u32, u64),
        outcome: Outcome,
        latency: Duration,
    ) {
        if self.service.servers().generation(server) == generation {
            // Copies and renewals are of all kinds; the requests themselves say which kind fails.
            let shape = RequestShape::UNKNOWN;
            let server = self.service.server_id(server);
            self.worker.signal(at, server, outcome, latency, shape);
        }
    }
}
