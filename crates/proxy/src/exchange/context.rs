//! One request on its way: its exchange, which decides, and what only evenkeel's own connections need to know of it.

use std::rc::Rc;

use evenkeel_core::{Instant, ServerId};
use evenkeel_http1::{Method, Version};
use evenkeel_request::cache::StoredValue;
use evenkeel_request::deadline::{DeadlineHeader, ROOM};
use evenkeel_request::exchange::{Event, Step};
use evenkeel_request::route::Route;
use evenkeel_request::{Exchange, Mirror, Policies, RequestId};

use super::host::RequestHost;
use crate::cache::key::CacheRequest;
use crate::cache::store::Answer;
use crate::exchange::io::ExchangeIo;
use crate::worker::Worker;
use crate::worker::service_entry::ServiceEntry;
use crate::worker::worker_snapshot::{WorkerService, WorkerSnapshot};

/// Where in a prepared head the time that is left stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeadlineSlot<'a> {
    pub(crate) header: &'a DeadlineHeader,
    pub(crate) at: usize,
}

/// A request that is to be copied, as soon as it has come as a whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlannedMirror<'a> {
    pub(crate) mirror: &'a Mirror,
    /// What it is hashed on, if the other service's policy hashes.
    pub(crate) key: Option<u64>,
}

/// One request on its way.
#[derive(Debug)]
pub(crate) struct RequestContext<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    /// The configuration that it began with.
    pub(crate) snapshot: &'a WorkerSnapshot,
    pub(crate) exchange: Exchange<'a>,
    /// The last look at the clock.
    pub(crate) latest: Instant,
    pub(crate) id: RequestId,
    pub(crate) method: Method,
    pub(crate) version: Version,
    /// The route that it came by, if one matched.
    pub(crate) route: Option<&'a Route>,
    /// Whether it is to be copied to another service.
    pub(crate) mirror: Option<PlannedMirror<'a>>,
    /// What it means to the answers that are kept, if any are.
    pub(crate) wanted: Option<Box<CacheRequest>>,
    /// The kept answer that it gets.
    pub(crate) cached: Option<Box<StoredValue<Answer>>>,
    /// Where the time that is left stands in the head for servers, if it does.
    pub(crate) room: Option<DeadlineSlot<'a>>,
    /// The attempts on the service that it came for, if another one answers and there is an access log to say them in.
    pub(crate) earlier_attempts: Option<Box<str>>,
    /// Whether the client's side would let the connection stay open.
    pub(crate) keep_alive: bool,
}

impl<'a> RequestContext<'a> {
    /// Tells the exchange what has happened by now ([`Self::latest`]), and says what comes next.
    pub(crate) fn next(&mut self, event: Event, io: &ExchangeIo<'_>) -> Step {
        let mut host = RequestHost {
            worker: self.worker,
            snapshot: self.snapshot,
            wanted: self.wanted.as_deref(),
            cached: &mut self.cached,
            earlier_attempts: &mut self.earlier_attempts,
            io,
        };
        self.exchange.next(event, self.latest, &mut host)
    }

    /// The same at this moment.
    pub(crate) fn next_now(&mut self, event: Event, io: &ExchangeIo<'_>) -> Step {
        self.latest = self.worker.clock.now();
        self.next(event, io)
    }

    /// The service that is asked now.
    pub(crate) fn service(&self) -> &'a Rc<WorkerService> {
        self.snapshot.service(self.exchange.service_id())
    }

    /// The same as all workers know it.
    pub(crate) fn entry(&self) -> &'a ServiceEntry {
        &self.service().entry
    }

    /// Its policies.
    pub(crate) const fn policies(&self) -> &'a Policies {
        self.exchange.policies()
    }

    pub(crate) const fn server_id(&self, index: u32) -> ServerId {
        ServerId {
            service: self.exchange.service_id(),
            index,
        }
    }

    /// Puts the time that is left now into a head that is about to be sent.
    pub(crate) fn tell_deadline(&self, head: &mut [u8]) {
        if let Some(DeadlineSlot { header, at }) = self.room
            && let Some(room) = head.get_mut(at..at + ROOM)
        {
            let now = self.worker.clock.now();
            header.write(room, self.exchange.deadline(), now);
        }
    }
}
