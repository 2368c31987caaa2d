//! One attempt on one connection: the request goes out while the answer may already come in.
//!
//! Nothing of the answer has reached the client when this is over, so an attempt can still be taken back.

mod send;

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use evenkeel_core::blame::{Event as Ended, Facts, Judgement, Limit, Peer, Phase, Sent, judge};
use evenkeel_core::{Instant, Outcome};
use evenkeel_http1::{Body, BodyError, Framing, HeadError, Limits, Parsed, ResponseHead, head_end};

use crate::body::RequestBody;
use crate::buffer::{Buffer, STANDARD};
use crate::client::{Client, poll_fill};
use crate::patience::Patience;
use crate::upstream::Upstream;
use crate::violation::Violation;
use crate::worker::{Worker, Workspace};

pub(crate) use send::SendEnd;

/// Most bytes and fields of a response's head: what a server may send is bounded as well.
pub(crate) const RESPONSE_LIMITS: Limits = Limits {
    head_bytes: STANDARD,
    headers: 256,
    target_bytes: 0,
};
/// Interim responses (1xx) that one attempt may send.
pub(crate) const INTERIM_LIMIT: u32 = 16;
/// How long an answer is waited for after the server has stopped to take the request: it has been sent by then, if there is one.
const ANSWER_AFTER_BREAK: Duration = Duration::from_secs(1);

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum TalkEnd {
    /// A response's head is in `work.response`, its bytes at the front of the talk's buffer.
    Head,
    /// There is none.
    Failed(Outcome),
    /// The client went away while it sent its body.
    ClientGone,
    /// The client sent something that is not a body.
    BadBody(BodyError),
    /// The client was too slow with its body.
    ClientLate,
    /// It is not over: something else has happened that was to be told.
    Paused,
}

/// One attempt under way.
#[derive(Debug)]
pub(crate) struct Talk {
    /// The server, by its index.
    pub(crate) server: u32,
    pub(crate) upstream: Upstream,
    /// What came from the server and is not yet dealt with.
    pub(crate) incoming: Buffer,
    /// When the request was fully written.
    pub(crate) written: Option<Instant>,
    /// When its head had come, if more was waited for.
    pub(crate) head_at: Option<Instant>,
    /// Time spent on a body that did not come at once.
    pub(crate) waited_for_body: Duration,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    head_sent: usize,
    replay_sent: usize,
    /// Whether the client is to send more of its body before anything can be written.
    waits_for_client: bool,
    /// Whether that was ever so.
    has_waited: bool,
    /// Whether a byte of the request was read or written since this was looked at.
    pub(crate) progress: bool,
    /// The server takes no more of the request.
    pub(crate) broken: bool,
    /// What the timer stands for.
    limit: Limit,
    /// Interim responses so far.
    pub(crate) interim: u32,
    /// Bytes of `incoming` in which no end of a head was found.
    scanned: usize,
}

/// What a talk works with.
#[derive(Debug)]
pub(crate) struct Desk<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) client: &'a mut Client,
    pub(crate) work: &'a mut Workspace,
    pub(crate) body: &'a mut RequestBody,
}

/// What a look at the server's side came to.
pub(crate) enum Event {
    End(TalkEnd),
    Interim,
}

impl Talk {
    pub(crate) fn new(upstream: Upstream, server: u32) -> Self {
        Self {
            server,
            upstream,
            incoming: Buffer::default(),
            written: None,
            head_at: None,
            waited_for_body: Duration::ZERO,
            bytes_sent: 0,
            bytes_received: 0,
            head_sent: 0,
            replay_sent: 0,
            waits_for_client: false,
            has_waited: false,
            progress: false,
            broken: false,
            limit: Limit::Attempt,
            interim: 0,
            scanned: 0,
        }
    }

    /// Sends the request and waits for the response's head. It pauses when `pause` says so, and may be run again to go on.
    pub(crate) async fn run(
        &mut self,
        desk: &mut Desk<'_>,
        begun: Instant,
        patience: Patience,
        mut pause: impl FnMut(&mut Context<'_>) -> bool,
    ) -> TalkEnd {
        loop {
            let event = poll_fn(|cx| match self.poll(desk, begun, patience, cx) {
                Poll::Pending if pause(cx) => Poll::Ready(Event::End(TalkEnd::Paused)),
                event => event,
            });
            match event.await {
                Event::End(end) => return end,
                Event::Interim => {
                    if let Some(end) = self.pass_interim(desk).await {
                        return end;
                    }
                    self.arm(desk, desk.worker.clock.now(), patience);
                }
            }
        }
    }

    fn poll(
        &mut self,
        desk: &mut Desk<'_>,
        begun: Instant,
        patience: Patience,
        cx: &mut Context<'_>,
    ) -> Poll<Event> {
        if self.written.is_none() && !self.broken {
            match self.poll_send(desk, cx) {
                Poll::Ready(Ok(())) => self.is_written(desk, begun, patience),
                // Perhaps it has answered first: what has come is still there to be read.
                Poll::Ready(Err(SendEnd::Server)) => {
                    let now = desk.worker.clock.now();
                    desk.client.timer.set(now + ANSWER_AFTER_BREAK);
                }
                Poll::Ready(Err(SendEnd::Client(end))) => return Poll::Ready(Event::End(end)),
                Poll::Pending if std::mem::take(&mut self.progress) => {
                    self.arm(desk, desk.worker.clock.now(), patience);
                }
                Poll::Pending => {}
            }
        }
        if let Poll::Ready(event) = self.poll_head(desk, cx) {
            return Poll::Ready(event);
        }
        if desk.client.timer.poll_expired(cx) {
            return Poll::Ready(Event::End(self.late()));
        }
        Poll::Pending
    }

    /// The timer has run out before a head.
    fn late(&self) -> TalkEnd {
        match self.limit {
            _ if self.broken => self.failed(Ended::Closed(Peer::Server)),
            Limit::Idle(Peer::Client) => TalkEnd::ClientLate,
            limit => self.failed(Ended::Late(limit)),
        }
    }

    pub(crate) fn failed(&self, event: Ended) -> TalkEnd {
        TalkEnd::Failed(self.judge(event, Phase::AwaitingHead, false).outcome)
    }

    /// What is to be made of an end at this point. `clean`: the server lets the connection stay open, and nothing has come
    /// beyond the response.
    pub(crate) fn judge(&self, event: Ended, phase: Phase, clean: bool) -> Judgement {
        let sent = match (self.written, self.bytes_sent) {
            (Some(_), _) if !self.broken => Sent::Whole,
            (None, 0) => Sent::Nothing,
            _ => Sent::Part,
        };
        let reused = self.upstream.reused;
        judge(
            event,
            Facts {
                phase,
                sent,
                reused,
                clean,
            },
        )
    }

    fn is_written(&mut self, desk: &Desk<'_>, begun: Instant, patience: Patience) {
        let now = if self.has_waited {
            let now = desk.worker.clock.now();
            self.waited_for_body = now.since(begun);
            now
        } else {
            begun
        };
        self.written = Some(now);
        self.arm(desk, now, patience);
    }

    /// Sets the timer to what ends this phase of the attempt.
    fn arm(&mut self, desk: &Desk<'_>, now: Instant, patience: Patience) {
        let (end, limit) = match self.written {
            Some(written) => patience.end(written, self.waited_for_body),
            None if self.waits_for_client => (now + patience.idle, Limit::Idle(Peer::Client)),
            None => (now + patience.idle, Limit::Idle(Peer::Server)),
        };
        self.limit = limit;
        desk.client.timer.set(end);
    }

    fn poll_head(&mut self, desk: &mut Desk<'_>, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            if self.incoming.size() == 0 {
                // No buffer is held while there is nothing to read.
                let ready = ready!(self.upstream.stream.poll_read_ready(cx));
                if ready.is_err() {
                    return Poll::Ready(Event::End(self.failed(Ended::Closed(Peer::Server))));
                }
                self.incoming = desk.worker.buffers.take_large();
            }
            match poll_fill(&mut self.upstream.stream, &mut self.incoming, cx) {
                Poll::Ready(Ok(n)) if n > 0 => self.bytes_received += n as u64,
                Poll::Ready(_) => {
                    return Poll::Ready(Event::End(self.failed(Ended::Closed(Peer::Server))));
                }
                Poll::Pending => {
                    if self.incoming.is_empty() {
                        desk.worker.buffers.give(std::mem::take(&mut self.incoming));
                    }
                    return Poll::Pending;
                }
            }
            if let Some(event) = self.parse(desk) {
                return Poll::Ready(event);
            }
        }
    }

    pub(crate) fn parse(&mut self, desk: &mut Desk<'_>) -> Option<Event> {
        // A head that dribbles is looked at as a whole only once, when its end is there.
        let from = self.scanned.saturating_sub(3);
        if self.scanned > 0 && head_end(self.incoming.unread(), from).is_none() {
            self.scanned = self.incoming.len();
            return (self.scanned >= RESPONSE_LIMITS.head_bytes).then_some(self.malformed());
        }
        self.scanned = self.incoming.len();
        let method = desk.work.request.method;
        match desk
            .work
            .response
            .parse_tidied(self.incoming.unread_mut(), method, &RESPONSE_LIMITS)
        {
            Ok(Parsed::Complete) => self.scanned = 0,
            Ok(Parsed::Partial) if self.incoming.len() < RESPONSE_LIMITS.head_bytes => return None,
            Ok(Parsed::Partial) => return Some(self.malformed_head(desk, HeadError::TooLarge)),
            Err(error) => return Some(self.malformed_head(desk, error)),
        }
        match desk.work.response.status {
            101 if desk.work.request.upgrade.is_none() => Some(self.malformed()),
            100 | 102..=199 => Some(Event::Interim),
            _ => match begin_of_body(&desk.work.response, self.incoming.unread()) {
                Ok(()) => Some(Event::End(TalkEnd::Head)),
                Err(error) => {
                    desk.work.violation = Some(Violation::of_body(error));
                    Some(self.malformed())
                }
            },
        }
    }

    fn malformed_head(&self, desk: &mut Desk<'_>, error: HeadError) -> Event {
        let field = desk
            .work
            .response
            .refused_field(self.incoming.unread(), error);
        desk.work.violation = Some(Violation::of_head(error, field));
        self.malformed()
    }

    fn malformed(&self) -> Event {
        Event::End(self.failed(Ended::Malformed(Peer::Server)))
    }

    /// Reads on until the answer has `length` bytes, head and body; false if it breaks off. One that is not whole when an
    /// attempt's time is over again is not held any longer.
    pub(crate) async fn hold(
        &mut self,
        desk: &Desk<'_>,
        length: usize,
        patience: Patience,
    ) -> bool {
        let now = desk.worker.clock.now();
        self.head_at = Some(now);
        let (end, _) = patience.end(now, self.waited_for_body);
        desk.client.timer.set(end);
        poll_fn(|cx| {
            while self.incoming.len() < length {
                match poll_fill(&mut self.upstream.stream, &mut self.incoming, cx) {
                    Poll::Ready(Ok(n)) if n > 0 => self.bytes_received += n as u64,
                    Poll::Ready(_) => return Poll::Ready(false),
                    Poll::Pending if desk.client.timer.poll_expired(cx) => {
                        return Poll::Ready(true);
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            Poll::Ready(true)
        })
        .await
    }

    /// An attempt whose answer has begun on another connection, which takes no more of the request: it has all of it, or
    /// does not want it (`broken`).
    pub(crate) fn answered(
        (upstream, server): (Upstream, u32),
        incoming: Buffer,
        written: Instant,
        broken: bool,
    ) -> Self {
        Self {
            incoming,
            written: Some(written),
            broken,
            ..Self::new(upstream, server)
        }
    }

    /// Whether the request is still to be written, as far as the server takes it.
    pub(crate) const fn is_sending(&self) -> bool {
        self.written.is_none() && !self.broken
    }

    /// Gives back what it holds, and the connection to whoever wants it.
    pub(crate) fn end(mut self, worker: &Worker) -> Upstream {
        worker.buffers.give(std::mem::take(&mut self.incoming));
        self.upstream
    }
}

/// Whether what has come behind the head at the front of `bytes` is the beginning of a body: what is known not to be one now can
/// still be taken back.
pub(crate) fn begin_of_body(head: &ResponseHead, bytes: &[u8]) -> Result<(), BodyError> {
    if head.framing == Framing::Chunked {
        Body::of_response(head.framing).advance(&bytes[head.length..])?;
    }
    Ok(())
}
