//! An attempt runs: the request goes out while the answer may already come in.
//!
//! Nothing of the answer has reached the client when this is over, so an attempt can still be taken back.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use evenkeel_connect::{read_event, stream_event};
use evenkeel_core::Instant;
use evenkeel_core::blame::{EndEvent as Ended, Peer, TimeLimit};

use super::exchange::{UpstreamEvent, UpstreamExchange, UpstreamExchangeEnd};
use super::send::SendEnd;
use crate::downstream::io::poll_fill;
use crate::exchange::io::ExchangeIo;
use crate::upstream::deadlines::AttemptDeadlines;

/// How long an answer is waited for after the server has stopped to take the request: it has been sent by then, if there is one.
const ANSWER_AFTER_BREAK: Duration = Duration::from_secs(1);

impl UpstreamExchange {
    /// Sends the request and waits for the response's head. It pauses when `pause` says so, and may be run again to go on.
    pub(crate) async fn run(
        &mut self,
        io: &mut ExchangeIo<'_>,
        begun: Instant,
        deadlines: AttemptDeadlines,
        mut pause: impl FnMut(&mut Context<'_>) -> bool,
    ) -> UpstreamExchangeEnd {
        loop {
            let event = poll_fn(|cx| match self.poll(io, begun, deadlines, cx) {
                Poll::Pending if pause(cx) => {
                    Poll::Ready(UpstreamEvent::End(UpstreamExchangeEnd::Paused))
                }
                event => event,
            });
            match event.await {
                UpstreamEvent::End(end) => return end,
                UpstreamEvent::Interim => {
                    if let Some(end) = self.pass_interim(io).await {
                        return end;
                    }
                    // The limit of a server that takes no more of the request stays.
                    if !self.broken {
                        self.arm(io, io.worker.clock.now(), deadlines);
                    }
                }
            }
        }
    }

    fn poll(
        &mut self,
        io: &mut ExchangeIo<'_>,
        begun: Instant,
        deadlines: AttemptDeadlines,
        cx: &mut Context<'_>,
    ) -> Poll<UpstreamEvent> {
        if self.written.is_none() && !self.broken {
            match self.poll_send(io, cx) {
                Poll::Ready(Ok(())) => self.is_written(io, begun, deadlines),
                // Perhaps it has answered first: what has come is still there to be read.
                Poll::Ready(Err(SendEnd::Server)) => {
                    let now = io.worker.clock.now();
                    io.timer().set(now + ANSWER_AFTER_BREAK);
                }
                Poll::Ready(Err(SendEnd::Exhausted)) => {
                    return Poll::Ready(UpstreamEvent::End(self.failed(Ended::Exhausted)));
                }
                Poll::Ready(Err(SendEnd::Client(end))) => {
                    return Poll::Ready(UpstreamEvent::End(end));
                }
                Poll::Pending if std::mem::take(&mut self.progress) => {
                    self.arm(io, io.worker.clock.now(), deadlines);
                }
                Poll::Pending => {}
            }
        }
        if let Poll::Ready(event) = self.poll_head(io, cx) {
            return Poll::Ready(event);
        }
        if io.timer().poll_expired(cx) {
            return Poll::Ready(UpstreamEvent::End(self.late()));
        }
        Poll::Pending
    }

    /// The timer has run out before a head.
    fn late(&self) -> UpstreamExchangeEnd {
        match self.limit {
            _ if self.broken => self.failed(Ended::Closed(Peer::Server)),
            TimeLimit::Idle(Peer::Client) => UpstreamExchangeEnd::ClientLate,
            limit => self.failed(Ended::Late(limit)),
        }
    }

    /// Sends the rest of the request while its response is already relayed. Returns whether anything moved.
    pub(crate) fn poll_rest_of_request(
        &mut self,
        io: &mut ExchangeIo<'_>,
        cx: &mut Context<'_>,
    ) -> bool {
        if self.written.is_none() && !self.broken {
            match self.poll_send(io, cx) {
                Poll::Ready(Ok(())) => self.written = Some(io.worker.clock.now()),
                // The answer goes on all the same.
                Poll::Ready(Err(_)) => self.broken = true,
                Poll::Pending => {}
            }
        }
        std::mem::take(&mut self.progress)
    }

    fn is_written(&mut self, io: &ExchangeIo<'_>, begun: Instant, deadlines: AttemptDeadlines) {
        let now = if self.has_waited {
            let now = io.worker.clock.now();
            self.waited_for_body = now.since(begun);
            now
        } else {
            begun
        };
        self.written = Some(now);
        self.arm(io, now, deadlines);
    }

    /// Sets the timer to what ends this phase of the attempt.
    fn arm(&mut self, io: &ExchangeIo<'_>, now: Instant, deadlines: AttemptDeadlines) {
        let (end, limit) = match self.written {
            Some(written) => deadlines.end(written, self.waited_for_body),
            None if self.waits_for_client => (now + deadlines.idle, TimeLimit::Idle(Peer::Client)),
            None => (now + deadlines.idle, TimeLimit::Idle(Peer::Server)),
        };
        self.limit = limit;
        io.timer().set(end);
    }

    fn poll_head(&mut self, io: &mut ExchangeIo<'_>, cx: &mut Context<'_>) -> Poll<UpstreamEvent> {
        loop {
            if self.incoming.size() == 0 {
                // No buffer is held while there is nothing to read.
                let ready = ready!(self.lease.stream().poll_read_ready(cx));
                if let Err(error) = ready {
                    return Poll::Ready(UpstreamEvent::End(self.failed(stream_event(&error))));
                }
                self.incoming = io.worker.buffers.take_large();
            }
            match poll_fill(self.lease.stream(), &mut self.incoming, cx).map(read_event) {
                Poll::Ready(Ok(n)) => self.bytes_received += n as u64,
                Poll::Ready(Err(end)) => {
                    return Poll::Ready(UpstreamEvent::End(self.failed(end)));
                }
                Poll::Pending => {
                    if self.incoming.is_empty() {
                        io.worker.buffers.give(std::mem::take(&mut self.incoming));
                    }
                    return Poll::Pending;
                }
            }
            if let Some(event) = self.parse(io) {
                return Poll::Ready(event);
            }
        }
    }

    /// Reads on until the answer has `length` bytes, head and body. One that is not whole when an attempt's time is over again is
    /// not held any longer.
    ///
    /// # Errors
    /// What broke it off.
    pub(crate) async fn hold(
        &mut self,
        io: &ExchangeIo<'_>,
        length: usize,
        deadlines: AttemptDeadlines,
    ) -> Result<(), Ended> {
        let now = io.worker.clock.now();
        self.head_at = Some(now);
        let (end, _) = deadlines.end(now, self.waited_for_body);
        io.timer().set(end);
        poll_fn(|cx| {
            while self.incoming.len() < length {
                match poll_fill(self.lease.stream(), &mut self.incoming, cx).map(read_event) {
                    Poll::Ready(Ok(n)) => self.bytes_received += n as u64,
                    Poll::Ready(Err(end)) => return Poll::Ready(Err(end)),
                    Poll::Pending if io.timer().poll_expired(cx) => {
                        return Poll::Ready(Ok(()));
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }
}
