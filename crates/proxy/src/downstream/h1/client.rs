//! A client's connection: its heads one after the other, each handed to its exchange, until one side ends it.
//!
//! While it waits for a request, a connection owns no buffer and no workspace, only its socket and a timer slot.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use evenkeel_connect::Stream;
use evenkeel_core::Instant;
use evenkeel_http1::{HeadError, Limits, Parsed, head_end};
use tokio::io::AsyncWrite as _;

use crate::downstream::address::AddressText;
use crate::downstream::io::{TunnelEnd, poll_fill};
use crate::worker::buffer::Buffer;
use crate::worker::client_watch::WatchedClient;
use crate::worker::open_listener::OpenListener;
use crate::worker::poll_budget::PollBudget;
use crate::worker::timer::Timer;
use crate::worker::{Worker, Workspace};

/// What a client still sends is read after an answer that closes the connection: a close with unread bytes would be a reset,
/// which can take the answer with it. A client that writes its whole body before it reads sees the answer if the body
/// ends within these bounds: on the whole, without a byte, and in bytes.
const LINGER: Duration = Duration::from_secs(30);
const LINGER_IDLE: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 * 1024 * 1024;

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: Stream,
    pub(crate) buffer: Buffer,
    pub(crate) timer: Timer,
    /// Tells when it is gone, while its request waits for something else.
    pub(crate) watched: WatchedClient,
    /// Its address; `None` if it came over a Unix domain socket.
    pub(crate) peer: Option<IpAddr>,
    pub(crate) peer_text: AddressText,
    pub(crate) listener: Rc<OpenListener>,
    /// The last look at the clock, at most one request ago.
    pub(crate) latest: Instant,
}

/// What becomes of a connection after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persist {
    /// The next request may come.
    Keep,
    /// Nothing more will be answered; what still comes is read for a moment.
    Linger,
    /// It is over.
    Close,
}

impl Persist {
    /// After an answer of evenkeel's own.
    pub(crate) const fn after(sent: bool, keep_alive: bool) -> Self {
        match (sent, keep_alive) {
            (false, _) => Self::Close,
            (true, true) => Self::Keep,
            (true, false) => Self::Linger,
        }
    }
}

/// What came.
#[derive(Debug)]
pub(crate) enum HeadRead {
    Head,
    Bad(HeadError),
    Late,
    Closed,
}

impl Client {
    /// A connection that was accepted.
    pub(crate) fn new(
        worker: &Worker,
        listener: Rc<OpenListener>,
        stream: Stream,
        peer: Option<IpAddr>,
    ) -> Self {
        let watched = worker.watcher.watch(&stream);
        Self {
            stream,
            buffer: Buffer::default(),
            timer: worker.timers.timer(),
            watched,
            peer,
            peer_text: AddressText::of(peer),
            listener,
            latest: worker.clock.now(),
        }
    }

    /// Waits for the first byte of a request; `false` if none will be answered any more.
    pub(crate) async fn wait(&mut self, worker: &Worker) -> bool {
        let idle_time = self.listener.limits().idle_time;
        self.timer.set(self.latest + idle_time);
        poll_fn(|cx| match self.stream.poll_read_ready(cx) {
            Poll::Ready(result) => Poll::Ready(result.is_ok()),
            Poll::Pending if worker.is_last_for(&self.listener) || self.timer.poll_expired(cx) => {
                Poll::Ready(false)
            }
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// The head of the next request.
    pub(crate) async fn next_head(&mut self, worker: &Worker, work: &mut Workspace) -> HeadRead {
        let of_listener = self.listener.limits();
        let limits = Limits {
            head_bytes: of_listener.head_bytes,
            headers: of_listener.headers,
            ..Limits::default()
        };
        let mut scanned = 0_usize;
        let mut begun: Option<Instant> = None;
        loop {
            let whole =
                scanned == 0 || head_end(self.buffer.unread(), scanned.saturating_sub(3)).is_some();
            if !self.buffer.is_empty() && (whole || self.buffer.len() > limits.head_bytes) {
                match work.request.parse(self.buffer.unread(), &limits) {
                    Ok(Parsed::Complete) => return HeadRead::Head,
                    Ok(Parsed::Partial) => {}
                    Err(error) => return HeadRead::Bad(error),
                }
            }
            scanned = self.buffer.len();
            if scanned > 0 && begun.is_none() {
                let now = worker.clock.now();
                begun = Some(now);
                self.timer.set(now + of_listener.head_time);
                self.hold_part_of_head(worker);
            } else if self.buffer.spare().is_empty() {
                self.hold_part_of_head(worker);
            }
            match self.fill(worker).await {
                Ok(0) | Err(_) => return HeadRead::Closed,
                Ok(_) => {}
            }
            if self.timer.has_expired() {
                return if begun.is_some() {
                    HeadRead::Late
                } else {
                    HeadRead::Closed
                };
            }
        }
    }

    /// While an answer is waited for, a connection needs no buffer for requests.
    pub(crate) fn give_back_empty_buffer(&mut self, worker: &Worker) {
        if self.buffer.is_empty() && self.buffer.size() > 0 {
            worker.buffers.give(std::mem::take(&mut self.buffer));
        }
    }

    /// A slow sender may hold only as much memory as it has sent, doubled.
    fn hold_part_of_head(&mut self, worker: &Worker) {
        let small = self.buffer.for_part_of_head();
        worker
            .buffers
            .give(std::mem::replace(&mut self.buffer, small));
    }

    /// Reads what is there; also returns (with 1) when the deadline has passed, which the caller checks.
    async fn fill(&mut self, worker: &Worker) -> io::Result<usize> {
        poll_fn(
            |cx| match poll_fill(&mut self.stream, &mut self.buffer, cx) {
                Poll::Pending if self.timer.poll_expired(cx) => Poll::Ready(Ok(1)),
                Poll::Pending if self.buffer.is_empty() && worker.is_last_for(&self.listener) => {
                    Poll::Ready(Ok(0))
                }
                other => other,
            },
        )
        .await
    }

    /// The client's side of a tunnel.
    pub(crate) const fn tunnel_end(&mut self) -> TunnelEnd<'_, Stream> {
        TunnelEnd {
            stream: &mut self.stream,
            incoming: &mut self.buffer,
        }
    }

    /// The client sees a reset when this is closed: where only the end of the connection tells the end of an answer, a plain
    /// one would say that it is whole. A Unix domain socket knows no reset.
    pub(crate) fn reset_on_close(&self) {
        self.stream.reset_on_close();
    }

    /// Reads what the client still sends, and closes.
    pub(crate) async fn linger(&mut self, worker: &Worker) {
        let last = worker.clock.now() + LINGER;
        self.timer.set(worker.clock.now() + LINGER_IDLE);
        let mut buffer = worker.buffers.take();
        let mut rest = LINGER_BYTES;
        poll_fn(|cx| {
            if ready!(Pin::new(&mut self.stream).poll_shutdown(cx)).is_err() {
                return Poll::Ready(());
            }
            let before = rest;
            let mut budget = PollBudget::new();
            while !budget.is_spent(cx) {
                match poll_fill(&mut self.stream, &mut buffer, cx) {
                    Poll::Ready(Ok(n)) if n > 0 && n < rest => {
                        rest -= n;
                        budget.spend(n);
                        buffer.consume(buffer.len());
                    }
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => break,
                }
            }
            if rest < before {
                let now = worker.clock.now();
                self.timer.set((now + LINGER_IDLE).min(last));
            }
            if self.timer.poll_expired(cx) {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
        worker.buffers.give(buffer);
    }
}
