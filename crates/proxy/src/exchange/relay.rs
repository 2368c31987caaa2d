//! A committed response on its way to the client, with back-pressure: no more is read than the client takes.
//!
//! The rest of the request's body goes on meanwhile, for servers that answer while they read.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use evenkeel_core::blame::{EndEvent, Peer, TimeLimit};
use evenkeel_http1::{Body, Tidied};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::cache::fill::Tee;
use crate::downstream::io::{poll_fill, poll_write_two};
use crate::upstream::h1::{ExchangeIo, UpstreamExchange};
use crate::worker::buffer::{Buffer, Buffers};
use crate::worker::poll_budget::PollBudget;

/// Bodies up to this size are sent in one piece with their head.
const ONE_PIECE: usize = 8 * 1024;

/// How the passing on of a response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RelayEnd {
    /// The whole of it was passed on. `clean`: nothing has come from the server beyond it, and its end was told by the
    /// response and not by the end of the connection.
    Done {
        /// Whether the server's connection stands at the end of the response.
        clean: bool,
    },
    /// It broke off, by this.
    Broken(EndEvent),
}

/// One response under way. The head, as the client gets it, is in `work.to_client`.
#[derive(Debug)]
pub(crate) struct Relay {
    body: Body,
    decode: bool,
    /// Bytes of `to_client` that were sent.
    sent: usize,
    /// Bytes at the front of `incoming` that belong to the body and are not yet sent.
    ready: usize,
    progress: bool,
    waits_for_client: bool,
    /// Whether it could not all be passed on at once.
    has_waited: bool,
    /// Writes it down to be kept.
    tee: Option<Box<Tee>>,
}

/// What a response passes through, from the server to the client.
struct Ends<'a, C, S> {
    to_client: &'a mut Vec<u8>,
    client: &'a mut C,
    server: &'a mut S,
    incoming: &'a mut Buffer,
    buffers: &'a Buffers,
    received: &'a mut u64,
}

impl Relay {
    /// A response whose head has been consumed from `upstream exchange.incoming`.
    pub(crate) fn new(body: Body, decode: bool, tee: Option<Box<Tee>>) -> Self {
        Self {
            body,
            decode,
            sent: 0,
            ready: 0,
            progress: true,
            waits_for_client: false,
            has_waited: false,
            tee,
        }
    }

    /// Whether time has passed: it could not all be passed on at once.
    pub(crate) const fn has_waited(&self) -> bool {
        self.has_waited
    }

    /// What was written down, if it was worth it to the end.
    pub(crate) fn into_tee(self) -> Option<Box<Tee>> {
        self.tee
    }

    /// Passes it on. `idle`: without a byte in either direction.
    pub(crate) async fn run(
        &mut self,
        io: &mut ExchangeIo<'_>,
        upstream: &mut UpstreamExchange,
        idle: Duration,
    ) -> RelayEnd {
        if !upstream.incoming.is_empty()
            && let Err(end) = self.take_in(&mut io.work.to_client, &mut upstream.incoming)
        {
            return end;
        }
        if !self.decode && self.ready > 0 && self.ready <= ONE_PIECE {
            io.work
                .to_client
                .extend_from_slice(&upstream.incoming.unread()[..self.ready]);
            upstream.incoming.consume(self.ready);
            self.ready = 0;
        }
        poll_fn(|cx| self.poll(io, upstream, idle, cx)).await
    }

    fn poll(
        &mut self,
        io: &mut ExchangeIo<'_>,
        upstream: &mut UpstreamExchange,
        idle: Duration,
        cx: &mut Context<'_>,
    ) -> Poll<RelayEnd> {
        let mut ends = Ends {
            to_client: &mut io.work.to_client,
            client: &mut io.client.stream,
            server: &mut upstream.connection.stream,
            incoming: &mut upstream.incoming,
            buffers: &io.worker.buffers,
            received: &mut upstream.bytes_received,
        };
        if let Poll::Ready(end) = self.poll_response(&mut ends, cx) {
            return Poll::Ready(end);
        }
        self.has_waited = true;
        if upstream.is_sending() {
            match upstream.poll_send(io, cx) {
                Poll::Ready(Ok(())) => upstream.written = Some(io.worker.clock.now()),
                // The answer goes on all the same.
                Poll::Ready(Err(_)) => upstream.broken = true,
                Poll::Pending => {}
            }
        }
        // A byte in either direction is progress.
        if std::mem::take(&mut self.progress) | std::mem::take(&mut upstream.progress) {
            io.client.timer.set(io.worker.clock.now() + idle);
        }
        if io.client.watched.poll_gone(cx) {
            return Poll::Ready(RelayEnd::Broken(EndEvent::Closed(Peer::Client)));
        }
        if io.client.timer.poll_expired(cx) {
            let peer = if self.waits_for_client {
                Peer::Client
            } else {
                Peer::Server
            };
            return Poll::Ready(RelayEnd::Broken(EndEvent::Late(TimeLimit::Idle(peer))));
        }
        Poll::Pending
    }

    fn poll_response<C, S>(
        &mut self,
        ends: &mut Ends<'_, C, S>,
        cx: &mut Context<'_>,
    ) -> Poll<RelayEnd>
    where
        C: AsyncWrite + Unpin,
        S: AsyncRead + Unpin,
    {
        let mut budget = PollBudget::new();
        loop {
            let first = &ends.to_client[self.sent..];
            let second = &ends.incoming.unread()[..self.ready];
            if !(first.is_empty() && second.is_empty()) {
                let of_first = first.len();
                match poll_write_two(ends.client, first, second, cx) {
                    Poll::Ready(Ok(n)) if n > 0 => {
                        self.sent += n.min(of_first);
                        let of_body = n.saturating_sub(of_first);
                        ends.incoming.consume(of_body);
                        self.ready -= of_body;
                        self.progress = true;
                        continue;
                    }
                    Poll::Ready(_) => {
                        return Poll::Ready(RelayEnd::Broken(EndEvent::Closed(Peer::Client)));
                    }
                    Poll::Pending => {
                        self.waits_for_client = true;
                        return Poll::Pending;
                    }
                }
            }
            self.waits_for_client = false;
            if self.body.is_done() {
                let clean = ends.incoming.is_empty();
                return Poll::Ready(RelayEnd::Done { clean });
            }
            if budget.is_spent(cx) {
                return Poll::Pending;
            }
            match self.poll_more(ends, cx) {
                Poll::Ready(Ok(n)) => {
                    budget.spend(n);
                    *ends.received += n as u64;
                    self.progress = true;
                }
                Poll::Ready(Err(end)) => return Poll::Ready(end),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn poll_more<C, S: AsyncRead + Unpin>(
        &mut self,
        ends: &mut Ends<'_, C, S>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, RelayEnd>> {
        if ends.incoming.size() == 0 {
            *ends.incoming = ends.buffers.take_large();
        }
        match poll_fill(ends.server, ends.incoming, cx) {
            Poll::Ready(Ok(n)) if n > 0 => {
                let taken = self.take_in(ends.to_client, ends.incoming);
                Poll::Ready(taken.map(|()| n))
            }
            Poll::Ready(Ok(_)) if self.body.end_of_stream().is_ok() => {
                Poll::Ready(Err(RelayEnd::Done { clean: false }))
            }
            Poll::Ready(_) => Poll::Ready(Err(RelayEnd::Broken(EndEvent::Closed(Peer::Server)))),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Checks what has come from the server.
    fn take_in(&mut self, to_client: &mut Vec<u8>, incoming: &mut Buffer) -> Result<(), RelayEnd> {
        let malformed = |_| RelayEnd::Broken(EndEvent::Malformed(Peer::Server));
        if self.body.is_done() {
            return Ok(());
        }
        if self.decode {
            if self.sent == to_client.len() {
                to_client.clear();
                self.sent = 0;
            }
            let taken = self
                .body
                .advance_decoded(incoming.unread(), to_client)
                .map_err(malformed)?
                .taken;
            self.write_down(&incoming.unread()[..taken]);
            incoming.consume(taken);
        } else {
            let new = &mut incoming.unread_mut()[self.ready..];
            let Tidied { taken, kept } = self.body.advance_tidied(new).map_err(malformed)?;
            self.write_down(&new[..kept]);
            incoming.cut(self.ready + kept, self.ready + taken);
            self.ready += kept;
        }
        Ok(())
    }

    fn write_down(&mut self, bytes: &[u8]) {
        self.tee.take_if(|tee| !tee.take(bytes));
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_http1::Framing;

    use super::*;
    use crate::worker::buffer::LARGE;
    use crate::worker::poll_budget::POLL_BYTES;
    use crate::worker::poll_budget::tests::{Endless, Sink, polls};

    /// A fast server and a fast client would keep the worker from all its other connections.
    #[test]
    fn a_large_body_leaves_the_worker_after_each_megabyte() {
        const BODY: usize = 32 * 1024 * 1024;
        let (mut server, mut client) = (Endless, Sink::default());
        let (buffers, mut incoming) = (Buffers::default(), Buffer::default());
        let (mut to_client, mut received) = (Vec::new(), 0);
        let mut relay = Relay::new(Body::of_response(Framing::Length(BODY as u64)), false, None);
        let most = polls(|cx| {
            let before = client.taken;
            let mut ends = Ends {
                to_client: &mut to_client,
                client: &mut client,
                server: &mut server,
                incoming: &mut incoming,
                buffers: &buffers,
                received: &mut received,
            };
            let end = relay.poll_response(&mut ends, cx);
            (client.taken - before, end.is_ready())
        });
        assert_eq!(client.taken, BODY);
        assert!(most <= POLL_BYTES + LARGE, "{most} bytes in one poll");
    }
}
