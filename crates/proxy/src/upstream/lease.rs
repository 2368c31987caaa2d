//! An attempt's lease of a server: a connection, new or from the pool. With HTTP/2, a stream of a shared connection becomes a
//! second variant.
//!
//! The rule of the pool is here: a connection returns to it only through [`UpstreamLease::complete`], when both directions are
//! complete. Every other end of a lease, including a drop, closes the connection.

use std::time::Duration;

use evenkeel_connect::Stream;
use evenkeel_core::blame::{AttemptPhase, EndContext, EndEvent, Judgement, Sent, TimeLimit, judge};
use evenkeel_core::{Endpoint, Instant, Outcome, ServerId};
use evenkeel_http1::ResponseHead;

use crate::upstream::connect::connect;
use crate::upstream::idle_timeout::Reuse;
use crate::worker::Worker;
use crate::worker::client_watch::WatchedClient;

/// A connection to a server, leased to one attempt.
#[derive(Debug)]
pub(crate) struct UpstreamLease {
    stream: Stream,
    server: ServerId,
    /// Tells the server from others that have been in its slot.
    generation: u64,
    /// How long the connection was idle before it was taken from the pool; `None` if it is new.
    idle: Option<Duration>,
}

impl UpstreamLease {
    /// A pooled connection to this server that may be used for such a request, if there is one.
    pub(crate) fn pooled(
        worker: &Worker,
        server: ServerId,
        generation: u64,
        reuse: Reuse,
        now: Instant,
    ) -> Option<Self> {
        let ended = &worker.service_counters(server.service.0 as usize).pool;
        let taken = worker
            .upstreams
            .take(server, (generation, reuse), (now, ended))?;
        Some(Self {
            stream: taken.stream,
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
        server: ServerId,
        (address, generation): (&Endpoint, u64),
        (timeout, left): (Duration, Duration),
    ) -> Result<Self, Outcome> {
        match connect(worker, server, address, timeout.min(left)).await {
            Ok(stream) => Ok(Self {
                stream,
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

    pub(crate) const fn server(&self) -> ServerId {
        self.server
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
    pub(crate) fn complete(
        self,
        worker: &Worker,
        reusable: bool,
        head: &ResponseHead,
        now: Instant,
    ) {
        if reusable {
            let ended = &worker.service_counters(self.server.service.0 as usize).pool;
            let connection = (self.stream, self.generation);
            worker
                .upstreams
                .give(self.server, connection, head, (now, ended));
        }
    }

    /// Ends the lease of an attempt that began at `begun` and failed with `outcome`: closes the connection. If the server closed a
    /// pooled connection without an answer, the pool takes its idle time as a hint of the server's idle timeout.
    pub(crate) fn abandon(self, worker: &Worker, outcome: Outcome, begun: Instant) {
        if let (Outcome::Stale | Outcome::Reset { .. }, Some(idle)) = (outcome, self.idle) {
            worker.upstreams.lost(self.server, idle, begun);
        }
    }
}
