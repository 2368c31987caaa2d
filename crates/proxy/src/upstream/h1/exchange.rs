//! One attempt on one connection: what is known of it while the request goes out and the answer comes in.

use std::time::Duration;

use evenkeel_connect::Stream;
use evenkeel_core::blame::{AttemptPhase, EndEvent as Ended, Judgement, Peer, Sent, TimeLimit};
use evenkeel_core::{Instant, Outcome, ServerId};
use evenkeel_http1::{Body, BodyError, Framing, HeadError, Limits, Parsed, ResponseHead, head_end};

use super::body::ResponseInput;
use crate::downstream::io::TunnelEnd;
use crate::downstream::violation::Violation;
use crate::exchange::io::ExchangeIo;
use crate::stats::counters::ServerCounters;
use crate::upstream::lease::UpstreamLease;
use crate::worker::Worker;
use crate::worker::buffer::{Buffer, Buffers, STANDARD};
use crate::worker::client_watch::WatchedClient;

/// Most bytes and fields of a response's head: what a server may send is bounded as well.
pub(crate) const RESPONSE_LIMITS: Limits = Limits {
    head_bytes: STANDARD,
    headers: 256,
    target_bytes: 0,
};
/// Interim responses (1xx) that one attempt may send.
pub(crate) const INTERIM_LIMIT: u32 = 16;
/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum UpstreamExchangeEnd {
    /// A response's head is in `work.response`, its bytes at the front of the upstream exchange's buffer.
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
pub(crate) struct UpstreamExchange {
    pub(super) lease: UpstreamLease,
    /// What came from the server and is not yet dealt with.
    pub(super) incoming: Buffer,
    /// When the request was fully written.
    pub(crate) written: Option<Instant>,
    /// When its head had come, if more was waited for.
    pub(crate) head_at: Option<Instant>,
    /// Time spent on a body that did not come at once.
    pub(crate) waited_for_body: Duration,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(super) head_sent: usize,
    pub(super) replay_sent: usize,
    /// Whether the client is to send more of its body before anything can be written.
    pub(super) waits_for_client: bool,
    /// Whether that was ever so.
    pub(super) has_waited: bool,
    /// Whether a byte of the request was read or written since this was looked at.
    pub(super) progress: bool,
    /// The server takes no more of the request.
    pub(super) broken: bool,
    /// What the timer stands for.
    pub(super) limit: TimeLimit,
    /// Interim responses so far.
    pub(super) interim: u32,
    /// Bytes of `incoming` in which no end of a head was found.
    pub(super) scanned: usize,
}

/// What a look at the server's side came to.
pub(crate) enum UpstreamEvent {
    End(UpstreamExchangeEnd),
    Interim,
}

impl UpstreamExchange {
    pub(crate) fn new(lease: UpstreamLease) -> Self {
        Self {
            lease,
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
            limit: TimeLimit::Attempt,
            interim: 0,
            scanned: 0,
        }
    }

    pub(crate) fn failed(&self, event: Ended) -> UpstreamExchangeEnd {
        UpstreamExchangeEnd::Failed(self.judge(event, AttemptPhase::AwaitingHead, false).outcome)
    }

    /// What is to be made of an end at this point ([`UpstreamLease::judge`]).
    pub(crate) fn judge(&self, event: Ended, phase: AttemptPhase, clean: bool) -> Judgement {
        let sent = match (self.written, self.bytes_sent) {
            (Some(_), _) if !self.broken => Sent::Whole,
            (None, 0) => Sent::Nothing,
            _ => Sent::Part,
        };
        self.lease.judge(event, phase, sent, clean)
    }

    pub(crate) fn parse(&mut self, io: &mut ExchangeIo<'_>) -> Option<UpstreamEvent> {
        // A head that dribbles is looked at as a whole only once, when its end is there.
        let from = self.scanned.saturating_sub(3);
        if self.scanned > 0 && head_end(self.incoming.unread(), from).is_none() {
            self.scanned = self.incoming.len();
            return (self.scanned >= RESPONSE_LIMITS.head_bytes).then_some(self.malformed());
        }
        self.scanned = self.incoming.len();
        let method = io.work.request.method;
        match io
            .work
            .response
            .parse_tidied(self.incoming.unread_mut(), method, &RESPONSE_LIMITS)
        {
            Ok(Parsed::Complete) => self.scanned = 0,
            Ok(Parsed::Partial) if self.incoming.len() < RESPONSE_LIMITS.head_bytes => return None,
            Ok(Parsed::Partial) => return Some(self.malformed_head(io, HeadError::TooLarge)),
            Err(error) => return Some(self.malformed_head(io, error)),
        }
        match io.work.response.status {
            101 if io.work.request.upgrade.is_none() => Some(self.malformed()),
            100 | 102..=199 => Some(UpstreamEvent::Interim),
            _ => match begin_of_body(&io.work.response, self.incoming.unread()) {
                Ok(()) => Some(UpstreamEvent::End(UpstreamExchangeEnd::Head)),
                Err(error) => {
                    io.work.violation = Some(Violation::of_body(error));
                    Some(self.malformed())
                }
            },
        }
    }

    fn malformed_head(&self, io: &mut ExchangeIo<'_>, error: HeadError) -> UpstreamEvent {
        let field = io
            .work
            .response
            .refused_field(self.incoming.unread(), error);
        io.work.violation = Some(Violation::of_head(error, field));
        self.malformed()
    }

    fn malformed(&self) -> UpstreamEvent {
        UpstreamEvent::End(self.failed(Ended::Malformed(Peer::Server)))
    }

    /// An attempt whose answer has begun on another connection, which takes no more of the request: it has all of it, or
    /// does not want it (`broken`).
    pub(crate) fn answered(
        lease: UpstreamLease,
        incoming: Buffer,
        written: Instant,
        broken: bool,
    ) -> Self {
        Self {
            incoming,
            written: Some(written),
            broken,
            ..Self::new(lease)
        }
    }

    /// The server: of the service that was asked then, which is another one after a fallback.
    pub(crate) fn server(&self) -> ServerId {
        self.lease.server()
    }

    /// The worker's numbers of the server.
    pub(crate) fn counters(&self) -> &ServerCounters {
        self.lease.counters()
    }

    /// The bytes of the response's head, and what was read after it.
    pub(crate) fn head_bytes(&self) -> &[u8] {
        self.incoming.unread()
    }

    /// Consumes the response's head.
    pub(crate) fn consume_head(&mut self, head: &ResponseHead) {
        self.incoming.consume(head.length);
    }

    /// Whether what was read is exactly the response with this head.
    pub(crate) fn is_whole(&self, head: &ResponseHead) -> bool {
        let there = (self.incoming.len() - head.length) as u64;
        match head.framing {
            Framing::None => there == 0,
            Framing::Length(length) => there == length,
            Framing::Chunked | Framing::UntilClose => false,
        }
    }

    /// The length of the response's body, if it is known, not all of it was read yet, and the buffer has room for it.
    pub(crate) fn length_to_come(&self, head: &ResponseHead) -> Option<usize> {
        let Framing::Length(length) = head.framing else {
            return None;
        };
        let length = usize::try_from(length).ok()?;
        let all = head.length.checked_add(length)?;
        (all > self.incoming.len() && all <= self.incoming.size()).then_some(length)
    }

    /// Where the body of the response is read from, once its head is consumed.
    pub(crate) const fn input<'i>(&'i mut self, buffers: &'i Buffers) -> ResponseInput<'i, Stream> {
        ResponseInput {
            stream: self.lease.stream(),
            incoming: &mut self.incoming,
            buffers,
            received: &mut self.bytes_received,
        }
    }

    /// The server's side of a tunnel.
    pub(crate) const fn tunnel_end(&mut self) -> TunnelEnd<'_, Stream> {
        TunnelEnd {
            stream: self.lease.stream(),
            incoming: &mut self.incoming,
        }
    }

    /// Watches the server's connection for a reset.
    pub(crate) fn watch(&self, worker: &Worker) -> WatchedClient {
        self.lease.watch(worker)
    }

    /// Makes the close of the server's connection a reset.
    pub(crate) fn reset_on_close(&self) {
        self.lease.reset_on_close();
    }

    /// Ends it after a response: releases its buffer, and completes its lease ([`UpstreamLease::complete`]).
    pub(crate) fn complete(
        self,
        worker: &Worker,
        reusable: bool,
        head: &ResponseHead,
        now: Instant,
    ) {
        worker.buffers.give(self.incoming);
        self.lease.complete(reusable, head, now);
    }

    /// Ends it without a response to relay: releases its buffer, and abandons its lease ([`UpstreamLease::abandon`]).
    pub(crate) fn abandon(self, worker: &Worker, outcome: Outcome, begun: Instant) {
        worker.buffers.give(self.incoming);
        self.lease.abandon(outcome, begun);
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
