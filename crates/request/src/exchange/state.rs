//! What an exchange knows and holds, with what is read off it. Below the stages: it knows none of them.

use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use evenkeel_core::{ExactShape, Instant, Outcome, RequestShape, ServerId, ServiceId};
use evenkeel_tolerate::inject::Injected;
use evenkeel_tolerate::{AttemptFacts, Class, Deadline};

use super::active::{Current, Hedging};
use super::attempts::Attempts;
use super::fallback::{FallbackService, FallbackState};
use super::phase::Phase;
use crate::closed::Trial;
use crate::service::{CachedServerSet, Service};
use crate::{Cause, Policies};

/// One request.
#[derive(Debug)]
pub struct Exchange<'a> {
    pub(super) service_id: ServiceId,
    pub(super) service: &'a Service,
    /// What it goes by: its route's, or the service's.
    pub(super) policies: &'a Policies,
    /// The servers as they were when the request came.
    pub(super) servers: Rc<CachedServerSet>,
    pub(super) attempts: Attempts,
    pub(super) phase: Phase<'a>,
    /// The attempt that is under way, or whose response is passed on.
    pub(super) current: Option<Current>,
    /// The attempts beside it.
    pub(super) hedging: Option<Box<Hedging>>,
    pub(super) started: Instant,
    /// The latest moment that it knows of, for when it is dropped.
    pub(super) latest: Instant,
    pub(super) key: Option<u64>,
    pub(super) shape: RequestShape,
    /// What it asks for exactly, if its attempts are watched.
    pub(super) watched: Option<Box<ExactShape>>,
    /// Its route is closed, and it goes to a server all the same, to see how that ends.
    pub(super) trial: Option<Trial>,
    pub(super) class: Class,
    /// The server that the client belongs to, if it says so.
    pub(super) sticky: Option<u32>,
    pub(super) fallback: Option<Box<FallbackService<'a>>>,
    pub(super) fallen: FallbackState,
    pub(super) injected: Injected,
    /// Why it gets to no server, if that was decided when it came.
    pub(super) refused: Option<Cause>,
    /// When it began to wait for a server to come back, if it ever did.
    pub(super) held_since: Option<Instant>,
    /// When it was held back since it may end its servers, if it ever was.
    pub(super) doubted_since: Option<Instant>,
    /// When it began to wait in the queue, if it had to, for the attempt that is under way.
    pub(super) queued_since: Option<Instant>,
    /// It was told that there is a server without having waited for it, and found none.
    pub(super) hurried: bool,
    /// How many servers of the service had come back when its last attempt began.
    pub(super) returns_seen: u64,
    /// Nobody is left to be answered.
    pub(super) is_client_gone: bool,
    /// Whether the method is one that may be sent twice.
    pub(super) may_repeat: bool,
    /// Whether it asks for another protocol.
    pub(super) is_upgrade: bool,
}

impl<'a> Exchange<'a> {
    /// It is over: what it holds is given back.
    pub(super) fn end(&mut self) {
        self.phase = Phase::Done;
        self.trial = None;
        self.release();
        if let Some(hedging) = self.hedging.take() {
            hedging.release(self.service, &self.servers, self.latest);
        }
    }

    /// The attempt under way is counted out.
    pub(super) fn release(&mut self) {
        if let Some(current) = self.current.take() {
            (current.in_flight).end(self.service, &self.servers, self.latest);
        }
    }

    /// Has this woken when what [`super::Step::Wait`] waits for may have come. Whether it has come already.
    #[must_use]
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

    /// Whether attempts may be made beside the one that begins to be sent now: then [`super::Event::Connected`] is to be reported.
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

    /// Whether the first attempt may be given up because its server was taken out.
    #[must_use]
    pub fn may_rescue(&self, is_replayable: bool, now: Instant) -> bool {
        let current = self.current.as_ref();
        current.is_some_and(|current| self.may_rescue_from(current.server, is_replayable, now))
    }

    /// Whether an attempt on this server, the first one or one beside it, may be given up because the server was taken out.
    #[must_use]
    pub fn may_rescue_from(&self, server: u32, is_replayable: bool, now: Instant) -> bool {
        let facts = AttemptFacts {
            outcome: Outcome::Rescued,
            method_may_repeat: self.may_repeat,
            body_replayable: is_replayable,
            server,
            retry_after: None,
        };
        self.attempts.may_rescue(&facts, self.servers.pool(), now)
    }

    /// Whether a response whose body has so many bytes is to be held back until it is whole: while the request could be tried again.
    #[must_use]
    pub const fn holds_response(&self, bytes: usize, is_replayable: bool) -> bool {
        bytes <= self.policies.retry.response_buffer && self.may_repeat && is_replayable
    }

    /// The field that tells the client which server it belongs to from now on, if it does not know: name and value.
    #[must_use]
    pub fn sticky_field(&self, server: u32) -> Option<(&str, &str)> {
        match self.servers.sticky() {
            Some(sticky) if self.sticky != Some(server) => sticky.field(server),
            Some(_) | None => None,
        }
    }

    /// The client took so long to send its body: time that does not count against `timeout.total`.
    pub fn forgive(&mut self, waited: Duration) {
        self.attempts.forgive(waited);
    }

    pub(super) const fn id_of(&self, server: u32) -> ServerId {
        ServerId {
            service: self.service_id,
            index: server,
        }
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        self.end();
    }
}
