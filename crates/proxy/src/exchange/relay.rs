//! A committed response on its way to the client, with back-pressure: no more is read than the client takes.
//!
//! The rest of the request's body goes on meanwhile, for servers that answer while they read.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use evenkeel_core::blame::{EndEvent, Peer, TimeLimit};
use evenkeel_http1::Framing;
use evenkeel_request::forward::ForwardedTrailers;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::cache::fill::Tee;
use crate::downstream::h1::ResponseSink;
use crate::exchange::io::ExchangeIo;
use crate::upstream::h1::UpstreamExchange;
use crate::upstream::h1::body::{ResponseBody, ResponseInput};
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
pub(crate) struct Relay<'t> {
    body: ResponseBody<'t>,
    progress: bool,
    waits_for_client: bool,
    /// Whether it could not all be passed on at once.
    has_waited: bool,
    /// Writes it down to be kept.
    tee: Option<Box<Tee>>,
}

impl<'t> Relay<'t> {
    /// A response whose head has been taken off what came from the server. `decode`: the client gets its content alone, else with
    /// those of its `trailers` that pass.
    pub(crate) fn new(
        framing: Framing,
        decode: bool,
        trailers: ForwardedTrailers<'t>,
        tee: Option<Box<Tee>>,
    ) -> Self {
        Self {
            body: ResponseBody::new(framing, decode, trailers),
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
        let mut input = upstream.input(&io.worker.buffers);
        if let Err(event) = self.begin(&mut io.response(), &mut input) {
            return RelayEnd::Broken(event);
        }
        poll_fn(|cx| self.poll(io, upstream, idle, cx)).await
    }

    /// Takes in what has come with the head. What is small is sent in one piece with it.
    fn begin<C, S>(
        &mut self,
        sink: &mut ResponseSink<'_, C>,
        input: &mut ResponseInput<'_, S>,
    ) -> Result<(), EndEvent>
    where
        C: AsyncWrite + Unpin,
    {
        if input.is_empty() {
            return Ok(());
        }
        let tee = |bytes: &[u8]| write_down(&mut self.tee, bytes);
        self.body.take_in(input, sink.pending(), tee)?;
        let ready = self.body.ready(input);
        if !ready.is_empty() && ready.len() <= ONE_PIECE {
            sink.pending().extend_from_slice(ready);
            self.body.passed_on(ready.len(), input);
        }
        Ok(())
    }

    fn poll(
        &mut self,
        io: &mut ExchangeIo<'_>,
        upstream: &mut UpstreamExchange,
        idle: Duration,
        cx: &mut Context<'_>,
    ) -> Poll<RelayEnd> {
        let worker = io.worker;
        let mut input = upstream.input(&worker.buffers);
        if let Poll::Ready(end) = self.poll_response(&mut io.response(), &mut input, cx) {
            return Poll::Ready(end);
        }
        self.has_waited = true;
        let has_sent = upstream.poll_rest_of_request(io, cx);
        // A byte in either direction is progress.
        if std::mem::take(&mut self.progress) | has_sent {
            io.timer().set(worker.clock.now() + idle);
        }
        if io.watch().poll_gone(cx) {
            return Poll::Ready(RelayEnd::Broken(EndEvent::Closed(Peer::Client)));
        }
        if io.timer().poll_expired(cx) {
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
        sink: &mut ResponseSink<'_, C>,
        input: &mut ResponseInput<'_, S>,
        cx: &mut Context<'_>,
    ) -> Poll<RelayEnd>
    where
        C: AsyncWrite + Unpin,
        S: AsyncRead + Unpin,
    {
        let mut budget = PollBudget::new();
        loop {
            let ready = self.body.ready(input);
            if !(sink.is_flushed() && ready.is_empty()) {
                match sink.poll_write(ready, cx) {
                    Poll::Ready(Ok(n)) => {
                        self.body.passed_on(n, input);
                        self.progress = true;
                        continue;
                    }
                    Poll::Ready(Err(event)) => return Poll::Ready(RelayEnd::Broken(event)),
                    Poll::Pending => {
                        self.waits_for_client = true;
                        return Poll::Pending;
                    }
                }
            }
            self.waits_for_client = false;
            if self.body.is_done() {
                let clean = input.is_empty();
                return Poll::Ready(RelayEnd::Done { clean });
            }
            if budget.is_spent(cx) {
                return Poll::Pending;
            }
            let tee = |bytes: &[u8]| write_down(&mut self.tee, bytes);
            match self.body.poll_more(input, sink.pending(), tee, cx) {
                Poll::Ready(Ok(Some(n))) => {
                    budget.spend(n);
                    self.progress = true;
                }
                Poll::Ready(Ok(None)) => return Poll::Ready(RelayEnd::Done { clean: false }),
                Poll::Ready(Err(event)) => return Poll::Ready(RelayEnd::Broken(event)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// This has come of the body. What is not worth keeping any more is let go.
fn write_down(tee: &mut Option<Box<Tee>>, bytes: &[u8]) {
    tee.take_if(|tee| !tee.take(bytes));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::buffer::{Buffer, Buffers, LARGE};
    use crate::worker::poll_budget::POLL_BYTES;
    use crate::worker::poll_budget::tests::{Endless, Sink, polls};

    /// A fast server and a fast client would keep the worker from all its other connections.
    #[test]
    fn a_large_body_leaves_the_worker_after_each_megabyte() {
        const BODY: usize = 32 * 1024 * 1024;
        let (mut server, mut client) = (Endless, Sink::default());
        let (buffers, mut incoming) = (Buffers::default(), Buffer::default());
        let (mut to_client, mut written, mut received) = (Vec::new(), 0, 0);
        let mut relay = Relay::new(
            Framing::Length(BODY as u64),
            false,
            ForwardedTrailers::default(),
            None,
        );
        let most = polls(|cx| {
            let before = client.taken;
            let mut sink = ResponseSink::new(&mut client, &mut to_client, &mut written);
            let mut input = ResponseInput {
                stream: &mut server,
                incoming: &mut incoming,
                buffers: &buffers,
                received: &mut received,
            };
            let end = relay.poll_response(&mut sink, &mut input, cx);
            (client.taken - before, end.is_ready())
        });
        assert_eq!(client.taken, BODY);
        assert!(most <= POLL_BYTES + LARGE, "{most} bytes in one poll");
    }
}
