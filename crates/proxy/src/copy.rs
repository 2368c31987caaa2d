//! The way of a copy: one attempt on one server of the other service, whose answer is read and thrown away.
//!
//! It is an ordinary attempt to that service: it counts in its metrics, as load of its server, and as a signal. It is
//! never tried again, and no retry budget knows of it. Everything has an end: connecting and the answer's head by the
//! other service's timeouts, the answer's body by [`BODY_TIME`] and [`BODY_BYTES`].

use std::rc::Rc;
use std::time::Duration;

use evenkeel_core::{Instant, Outcome, ServerId, ServiceId};
use evenkeel_http1::Method;
use evenkeel_request::Cause;

use crate::flight::Flight;
use crate::line::{BodyEnd, Line};
use crate::mirror::{FAILED, SENT};
use crate::roster::Roster;
use crate::state::ServiceEntry;
use crate::worker::Worker;

/// How long an answer's body is read; then the connection is closed.
const BODY_TIME: Duration = Duration::from_secs(10);
/// How much of an answer's body is read; then the connection is closed.
const BODY_BYTES: usize = 1024 * 1024;

/// A copy under way. Counted in when it is made and out when it is dropped.
#[derive(Debug)]
pub(crate) struct Copy {
    worker: Rc<Worker>,
    /// Its pair of services.
    place: usize,
    to: ServiceId,
    method: Method,
    key: Option<u64>,
}

impl Copy {
    pub(crate) fn new(
        worker: Rc<Worker>,
        place: usize,
        to: ServiceId,
        method: Method,
        key: Option<u64>,
    ) -> Self {
        let under_way = &worker.copies[place];
        under_way.set(under_way.get() + 1);
        Self {
            worker,
            place,
            to,
            method,
            key,
        }
    }

    /// Makes the attempt, and counts it.
    pub(crate) async fn travel(self, bytes: Vec<u8>) {
        let worker = &*self.worker;
        let service = &worker.state.services()[self.to.0 as usize];
        let started = worker.clock.now();
        let roster = worker.roster(self.to);
        let Some((server, mut flight)) = self.place(service, &roster, started) else {
            self.finish(started, Cause::NoServer.status(), true, FAILED);
            return;
        };
        let member = &roster.pool().members()[server.index as usize];
        let (outcome, line) = self
            .attempt((service, &roster), server, started, &bytes)
            .await;
        drop(bytes);
        let ended = worker.clock.now();
        let latency = ended.since(started);
        flight.came_to(ended, outcome, latency);
        self.note(ended, server, outcome, latency);
        let Some(mut line) = line else {
            let status = Cause::of_outcome(outcome).map_or(502, Cause::status);
            self.finish(started, status, true, FAILED);
            return;
        };
        let head = (&line.head, line.incoming.unread());
        service.hear(&member.state, ended, head);
        let status = line.head.status;
        line.until(ended + BODY_TIME);
        let end = line.read_body(BODY_BYTES, None).await;
        let broken = matches!(end, BodyEnd::Truncated);
        if broken {
            let now = worker.clock.now();
            flight.came_to(now, Outcome::Truncated, Duration::ZERO);
            worker.server_counters(server).attempts[Outcome::Truncated.place()].add_from_owner(1);
            worker.signal(now, server, Outcome::Truncated, Duration::ZERO);
        }
        let reusable = matches!(end, BodyEnd::Whole { reusable: true });
        self.end(line, server, reusable);
        self.finish(started, status, broken, SENT);
    }

    /// A server that takes it now: a copy never waits for one.
    fn place<'s>(
        &self,
        service: &'s ServiceEntry,
        roster: &'s Roster,
        now: Instant,
    ) -> Option<(ServerId, Flight<'s>)> {
        let picker = &mut self.worker.pickers.borrow_mut()[self.to.0 as usize];
        let pick = picker.pick_for(roster.pool(), now, &[], self.key).ok()?;
        let member = &roster.pool().members()[pick.index as usize];
        let at = (member, roster.watch(pick.index));
        let flight = Flight::begin(at, &service.queue, picker.typical_latency(), now)?;
        self.worker.ask((self.to, service), picker, roster, now);
        let server = ServerId {
            service: self.to,
            index: pick.index,
        };
        let picks = &self.worker.server_counters(server).picks;
        picks[pick.reason.place()].add_from_owner(1);
        Some((server, flight))
    }

    /// A connection, the request, the answer's head; the line is there if the head is.
    async fn attempt(
        &self,
        (service, roster): (&ServiceEntry, &Roster),
        server: ServerId,
        begun: Instant,
        bytes: &[u8],
    ) -> (Outcome, Option<Line>) {
        let Some(address) = roster.address(server.index) else {
            return (Outcome::Unreachable, None);
        };
        let at = (address, roster.generation(server.index));
        let opened = Line::open(&self.worker, server, at, service.policies.timeout.connect).await;
        let mut line = match opened {
            Ok(line) => line,
            Err(outcome) => return (outcome, None),
        };
        let counters = self.worker.server_counters(server);
        if line.is_reused() {
            counters.reused.add_from_owner(1);
        }
        let end = begun + service.policies.timeout.connect + service.policies.timeout.attempt;
        line.until(end.min(begun + service.policies.timeout.total));
        line.write(bytes).await;
        let result = line.read_head(self.method).await;
        counters.bytes_sent.add_from_owner(line.sent as u64);
        match result {
            Ok(status) => (Outcome::Answered(status), Some(line)),
            Err(outcome) => {
                self.end(line, server, false);
                (outcome, None)
            }
        }
    }

    fn end(&self, line: Line, server: ServerId, reusable: bool) {
        let received = &self.worker.server_counters(server).bytes_received;
        received.add_from_owner(line.received);
        line.end(&self.worker, server, reusable);
    }

    fn note(&self, at: Instant, server: ServerId, outcome: Outcome, latency: Duration) {
        let counters = self.worker.server_counters(server);
        counters.attempts[outcome.place()].add_from_owner(1);
        counters.durations.add_from_owner(latency);
        self.worker.signal(at, server, outcome, latency);
    }

    /// Counts it as a request of the other service, and as a copy.
    fn finish(&self, started: Instant, status: u16, broken: bool, result: usize) {
        let counters = self.worker.service_counters(self.to.0 as usize);
        counters.statuses.add_one(status);
        let took = self.worker.clock.now().since(started);
        counters.durations.add_from_owner(took);
        if status >= 500 || broken {
            counters.failed.add_from_owner(1);
        }
        self.worker.count_copy(self.place, result);
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let under_way = &self.worker.copies[self.place];
        under_way.set(under_way.get() - 1);
    }
}
