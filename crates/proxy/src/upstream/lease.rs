//! An attempt's lease of a server: a connection, new or from the pool. With HTTP/2, a stream of a shared connection becomes a
//! second variant.
//!
//! The rule of the pool is here: a connection returns to it only through [`UpstreamLease::complete`], when both directions are
//! complete. Every other end of a lease, including a drop, closes the connection.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use evenkeel_connect::Stream;
use evenkeel_core::blame::{AttemptPhase, EndContext, EndEvent, Judgement, Sent, TimeLimit, judge};
use evenkeel_core::{Instant, Outcome, ServerId};
use evenkeel_http1::ResponseHead;

use crate::stats::counters::ServerCounters;
use crate::upstream::connect::connect;
use crate::upstream::idle_timeout::Reuse;
use crate::worker::Worker;
use crate::worker::client_watch::WatchedClient;
use crate::worker::worker_snapshot::WorkerService;

/// A connection to a server, leased to one attempt.
#[derive(Debug)]
pub(crate) struct UpstreamLease {
    stream: Stream,
    service: Rc<WorkerService>,
    /// The server's index in the service.
    server: u32,
    /// Tells the server from others that have been in its slot.
    generation: u64,
    /// How long the connection was idle before it was taken from the pool; `None` if it is new.
    idle: Option<Duration>,
}

impl UpstreamLease {
    /// A pooled connection to this server that may be used for such a request, if there is one.
    pub(crate) fn pooled(
        service: &Rc<WorkerService>,
        server: u32,
        generation: u64,
        reuse: Reuse,
        now: Instant,
    ) -> Option<Self> {
        let ended = &service.counters.pool;
        let taken = service
            .upstreams()
            .take(server, (generation, reuse), (now, ended))?;
        Some(Self {
            stream: taken.stream,
            service: Rc::clone(service),
            server,
            generation,
            idle: Some(taken.idle),
        })
    }

    /// Connects within `timeout`, or within the time left for the request if that is less: a server that did not have the whole
    /// timeout is not blamed. `at`: the server's address and generation.
    ///
    /// # Errors
    /// The outcome of the attempt.
    pub(crate) async fn connect(
        worker: &Worker,
        (service, server): (&Rc<WorkerService>, u32),
        (address, generation): (SocketAddr, u64),
        (timeout, left): (Duration, Duration),
    ) -> Result<Self, Outcome> {
        let counters = service.counters.server(server);
        match connect(worker, counters, address, timeout.min(left)).await {
            Ok(stream) => Ok(Self {
                stream,
                service: Rc::clone(service),
                server,
                generation,
                idle: None,
            }),
            Err(Outcome::ConnectTimeout) if left < timeout => {
                Err(judge(EndEvent::Late(TimeLimit::Total), EndContext::CONNECTING).outcome)
            }
            Err(outcome) => Err(outcome),
        }
    }

    pub(crate) fn server(&self) -> ServerId {
        self.service.server_id(self.server)
    }

    /// The worker's numbers of the server.
    pub(crate) fn counters(&self) -> &ServerCounters {
        self.service.counters.server(self.server)
    }

    /// Whether the connection has carried a request before this one.
    pub(crate) const fn is_reused(&self) -> bool {
        self.idle.is_some()
    }

    /// Judges how the attempt ended, after so much of the request was sent. `clean`: the server keeps the connection open, and
    /// sent nothing after the response.
    pub(crate) const fn judge(
        &self,
        event: EndEvent,
        phase: AttemptPhase,
        sent: Sent,
        clean: bool,
    ) -> Judgement {
        judge(
            event,
            EndContext {
                phase,
                sent,
                reused: self.is_reused(),
                clean,
            },
        )
    }

    /// The connection itself, for the protocol that runs on it.
    pub(super) const fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Watches the connection for a reset while nothing is read from it.
    pub(crate) fn watch(&self, worker: &Worker) -> WatchedClient {
        worker.watcher.watch(&self.stream)
    }

    /// Makes the end of this lease a reset for the server.
    pub(crate) fn reset_on_close(&self) {
        self.stream.reset_on_close();
    }

    /// Ends the lease after a response with this head. If it is `reusable` ([`Judgement::may_keep`]: both directions are complete
    /// and the server keeps the connection open), the connection returns to the pool.
    pub(crate) fn complete(self, reusable: bool, head: &ResponseHead, now: Instant) {
        if reusable {
            let ended = &self.service.counters.pool;
            let connection = (self.stream, self.generation);
            (self.service.upstreams()).give(self.server, connection, head, (now, ended));
        }
    }

    /// Ends the lease of an attempt that began at `begun` and failed with `outcome`: closes the connection. If the server closed a
    /// pooled connection without an answer, the pool takes its idle time as a hint of the server's idle timeout.
    pub(crate) fn abandon(self, outcome: Outcome, begun: Instant) {
        if let (Outcome::Stale | Outcome::Reset { .. }, Some(idle)) = (outcome, self.idle) {
            self.service.upstreams().lost(self.server, idle, begun);
        }
    }
}
