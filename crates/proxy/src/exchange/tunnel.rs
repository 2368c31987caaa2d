//! After `101 Switching Protocols`: bytes in both directions until both sides have closed, one of them resets its connection, or
//! both are silent for too long.
//!
//! A side that has closed its direction may still read, so a FIN is passed on alone. A reset ends the tunnel at once, also while
//! the other side does not read, and is passed on as one: a plain close would say that what came was all.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use evenkeel_core::blame::{EndEvent, Peer, TimeLimit};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::downstream::io::poll_fill;
use crate::exchange::io::ExchangeIo;
use crate::upstream::h1::UpstreamExchange;
use crate::worker::buffer::Buffer;
use crate::worker::poll_budget::PollBudget;

/// One direction.
#[derive(Debug, Default)]
struct Direction {
    /// No more will come.
    ended: bool,
    /// The other side was told so.
    told: bool,
}

/// What a direction came upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// Where it reads.
    From,
    /// Where it writes.
    To,
}

/// Sends the head in `work.to_client` and carries bytes until both sides have ended, or until this.
pub(crate) async fn run(
    io: &mut ExchangeIo<'_>,
    upstream: &mut UpstreamExchange,
    idle: Duration,
) -> Result<(), EndEvent> {
    io.send().await?;
    let worker = io.worker;
    io.tunnel_end().open(&worker.buffers);
    upstream.tunnel_end().open(&worker.buffers);
    io.timer().set(worker.clock.now() + idle);
    let (mut up, mut down) = (Direction::default(), Direction::default());
    let server_watched = upstream.watch(worker);
    let end = poll_fn(|cx| {
        let (client, server) = (io.tunnel_end(), upstream.tunnel_end());
        let moved_up = up.poll(client.stream, server.stream, client.incoming, cx);
        let moved_down = down.poll(server.stream, client.stream, server.incoming, cx);
        let waits_for_client = !server.incoming.is_empty();
        match (moved_up, moved_down) {
            (Err(Broken::From), _) | (_, Err(Broken::To)) => {
                return Poll::Ready(Err(EndEvent::Closed(Peer::Client)));
            }
            (Err(Broken::To), _) | (_, Err(Broken::From)) => {
                return Poll::Ready(Err(EndEvent::Closed(Peer::Server)));
            }
            (Ok(false), Ok(false)) => {}
            _ => io.timer().set(worker.clock.now() + idle),
        }
        if up.told && down.told {
            return Poll::Ready(Ok(()));
        }
        for (watched, peer) in [(io.watch(), Peer::Client), (&server_watched, Peer::Server)] {
            if watched.poll_reset(cx) {
                return Poll::Ready(Err(EndEvent::Closed(peer)));
            }
        }
        if io.timer().poll_expired(cx) {
            let peer = if waits_for_client {
                Peer::Client
            } else {
                Peer::Server
            };
            return Poll::Ready(Err(EndEvent::Late(TimeLimit::Idle(peer))));
        }
        Poll::Pending
    });
    let end = end.await;
    if end.is_err() {
        io.reset_on_close();
        upstream.reset_on_close();
    }
    end
}

impl Direction {
    /// Carries what can be carried; says whether anything moved.
    fn poll<R, W>(
        &mut self,
        from: &mut R,
        to: &mut W,
        buffer: &mut Buffer,
        cx: &mut Context<'_>,
    ) -> Result<bool, Broken>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut moved = false;
        let mut budget = PollBudget::new();
        loop {
            if budget.is_spent(cx) {
                return Ok(moved);
            }
            if !buffer.is_empty() {
                match Pin::new(&mut *to).poll_write(cx, buffer.unread()) {
                    Poll::Ready(Ok(n)) if n > 0 => {
                        buffer.consume(n);
                        budget.spend(n);
                        moved = true;
                        continue;
                    }
                    Poll::Ready(_) => return Err(Broken::To),
                    Poll::Pending => return Ok(moved),
                }
            }
            if self.ended {
                if !self.told && Pin::new(&mut *to).poll_shutdown(cx).is_ready() {
                    self.told = true;
                }
                return Ok(moved);
            }
            match poll_fill(from, buffer, cx) {
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Err(Broken::From),
                Poll::Pending => return Ok(moved),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::buffer::{Buffers, STANDARD};
    use crate::worker::poll_budget::POLL_BYTES;
    use crate::worker::poll_budget::tests::{Endless, Sink, polls};

    #[test]
    fn a_direction_that_never_pauses_leaves_the_worker_after_each_megabyte() {
        const ENOUGH: usize = 8 * POLL_BYTES;
        let (mut from, mut to) = (Endless, Sink::default());
        let mut buffer = Buffers::default().take();
        let mut direction = Direction::default();
        let most = polls(|cx| {
            let before = to.taken;
            let moved = direction.poll(&mut from, &mut to, &mut buffer, cx);
            assert_eq!(moved, Ok(true));
            (to.taken - before, to.taken >= ENOUGH)
        });
        assert!(most <= POLL_BYTES + STANDARD, "{most} bytes in one poll");
    }
}
