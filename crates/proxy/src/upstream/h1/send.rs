//! The request on its way to the server: the head, what is sent again, and the body as it comes from the client.

use std::task::{Context, Poll, ready};

use evenkeel_connect::stream_event;
use evenkeel_core::blame::EndEvent;

use super::exchange::{UpstreamExchange, UpstreamExchangeEnd};
use crate::downstream::io::poll_write_two;
use crate::exchange::io::ExchangeIo;
use crate::worker::poll_budget::PollBudget;

/// Why sending ended early.
#[derive(Debug)]
pub(crate) enum SendEnd {
    /// The server does not take more; perhaps it has answered.
    Server,
    /// evenkeel's own machine could not send it.
    Exhausted,
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
            let (head, mut body) = io.request();
            let head = &head[self.head_sent..];
            let [replay, fresh] = body
                .ready(self.replay_sent)
                .map_err(|e| SendEnd::Client(UpstreamExchangeEnd::BadBody(e)))?;
            let (first, second) = match (head.is_empty(), replay.is_empty()) {
                (false, false) => (head, replay),
                (false, true) => (head, fresh),
                (true, false) => (replay, fresh),
                (true, true) => (fresh, &[][..]),
            };
            if first.is_empty() && second.is_empty() {
                if body.has_come() {
                    return Poll::Ready(Ok(()));
                }
                (self.waits_for_client, self.has_waited) = (true, true);
                if !ready!(body.poll_more(self.progress, cx)) {
                    return Poll::Ready(Err(SendEnd::Client(UpstreamExchangeEnd::ClientGone)));
                }
                self.progress = true;
                continue;
            }
            self.waits_for_client = false;
            match poll_write_two(self.lease.stream(), first, second, cx) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    budget.spend(n);
                    self.account(io, n);
                }
                Poll::Ready(Err(error)) if stream_event(&error) == EndEvent::Exhausted => {
                    self.broken = true;
                    return Poll::Ready(Err(SendEnd::Exhausted));
                }
                Poll::Ready(_) => {
                    self.broken = true;
                    return Poll::Ready(Err(SendEnd::Server));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// `n` bytes went out: first of the head, then of the body.
    fn account(&mut self, io: &mut ExchangeIo<'_>, n: usize) {
        self.progress = true;
        self.bytes_sent += n as u64;
        let (head, mut body) = io.request();
        let of_head = n.min(head.len() - self.head_sent);
        self.head_sent += of_head;
        self.replay_sent = body.sent(n - of_head, self.replay_sent);
    }
}
