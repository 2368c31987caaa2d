//! A connection on which evenkeel asks a server something of its own accord, beside the way of requests: it writes, reads
//! the answer's head, and then its body, each with an end.
//!
//! Apart from `upstream exchange`, which passes things on between a client and a server: here nobody waits behind it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use evenkeel_connect::{read_event, stream_event};
use evenkeel_core::blame::{AttemptPhase, EndEvent, Judgement, Peer, Sent, TimeLimit};
use evenkeel_core::metric::Counter;
use evenkeel_core::{Endpoint, Instant, Outcome};
use evenkeel_http1::{Body, Method, Parsed, ResponseHead, head_end};
use tokio::io::AsyncWrite;

use crate::downstream::io::poll_fill;
use crate::upstream::h1::{INTERIM_LIMIT, RESPONSE_LIMITS, UpstreamExchange, begin_of_body};
use crate::upstream::idle_timeout::Reuse;
use crate::upstream::lease::UpstreamLease;
use crate::worker::Worker;
use crate::worker::buffer::Buffer;
use crate::worker::poll_budget::POLL_BYTES;
use crate::worker::timer::Timer;
use crate::worker::worker_snapshot::WorkerService;

/// A connection, and the answer that comes on it.
#[derive(Debug)]
pub(crate) struct UpstreamClient {
    lease: UpstreamLease,
    timer: Timer,
    /// What the timer stands for.
    limit: TimeLimit,
    pub(crate) incoming: Buffer,
    pub(crate) head: ResponseHead,
    pub(crate) sent: usize,
    /// Whether all of the request was sent.
    is_written: bool,
    /// The server takes no more of it.
    broken: bool,
    pub(crate) received: u64,
    /// Bytes read since the worker's other connections had their turn.
    turn: usize,
}

/// How the body of an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyEnd {
    /// It is over; the connection may carry another request or not.
    Whole { reusable: bool },
    /// Nobody wanted to read more of it.
    Enough,
    /// Its time was over.
    Late,
    /// It broke off, by this.
    Broken(EndEvent),
}

impl UpstreamClient {
    /// A pooled connection that is good for such a request, or a new one. `at`: where the server is, and which one of those that have
    /// been at its place. `times`: for connecting, and what is left on the whole.
    pub(crate) async fn open(
        worker: &Worker,
        (service, server): (&Rc<WorkerService>, u32),
        at: (&Endpoint, u64),
        reuse: Reuse,
        times: (Duration, Duration),
    ) -> Result<Self, Outcome> {
        let now = worker.clock.now();
        let lease = match UpstreamLease::pooled(service, server, at.1, reuse, now) {
            Some(pooled) => pooled,
            None => UpstreamLease::connect(worker, (service, server), at, times).await?,
        };
        Ok(Self {
            lease,
            timer: worker.timers.timer(),
            limit: TimeLimit::Attempt,
            incoming: worker.buffers.take(),
            head: ResponseHead::default(),
            sent: 0,
            is_written: false,
            broken: false,
            received: 0,
            turn: 0,
        })
    }

    /// Whether it has carried requests before.
    pub(crate) const fn is_reused(&self) -> bool {
        self.lease.is_reused()
    }

    /// From here on everything ends at this moment, by this limit.
    pub(crate) fn until(&mut self, (end, limit): (Instant, TimeLimit)) {
        self.limit = limit;
        self.timer.set(end);
    }

    /// Sends the request and waits for the answer's head, past interim ones. An answer that comes before the whole request is
    /// sent is as good as any; the rest is not sent then. What is sent is added to `sent` at once, since this may be dropped before
    /// it is over.
    pub(crate) async fn ask(
        &mut self,
        bytes: &[u8],
        method: Method,
        sent: Option<&Counter>,
    ) -> Result<u16, Outcome> {
        let mut interim = 0;
        let mut scanned = 0_usize;
        loop {
            // A head that dribbles is looked at as a whole only once, when its end is there.
            let unread = self.incoming.unread();
            let whole = head_end(unread, scanned.saturating_sub(3)).is_some();
            scanned = unread.len();
            if whole {
                let bytes = self.incoming.unread_mut();
                let parsed = self.head.parse_tidied(bytes, method, &RESPONSE_LIMITS);
                match (parsed, self.head.status) {
                    (Ok(Parsed::Complete), 101) | (Err(_), _) => return Err(self.malformed()),
                    (Ok(Parsed::Complete), 100..=199) if interim < INTERIM_LIMIT => {
                        interim += 1;
                        self.incoming.consume(self.head.length);
                        scanned = 0;
                        continue;
                    }
                    (Ok(Parsed::Complete), 100..=199) => return Err(self.malformed()),
                    (Ok(Parsed::Complete), _) if begin_of_body(&self.head, bytes).is_err() => {
                        return Err(self.malformed());
                    }
                    (Ok(Parsed::Complete), status) => return Ok(status),
                    (Ok(Parsed::Partial), _) => {}
                }
            }
            match self.more(bytes, sent).await {
                Some(Ok(0)) if self.incoming.spare().is_empty() => return Err(self.malformed()),
                Some(read) => {
                    read_event(read).map_err(|end| self.ended(end))?;
                }
                None => return Err(self.ended(EndEvent::Late(self.limit))),
            }
        }
    }

    fn malformed(&self) -> Outcome {
        self.ended(EndEvent::Malformed(Peer::Server))
    }

    fn ended(&self, event: EndEvent) -> Outcome {
        self.judge(event, AttemptPhase::AwaitingHead, false).outcome
    }

    /// What is to be made of an end at this point ([`UpstreamLease::judge`]).
    pub(crate) const fn judge(
        &self,
        event: EndEvent,
        phase: AttemptPhase,
        clean: bool,
    ) -> Judgement {
        let sent = match (self.is_written, self.sent) {
            (true, _) => Sent::Whole,
            (false, 0) => Sent::Nothing,
            (false, _) => Sent::Part,
        };
        self.lease.judge(event, phase, sent, clean)
    }

    /// Takes the head off, and reads the body to its end, or until `most` bytes of it have come. Its content is appended to
    /// `content`, if it is wanted; that can be a buffer more than `most`, which is of the content then and not of what frames it.
    pub(crate) async fn read_body(
        &mut self,
        most: usize,
        mut content: Option<&mut Vec<u8>>,
    ) -> BodyEnd {
        self.incoming.consume(self.head.length);
        let mut body = Body::of_response(self.head.framing);
        let mut read = 0;
        loop {
            if !body.is_done() && !self.incoming.is_empty() {
                let unread = self.incoming.unread();
                let progress = match &mut content {
                    Some(content) => body.advance_decoded(unread, content),
                    None => body.advance(unread),
                };
                let Ok(progress) = progress else {
                    return BodyEnd::Broken(EndEvent::Malformed(Peer::Server));
                };
                self.incoming.consume(progress.taken);
                read = match &content {
                    Some(content) => content.len(),
                    None => read + progress.taken,
                };
            }
            if body.is_done() {
                let clean = self.head.keep_alive && self.incoming.is_empty();
                let event = EndEvent::Answered(self.head.status);
                let reusable = self.judge(event, AttemptPhase::Streaming, clean).may_keep;
                return BodyEnd::Whole { reusable };
            }
            if read > most || (read == most && content.is_none()) {
                return BodyEnd::Enough;
            }
            match self.more(&[], None).await {
                Some(Ok(0)) if body.end_of_stream().is_ok() => {
                    return BodyEnd::Whole { reusable: false };
                }
                Some(read) => {
                    if let Err(end) = read_event(read) {
                        return BodyEnd::Broken(end);
                    }
                }
                None => return BodyEnd::Late,
            }
        }
    }

    /// Reads more, while what is left of the request `bytes` goes out; 0 at the end, nothing when the time is over.
    async fn more(&mut self, bytes: &[u8], sent: Option<&Counter>) -> Option<io::Result<usize>> {
        let read = poll_fn(|cx| {
            let before = self.sent;
            let written = self.poll_write(bytes, cx);
            if let Some(counter) = sent {
                counter.add_from_owner((self.sent - before) as u64);
            }
            if let Err(error) = written {
                return Poll::Ready(Some(Err(error)));
            }
            match poll_fill(self.lease.stream(), &mut self.incoming, cx) {
                Poll::Ready(read) => Poll::Ready(Some(read)),
                Poll::Pending if self.timer.poll_expired(cx) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        let n = *read
            .as_ref()
            .and_then(|read| read.as_ref().ok())
            .unwrap_or(&0);
        self.received += n as u64;
        self.turn += n;
        if self.turn >= POLL_BYTES {
            self.turn = 0;
            tokio::task::yield_now().await;
        }
        read
    }

    /// Sends what can be sent of the request. If the server does not take it, its answer says more than that.
    ///
    /// # Errors
    /// If evenkeel's own machine could not send it.
    fn poll_write(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> io::Result<()> {
        while !self.broken && self.sent < bytes.len() {
            let stream = Pin::new(self.lease.stream());
            match stream.poll_write(cx, &bytes[self.sent..]) {
                Poll::Ready(Ok(n)) if n > 0 => self.sent += n,
                Poll::Ready(Err(error)) if stream_event(&error) == EndEvent::Exhausted => {
                    self.broken = true;
                    return Err(error);
                }
                Poll::Ready(_) => self.broken = true,
                Poll::Pending => return Ok(()),
            }
            self.is_written = self.sent == bytes.len();
        }
        Ok(())
    }

    /// As an attempt whose answer is to be passed on, with the answer's head; the request was sent at `written`.
    pub(crate) fn into_exchange(self, written: Instant) -> (UpstreamExchange, ResponseHead) {
        let mut upstream =
            UpstreamExchange::answered(self.lease, self.incoming, written, !self.is_written);
        (upstream.bytes_sent, upstream.bytes_received) = (self.sent as u64, self.received);
        (upstream, self.head)
    }

    /// Gives back what it holds; the connection as well if it can be used again.
    pub(crate) fn end(self, worker: &Worker, reusable: bool) {
        worker.buffers.give(self.incoming);
        let now = worker.clock.now();
        self.lease.complete(reusable, &self.head, now);
    }
}
