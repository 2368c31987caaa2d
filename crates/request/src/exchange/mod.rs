//! The control flow of one request: everything that is decided about it, without I/O.
//!
//! Whoever carries it out asks [`Exchange::next`] with what has happened, does the [`Step`] that it gets, and reports again. The exchange owns
//! what the request holds of its service: its in-flight counts, its place in the queue, its room among held requests. All of it is given
//! back when the exchange ends or is dropped. Until [`Step::PassOn`] nothing has reached the client, and every attempt can be taken back.
//!
//! ```text
//! Arrived ─► admission ─► select ─► Attempt ─► decide ─► PassOn ─► Done
//!                │           │ ▲        │         │
//!                │       queue, hold    hedge     ├─► back-off ─► select
//!                └───────────┴────────────────────┴─► no response: Reply, or the fallback service ─► select
//! ```

mod host;
mod attempts;
mod step;
mod arrive;
mod select;
mod queued;
mod held;
mod ended;
mod hedged;
mod no_response;

use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use evenkeel_core::{ExactShape, Instant, Outcome, RequestShape, ServerId, ServiceId};
use evenkeel_tolerate::inject::Injected;
use evenkeel_tolerate::{Class, Deadline};

use crate::closed::Trial;
use crate::service::in_flight::InFlight;
use crate::service::queue::Waiting;
use crate::service::{CachedServerSet, Service};
use crate::{Cause, Policies};

pub use arrive::Arrival;
pub use attempts::{AttemptRecord, Attempts, REMEMBERED};
pub use host::{
    AttemptReport, ClientDeadline, Count, FallbackResult, HedgeResult, Host, Revalidate, Services,
};
pub use step::{AttemptEnd, Event, FirstEnd, HedgeEnd, NoResponse, Reply, ResponseEnd, Step};

use hedged::Hedging;
use held::HeldRequest;
use no_response::FallbackService;

pub use no_response::FallbackState;

/// One request.
#[derive(Debug)]
pub struct Exchange<'a> {
    service_id: ServiceId,
    service: &'a Service,
    /// What it goes by: its route's, or the service's.
    policies: &'a Policies,
    /// The servers as they were when the request came.
    servers: Rc<CachedServerSet>,
    attempts: Attempts,
    phase: Phase<'a>,
    /// The attempt that is under way, or whose response is passed on.
    current: Option<Current>,
    /// The attempts beside it.
    hedging: Option<Box<Hedging>>,
    started: Instant,
    /// The latest moment that it knows of, for when it is dropped.
    latest: Instant,
    key: Option<u64>,
    shape: RequestShape,
    /// What it asks for exactly, if its attempts are watched.
    watched: Option<Box<ExactShape>>,
    /// Its route is closed, and it goes to a server all the same, to see how that ends.
    trial: Option<Trial>,
    class: Class,
    /// The server that the client belongs to, if it says so.
    sticky: Option<u32>,
    fallback: Option<Box<FallbackService<'a>>>,
    fallen: FallbackState,
    injected: Injected,
    /// Why it gets to no server, if that was decided when it came.
    refused: Option<Cause>,
    /// When it began to wait for a server to come back, if it ever did.
    held_since: Option<Instant>,
    /// It was told that there is a server without having waited for it, and found none.
    hurried: bool,
    /// How many servers of the service had come back when its last attempt began.
    returns_seen: u64,
    /// Nobody is left to be answered.
    is_client_gone: bool,
    /// Whether the method is one that may be sent twice.
    may_repeat: bool,
    /// Whether it asks for another protocol.
    is_upgrade: bool,
}

/// The attempt under way.
#[derive(Debug)]
struct Current {
    server: u32,
    begun: Instant,
    in_flight: InFlight,
    /// It is known whether others are made beside it.
    is_connected: bool,
}

/// What the exchange waits for.
#[derive(Debug)]
enum Phase<'a> {
    /// To be asked for the first time.
    New,
    /// For the time of an injected delay.
    Delayed(Instant),
    /// For its turn in the queue.
    Queued(Box<Waiting<'a>>),
    /// For a server to come back.
    Held(Box<HeldRequest<'a>>),
    /// For the end of an attempt.
    Attempting,
    /// For the time of the next attempt.
    BackingOff(Instant),
    /// For the end of a response that is passed on.
    Passing,
    /// For nothing.
    Done,
}

impl<'a> Exchange<'a> {
    /// What comes next, after this has happened at `now`.
    ///
    /// Events that do not fit what the exchange waits for are ignored: the step is the one that it had asked for.
    pub fn next(&mut self, event: Event, now: Instant, host: &mut impl Host<'a>) -> Step {
        self.latest = self.latest.max(now);
        if !self.expects(event) {
            return self.woken(now, host);
        }
        match event {
            Event::Ended(end) => self.attempt_ended(end, now, host),
            Event::Passed(end) => self.response_ended(end, now, host),
            Event::Woken => self.woken(now, host),
            Event::ClientGone => self.client_gone(now, host),
            Event::Aborted(cause) => self.attempt_aborted(cause, now, host),
            Event::Connected => self.connected(host),
            Event::HedgeDue => self.hedge_due(now, host),
            Event::FirstEnded(end) => self.first_ended(end, now, host),
            Event::HedgeEnded(end) => self.hedge_ended(end, now, host),
            Event::ServerOut => self.server_out(now, host),
        }
    }

    /// Whether the event fits what the exchange waits for.
    const fn expects(&self, event: Event) -> bool {
        match event {
            Event::Woken => true,
            Event::ClientGone => !matches!(self.phase, Phase::Passing | Phase::Done),
            Event::Passed(_) => matches!(self.phase, Phase::Passing),
            Event::Connected
            | Event::Ended(_)
            | Event::Aborted(_)
            | Event::HedgeDue
            | Event::FirstEnded(_)
            | Event::HedgeEnded(_)
            | Event::ServerOut => matches!(self.phase, Phase::Attempting),
        }
    }

    /// It has arrived, or what it waited for has come, or its time is over.
    fn woken(&mut self, now: Instant, host: &mut impl Host<'a>) -> Step {
        match &self.phase {
            Phase::New => self.arrived(now, host),
            Phase::Delayed(until) if now < *until => Step::Wait(*until),
            Phase::Delayed(_) => self.delay_over(now, host),
            Phase::Queued(_) => self.look_from_queue(now, host),
            Phase::Held(_) => self.look_from_hold(now, host),
            Phase::BackingOff(until) if now < *until => Step::Wait(*until),
            Phase::BackingOff(_) => self.select(now, host),
            Phase::Attempting => self.go_on(),
            Phase::Passing => Step::PassOn,
            Phase::Done => Step::Done,
        }
    }

    /// Nobody is left to be answered.
    fn client_gone(&mut self, now: Instant, host: &mut impl Host<'a>) -> Step {
        self.is_client_gone = true;
        if matches!(self.phase, Phase::Attempting) {
            return self.client_gone_in_attempt(now, host);
        }
        if let Phase::Held(_) = self.phase {
            self.held_in_vain(crate::hold::GaveUp::ClientGone);
        }
        if let Phase::Queued(waiting) = &mut self.phase {
            waiting.saw(now);
        }
        self.abort()
    }

    fn abort(&mut self) -> Step {
        self.end();
        Step::Abort
    }

    /// It is over: what it holds is given back.
    fn end(&mut self) {
        self.phase = Phase::Done;
        self.trial = None;
        self.release();
        if let Some(hedging) = self.hedging.take() {
            hedging.release(self.service, &self.servers, self.latest);
        }
    }

    /// The attempt under way is counted out.
    fn release(&mut self) {
        if let Some(current) = self.current.take() {
            (current.in_flight).end(self.service, &self.servers, self.latest);
        }
    }

    /// Has this woken when what [`Step::Wait`] waits for may have come. Whether it has come already.
    pub fn poll_wake(&self, waker: &Waker) -> bool {
        match &self.phase {
            Phase::Queued(waiting) => {
                waiting.register(waker);
                waiting.reason().is_some()
            }
            Phase::Held(held) => held.poll_wake(waker),
            Phase::New
            | Phase::Delayed(_)
            | Phase::Attempting
            | Phase::BackingOff(_)
            | Phase::Passing
            | Phase::Done => false,
        }
    }

    /// The service that is asked now.
    #[must_use]
    pub const fn service_id(&self) -> ServiceId {
        self.service_id
    }

    /// The same.
    #[must_use]
    pub const fn service(&self) -> &'a Service {
        self.service
    }

    /// What the request goes by now.
    #[must_use]
    pub const fn policies(&self) -> &'a Policies {
        self.policies
    }

    /// Its servers as they were when the request came.
    #[must_use]
    pub fn servers(&self) -> &CachedServerSet {
        &self.servers
    }

    /// The attempts on the service that is asked now.
    #[must_use]
    pub const fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    /// When the request came to the service that is asked now.
    #[must_use]
    pub const fn started(&self) -> Instant {
        self.started
    }

    /// The end of the time for the whole request.
    #[must_use]
    pub const fn deadline(&self) -> Deadline {
        self.attempts.deadline()
    }

    /// What the request asks for.
    #[must_use]
    pub const fn shape(&self) -> RequestShape {
        self.shape
    }

    /// What it is hashed on, if the service's policy hashes.
    #[must_use]
    pub const fn key(&self) -> Option<u64> {
        self.key
    }

    /// Whether the method is one that may be sent twice, to this service or, with a fallback service, to that one.
    #[must_use]
    pub fn may_ever_repeat(&self) -> bool {
        self.may_repeat || self.fallback.as_ref().is_some_and(|it| it.may_repeat)
    }

    /// Whether the method is one that may be sent twice to the service that is asked now.
    #[must_use]
    pub const fn may_repeat(&self) -> bool {
        self.may_repeat
    }

    /// The faults that were injected.
    #[must_use]
    pub const fn injected(&self) -> Injected {
        self.injected
    }

    /// What took the place of a missing response, if anything did.
    #[must_use]
    pub const fn fallen(&self) -> &FallbackState {
        &self.fallen
    }

    /// Whether attempts may be made beside the one that begins to be sent now: then [`Event::Connected`] is to be reported.
    #[must_use]
    pub const fn hedges(&self) -> bool {
        self.policies.hedge.is_some() && self.may_repeat && !self.is_upgrade
    }

    /// Whether the request would be sent again if its server closed the connection at that moment. `stays_replayable`: whether its body
    /// could be, however much of it is sent.
    #[must_use]
    pub const fn repeats_after_reset(&self, stays_replayable: bool) -> bool {
        let retry = &self.policies.retry;
        // The first such retry is free.
        let is_left = self.attempts.attempts() <= retry.limit;
        self.may_repeat && retry.on.reset && is_left && stays_replayable
    }

    /// Whether a response whose body has so many bytes is to be held back until it is whole: while the request could be tried again.
    #[must_use]
    pub const fn holds_response(&self, bytes: usize, is_replayable: bool) -> bool {
        bytes <= self.policies.retry.response_buffer && self.may_repeat && is_replayable
    }

    /// The line that tells the client which server it belongs to from now on, if it does not know.
    #[must_use]
    pub fn sticky_line(&self, server: u32) -> &[u8] {
        match self.servers.sticky() {
            Some(sticky) if self.sticky != Some(server) => sticky.line(server),
            Some(_) | None => &[],
        }
    }

    /// The client took so long to send its body: time that does not count against `timeout.total`.
    pub fn forgive(&mut self, waited: Duration) {
        self.attempts.forgive(waited);
    }

    const fn id_of(&self, server: u32) -> ServerId {
        ServerId {
            service: self.service_id,
            index: server,
        }
    }

    fn report(
        &self,
        server: u32,
        (at, outcome, latency): (Instant, Outcome, Duration),
    ) -> AttemptReport {
        AttemptReport {
            server: self.id_of(server),
            generation: self.servers.generation(server),
            has_changed: self.service.version() != self.servers.version(),
            at,
            outcome,
            latency,
            shape: self.shape,
        }
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        self.end();
    }
}
