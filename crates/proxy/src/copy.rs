//! The way of a copy: one attempt on one server of the other service, whose answer is read and thrown away.
//!
//! It is an ordinary attempt to that service: it counts in its metrics, as load of its server, and as a signal. It is
//! never tried again, and no retry budget knows of it. Everything has an end: connecting and the answer's head by the
//! other service's timeouts, the answer's body by [`BODY_TIME`] and [`BODY_BYTES`].

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use evenkeel_connect::connect;
use evenkeel_core::{Instant, Outcome, ServerId, ServiceId};
use evenkeel_http1::{Body, Method, Parsed, ResponseHead, head_end};
use evenkeel_request::Cause;
use tokio::io::AsyncWrite;

use crate::buffer::Buffer;
use crate::client::poll_fill;
use crate::flight::Flight;
use crate::mirror::{FAILED, SENT};
use crate::roster::Roster;
use crate::state::ServiceEntry;
use crate::talk::{INTERIM_LIMIT, RESPONSE_LIMITS};
use crate::timer::Timer;
use crate::upstream::Upstream;
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

/// A copy's connection.
struct Line {
    upstream: Upstream,
    timer: Timer,
    incoming: Buffer,
    head: ResponseHead,
    sent: usize,
    received: u64,
}

/// How the body of an answer ended.
enum BodyEnd {
    /// It is over; the connection may carry another request or not.
    Whole { reusable: bool },
    /// Nobody wanted to read more of it.
    Enough,
    /// The server ended early, or what it sent was not a body.
    Truncated,
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
        line.timer.set(ended + BODY_TIME);
        line.incoming.consume(line.head.length);
        let end = line.read_body().await;
        let broken = matches!(end, BodyEnd::Truncated);
        if broken {
            let now = worker.clock.now();
            flight.came_to(now, Outcome::Truncated, Duration::ZERO);
            worker.server_counters(server).attempts[Outcome::Truncated.place()].add_from_owner(1);
            worker.signal(now, server, Outcome::Truncated, Duration::ZERO);
        }
        let reusable = matches!(end, BodyEnd::Whole { reusable: true });
        line.end(worker, server, reusable);
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
        let flight = Flight::begin(member, &service.queue, picker.typical_latency())?;
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
        let counters = self.worker.server_counters(server);
        let generation = roster.generation(server.index);
        let kept = self.worker.upstreams.take(server, generation);
        let upstream = if let Some(kept) = kept {
            counters.reused.add_from_owner(1);
            kept
        } else {
            let Some(address) = roster.address(server.index) else {
                return (Outcome::Unreachable, None);
            };
            let stream = match connect(address, service.timeout.connect).await {
                Ok(stream) => stream,
                Err(outcome) => return (outcome, None),
            };
            counters.connections.add_from_owner(1);
            Upstream {
                stream,
                reused: false,
                generation,
            }
        };
        let mut line = Line {
            upstream,
            timer: self.worker.timers.timer(),
            incoming: self.worker.buffers.take(),
            head: ResponseHead::default(),
            sent: 0,
            received: 0,
        };
        let end = begun + service.timeout.connect + service.timeout.attempt;
        line.timer.set(end.min(begun + service.timeout.total));
        line.write(bytes).await;
        let result = line.read_head(self.method).await;
        counters.bytes_sent.add_from_owner(line.sent as u64);
        match result {
            Ok(status) => (Outcome::Answered(status), Some(line)),
            Err(outcome) => {
                line.end(&self.worker, server, false);
                (outcome, None)
            }
        }
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

impl Line {
    /// Sends the request. If the server does not take it, its answer says more than that.
    async fn write(&mut self, bytes: &[u8]) {
        poll_fn(|cx| {
            while self.sent < bytes.len() {
                let stream = Pin::new(&mut self.upstream.stream);
                match stream.poll_write(cx, &bytes[self.sent..]) {
                    Poll::Ready(Ok(n)) if n > 0 => self.sent += n,
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending if self.timer.poll_expired(cx) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Waits for the answer's head, past interim ones.
    async fn read_head(&mut self, method: Method) -> Result<u16, Outcome> {
        let mut interim = 0;
        let mut scanned = 0_usize;
        loop {
            // A head that dribbles is looked at as a whole only once, when its end is there.
            let unread = self.incoming.unread();
            let whole = head_end(unread, scanned.saturating_sub(3)).is_some();
            scanned = unread.len();
            if whole {
                let parsed = self
                    .head
                    .parse(self.incoming.unread(), method, &RESPONSE_LIMITS);
                match (parsed, self.head.status) {
                    (Ok(Parsed::Complete), 101) | (Err(_), _) => return Err(Outcome::BadResponse),
                    (Ok(Parsed::Complete), 100..=199) if interim < INTERIM_LIMIT => {
                        interim += 1;
                        self.incoming.consume(self.head.length);
                        scanned = 0;
                        continue;
                    }
                    (Ok(Parsed::Complete), 100..=199) => return Err(Outcome::BadResponse),
                    (Ok(Parsed::Complete), status) => return Ok(status),
                    (Ok(Parsed::Partial), _) => {}
                }
            }
            match self.more().await {
                Some(0) if self.incoming.spare().is_empty() => return Err(Outcome::BadResponse),
                Some(0) => return Err(self.reset()),
                Some(_) => {}
                None => return Err(Outcome::AttemptTimeout),
            }
        }
    }

    /// Reads the answer's body to its end, or until it is enough.
    async fn read_body(&mut self) -> BodyEnd {
        let mut body = Body::new(self.head.framing);
        let mut read = 0;
        loop {
            if !body.is_done() && !self.incoming.is_empty() {
                let Ok(progress) = body.advance(self.incoming.unread()) else {
                    return BodyEnd::Truncated;
                };
                self.incoming.consume(progress.taken);
                read += progress.taken;
            }
            if body.is_done() {
                let reusable = self.head.keep_alive && self.incoming.is_empty();
                return BodyEnd::Whole { reusable };
            }
            if read >= BODY_BYTES {
                return BodyEnd::Enough;
            }
            match self.more().await {
                Some(0) if body.end_of_stream().is_ok() => {
                    return BodyEnd::Whole { reusable: false };
                }
                Some(0) => return BodyEnd::Truncated,
                Some(_) => {}
                None => return BodyEnd::Enough,
            }
        }
    }

    /// Reads more; 0 at the end, nothing when the time is over.
    async fn more(&mut self) -> Option<usize> {
        let read =
            poll_fn(
                |cx| match poll_fill(&mut self.upstream.stream, &mut self.incoming, cx) {
                    Poll::Ready(read) => Poll::Ready(Some(read.unwrap_or(0))),
                    Poll::Pending if self.timer.poll_expired(cx) => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                },
            )
            .await;
        self.received += read.unwrap_or(0) as u64;
        read
    }

    /// The connection ended before a head.
    const fn reset(&self) -> Outcome {
        match (self.sent > 0, self.upstream.reused) {
            (false, true) => Outcome::Stale,
            (sent, _) => Outcome::Reset { sent },
        }
    }

    /// Gives back what it holds; the connection as well if it can be used again.
    fn end(self, worker: &Worker, server: ServerId, reusable: bool) {
        let received = &worker.server_counters(server).bytes_received;
        received.add_from_owner(self.received);
        worker.buffers.give(self.incoming);
        if reusable {
            let now = worker.clock.now();
            worker.upstreams.give(server, self.upstream, now);
        }
    }
}
