//! The request on its way to the server: the head, what is sent again, and the body as it comes from the client.

use std::task::{Context, Poll, ready};

use super::exchange::{ExchangeIo, UpstreamExchange, UpstreamExchangeEnd};
use crate::downstream::io::{poll_fill, poll_write_two};
use crate::worker::buffer::STANDARD;
use crate::worker::poll_budget::PollBudget;

/// Why sending ended early.
#[derive(Debug)]
pub(crate) enum SendEnd {
    /// The server does not take more; perhaps it has answered.
    Server,
    /// The client's doing.
    Client(UpstreamExchangeEnd),
}

impl UpstreamExchange {
    /// Sends what is there to be sent; ready when the whole request is out.
    pub(crate) fn poll_send(
        &mut self,
        io: &mut ExchangeIo<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendEnd>> {
        let mut budget = PollBudget::new();
        loop {
            if budget.is_spent(cx) {
                return Poll::Pending;
            }
            let approved = io
                .body
                .approve(&io.client.buffer)
                .map_err(|e| SendEnd::Client(UpstreamExchangeEnd::BadBody(e)))?;
            let head = &io.work.to_server[self.head_sent..];
            let replay = &io.work.replay[self.replay_sent..];
            let fresh = &io.client.buffer.unread()[..approved];
            let (first, second) = match (head.is_empty(), replay.is_empty()) {
                (false, false) => (head, replay),
                (false, true) => (head, fresh),
                (true, false) => (replay, fresh),
                (true, true) => (fresh, &[][..]),
            };
            if first.is_empty() && second.is_empty() {
                if io.body.has_come() {
                    return Poll::Ready(Ok(()));
                }
                (self.waits_for_client, self.has_waited) = (true, true);
                ready!(self.poll_more_body(io, cx))?;
                continue;
            }
            self.waits_for_client = false;
            match poll_write_two(&mut self.connection.stream, first, second, cx) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    budget.spend(n);
                    self.account(io, n);
                }
                Poll::Ready(_) => {
                    self.broken = true;
                    return Poll::Ready(Err(SendEnd::Server));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn poll_more_body(
        &mut self,
        io: &mut ExchangeIo<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendEnd>> {
        let buffer = &mut io.client.buffer;
        if buffer.is_empty() && buffer.size() <= STANDARD {
            // What keeps coming gets more room.
            let stock = &io.worker.buffers;
            let next = if self.progress {
                stock.take_large()
            } else {
                stock.take()
            };
            stock.give(std::mem::replace(buffer, next));
        }
        match ready!(poll_fill(&mut io.client.stream, &mut io.client.buffer, cx)) {
            Ok(n) if n > 0 => {
                self.progress = true;
                Poll::Ready(Ok(()))
            }
            _ => Poll::Ready(Err(SendEnd::Client(UpstreamExchangeEnd::ClientGone))),
        }
    }

    /// `n` bytes went out: first of the head, then of what is sent again, then of what is new.
    fn account(&mut self, io: &mut ExchangeIo<'_>, n: usize) {
        self.progress = true;
        self.bytes_sent += n as u64;
        let of_head = n.min(io.work.to_server.len() - self.head_sent);
        self.head_sent += of_head;
        let of_replay = (n - of_head).min(io.work.replay.len() - self.replay_sent);
        self.replay_sent += of_replay;
        let fresh = n - of_head - of_replay;
        if fresh > 0 {
            io.body
                .sent(fresh, &mut io.client.buffer, &mut io.work.replay);
            self.replay_sent = io.work.replay.len();
        }
    }
}
