//! What an attempt holds of a server until it ends: today a connection, new or from the pool; a stream of a connection that is
//! shared becomes a variant of it.
//!
//! The pool's rule is here: a connection goes back to it only by [`UpstreamLease::complete`], when both directions have come to
//! their ends. Whatever else becomes of a lease, also that it is dropped, closes the connection.

use std::net::SocketAddr;
use std::time::Duration;

use evenkeel_connect::Stream;
use evenkeel_core::blame::{Event, Facts, Judgement, Limit, Phase, Sent, judge};
use evenkeel_core::{Instant, Outcome, ServerId};
use evenkeel_http1::ResponseHead;

use crate::upstream::connect::connect;
use crate::upstream::idle_timeout::Reuse;
use crate::worker::Worker;
use crate::worker::client_watch::WatchedClient;

/// A connection to a server, for as long as an attempt needs it.
#[derive(Debug)]
pub(crate) struct UpstreamLease {
    stream: Stream,
    server: ServerId,
    /// Which of the servers that have been in this slot it leads to.
    generation: u64,
    /// How long the connection had carried nothing before it was taken from the pool; `None` for a new one.
    idle: Option<Duration>,
}

impl UpstreamLease {
    /// A pooled connection to this server that is good for such a request, if there is one.
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

    /// A new connection, within `timeout`, or within what is left of the request if that is less: a server that was not given its
    /// whole time is not blamed for it. `at`: where the server is, and which one of those that have been in its slot.
    ///
    /// # Errors
    /// How the attempt ended.
    pub(crate) async fn connect(
        worker: &Worker,
        server: ServerId,
        (address, generation): (SocketAddr, u64),
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
                Err(judge(Event::Late(Limit::Total), Facts::CONNECTING).outcome)
            }
            Err(outcome) => Err(outcome),
        }
    }

    pub(crate) const fn server(&self) -> ServerId {
        self.server
    }

    /// Whether it had carried a request before this one.
    pub(crate) const fn is_reused(&self) -> bool {
        self.idle.is_some()
    }

    /// What is to be made of an end, after so much of the request was sent. `clean`: the server lets the connection stay open,
    /// and nothing has come beyond the response.
    pub(crate) const fn judge(
        &self,
        event: Event,
        phase: Phase,
        sent: Sent,
        clean: bool,
    ) -> Judgement {
        judge(
            event,
            Facts {
                phase,
                sent,
                reused: self.is_reused(),
                clean,
            },
        )
    }

    /// Where the attempt writes and reads.
    pub(super) const fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Tells when the server is gone, while the connection waits for something else.
    pub(crate) fn watch(&self, worker: &Worker) -> WatchedClient {
        worker.watcher.watch(&self.stream)
    }

    /// The server sees a reset when this ends.
    pub(crate) fn reset_on_close(&self) {
        self.stream.reset_on_close();
    }

    /// Ends it with its response, whose head was `head`. `reusable`: both directions are complete, and the server lets the
    /// connection stay open ([`Judgement::may_keep`]); if so, it goes back to the pool.
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

    /// Closes it, after an attempt that began at `begun` and ended so. A pooled connection that the server closed before it
    /// answered may have been idle for too long: the pool learns from it.
    pub(crate) fn abandon(self, worker: &Worker, outcome: Outcome, begun: Instant) {
        if let (Outcome::Stale | Outcome::Reset { .. }, Some(idle)) = (outcome, self.idle) {
            worker.upstreams.lost(self.server, idle, begun);
        }
    }
}
