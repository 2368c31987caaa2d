//! One attempt: a connection, the request, the response's head.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use evenkeel_core::blame::AttemptPhase;
use evenkeel_core::{Instant, Outcome};
use evenkeel_request::Cause;
use evenkeel_request::exchange::{Event, Step};

use crate::downstream::h1::RequestBody;
use crate::downstream::violation::Violation;
use crate::exchange::context::RequestContext;
use crate::exchange::hedge::RaceResult;
use crate::exchange::io::ExchangeIo;
use crate::upstream::deadlines::AttemptDeadlines;
use crate::upstream::h1::{UpstreamExchange, UpstreamExchangeEnd};
use crate::upstream::idle_timeout::Reuse;
use crate::upstream::lease::UpstreamLease;
use crate::worker::client_watch::ClientWatch;

/// How an attempt ended, when there is a response to pass on or not.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AttemptResult {
    /// What is said with its server is in the place that was given for it.
    Answer,
    Failed(Outcome),
    /// The client's doing: nothing is to be tried again, and this is the answer.
    Aborted(Cause),
}

impl RequestContext<'_> {
    /// Makes one attempt: a connection, the request, the response's head. What is said with the server stays in one place, from which
    /// an answer is passed on: it is large.
    pub(crate) async fn attempt(
        &mut self,
        io: &mut ExchangeIo<'_>,
        place: &mut Option<UpstreamExchange>,
        server: u32,
    ) -> AttemptResult {
        let now = self.latest;
        let client = io.watch().get();
        let _waits = client.waits_on(self.server_id(server));
        let lease = match self.lease(io, &client, server, now).await {
            Ok(lease) => lease,
            Err(outcome) => return AttemptResult::Failed(outcome),
        };
        let deadlines = self.deadlines();
        self.tell_deadline(&mut io.work.to_server);
        let upstream = place.insert(UpstreamExchange::new(lease));
        let end = if let Some(due) = self.hedge_due(io) {
            match Box::pin(self.race(io, upstream, (now, deadlines), due)).await {
                RaceResult::First(end) => end,
                RaceResult::Won(won) => {
                    count_sent(upstream);
                    self.abandon(place, Outcome::Superseded, now);
                    *place = Some(*won);
                    return AttemptResult::Answer;
                }
                RaceResult::Failed(outcome) => {
                    count_sent(upstream);
                    self.abandon(place, Outcome::Cancelled, now);
                    return AttemptResult::Failed(outcome);
                }
            }
        } else {
            self.run_alone(io, upstream, (now, deadlines)).await
        };
        if !upstream.waited_for_body.is_zero() {
            self.exchange.forgive(upstream.waited_for_body);
        }
        count_sent(upstream);
        if matches!(end, UpstreamExchangeEnd::Head) {
            return match self.length_to_hold(io, upstream) {
                None => AttemptResult::Answer,
                Some(length) => self.buffer_response(io, place, length, deadlines).await,
            };
        }
        let made = without_response(io, &end);
        let outcome = match made {
            AttemptResult::Failed(outcome) => outcome,
            AttemptResult::Answer | AttemptResult::Aborted(_) => Outcome::Cancelled,
        };
        self.abandon(place, outcome, now);
        made
    }

    /// Reads the whole response before any of it is passed on, so that the attempt can be taken back if it breaks off.
    async fn buffer_response(
        &self,
        io: &ExchangeIo<'_>,
        place: &mut Option<UpstreamExchange>,
        length: usize,
        deadlines: AttemptDeadlines,
    ) -> AttemptResult {
        let Some(upstream) = place.as_mut() else {
            return AttemptResult::Failed(Outcome::Cancelled);
        };
        let client = io.watch().get();
        let begun = self.latest;
        let held = {
            let mut hold = Box::pin(upstream.hold(io, length, deadlines));
            let may_rescue = || self.may_rescue(io.body());
            until_given_up(&client, hold.as_mut(), may_rescue).await
        };
        let outcome = match held {
            Ok(Ok(())) => return AttemptResult::Answer,
            Ok(Err(end)) => upstream.judge(end, AttemptPhase::Holding, false).outcome,
            Err(outcome) => outcome,
        };
        self.abandon(place, outcome, begun);
        AttemptResult::Failed(outcome)
    }

    /// When the first hedged attempt is due beside the one that begins to be sent, if any may be.
    fn hedge_due(&mut self, io: &ExchangeIo<'_>) -> Option<Instant> {
        if !self.exchange.hedges() {
            return None;
        }
        match self.next(Event::Connected, io) {
            Step::GoOn(due) => due,
            _ => None,
        }
    }

    fn deadlines(&self) -> AttemptDeadlines {
        let timeout = &self.policies().timeout;
        AttemptDeadlines {
            attempt: timeout.attempt,
            idle: timeout.idle,
            total: self.exchange.deadline().end(),
            told: self.exchange.attempts().told_end(),
        }
    }

    /// Sends the request and waits for the head of the answer, with no other attempt beside it.
    async fn run_alone(
        &self,
        io: &mut ExchangeIo<'_>,
        upstream: &mut UpstreamExchange,
        (begun, deadlines): (Instant, AttemptDeadlines),
    ) -> UpstreamExchangeEnd {
        let client = io.watch().get();
        loop {
            let event = |cx: &mut Context<'_>| client.poll_event(cx);
            let end = upstream.run(io, begun, deadlines, event).await;
            if !matches!(end, UpstreamExchangeEnd::Paused) || client.is_gone() {
                return end;
            }
            if client.take_server_out() && self.may_rescue(io.body()) {
                return UpstreamExchangeEnd::Failed(Outcome::Rescued);
            }
        }
    }

    /// Whether the attempt under way may be given up because its server was taken out.
    fn may_rescue(&self, body: &RequestBody) -> bool {
        let now = self.worker.clock.now();
        self.exchange.may_rescue(body.is_replayable(), now)
    }

    /// Likewise for a hedged attempt on this server.
    pub(super) fn may_rescue_from(&self, server: u32, body: &RequestBody) -> bool {
        let now = self.worker.clock.now();
        (self.exchange).may_rescue_from(server, body.is_replayable(), now)
    }

    /// The length of the answer, head and body, if it is to be held back until it is whole: when it could be tried again.
    fn length_to_hold(&self, io: &ExchangeIo<'_>, upstream: &UpstreamExchange) -> Option<usize> {
        let head = &io.work.response;
        let length = upstream.length_to_come(head)?;
        let holds = (self.exchange).holds_response(length, io.body().is_replayable());
        holds.then_some(head.length + length)
    }

    /// A pooled connection to the server, or a new one.
    async fn lease(
        &self,
        io: &ExchangeIo<'_>,
        client: &ClientWatch,
        server: u32,
        now: Instant,
    ) -> Result<UpstreamLease, Outcome> {
        if let Some(lease) = self.pooled(server, self.reuse(io), now) {
            return Ok(lease);
        }
        // Boxed: most requests need no new connection, and all would be larger by it.
        let mut connecting = Box::pin(self.connect(server, now));
        let may_rescue = || self.may_rescue(io.body());
        until_given_up(client, connecting.as_mut(), may_rescue).await?
    }

    fn pooled(&self, server: u32, reuse: Reuse, now: Instant) -> Option<UpstreamLease> {
        let generation = self.exchange.servers().generation(server);
        let lease = UpstreamLease::pooled(self.service(), server, generation, reuse, now);
        if let Some(lease) = &lease {
            lease.counters().reused.add_from_owner(1);
        }
        lease
    }

    async fn connect(&self, server: u32, now: Instant) -> Result<UpstreamLease, Outcome> {
        let left = self.exchange.deadline().remaining(now);
        let servers = self.exchange.servers();
        let address = servers.address(server).ok_or(Outcome::Unreachable)?;
        let at = (address, servers.generation(server));
        let times = (self.policies().timeout.connect, left);
        UpstreamLease::connect(self.worker, (self.service(), server), at, times).await
    }

    /// Closes the connection of an attempt that began at `begun` and failed with `outcome`.
    fn abandon(&self, place: &mut Option<UpstreamExchange>, outcome: Outcome, begun: Instant) {
        if let Some(upstream) = place.take() {
            upstream.abandon(self.worker, outcome, begun);
        }
    }

    /// Whether the request would be sent again if its server closed the connection at that moment.
    fn reuse(&self, io: &ExchangeIo<'_>) -> Reuse {
        let stays_replayable = io.body().stays_replayable();
        match self.exchange.repeats_after_reset(stays_replayable) {
            true => Reuse::Repeatable,
            false => Reuse::Once,
        }
    }
}

fn count_sent(upstream: &UpstreamExchange) {
    let counters = upstream.counters();
    counters.bytes_sent.add_from_owner(upstream.bytes_sent);
}

/// The result of an attempt that ended like this, without a response to relay.
fn without_response(io: &mut ExchangeIo<'_>, end: &UpstreamExchangeEnd) -> AttemptResult {
    match end {
        UpstreamExchangeEnd::Failed(outcome) => AttemptResult::Failed(*outcome),
        // An attempt like others: it is counted, and the log tells of it.
        UpstreamExchangeEnd::Head
        | UpstreamExchangeEnd::ClientGone
        | UpstreamExchangeEnd::Paused => AttemptResult::Failed(Outcome::Cancelled),
        UpstreamExchangeEnd::ClientLate => AttemptResult::Aborted(Cause::RequestTimeout),
        UpstreamExchangeEnd::BadBody(error) => {
            io.work.violation = Some(Violation::of_body(*error));
            let (status, word) = (400, error.word());
            AttemptResult::Aborted(Cause::BadRequest { status, word })
        }
    }
}

/// Does `work`, a part of an attempt, until it is done, the client is gone, or the server was taken out and `may_rescue` agrees.
/// It is pinned by the caller: a future that is moved into another one takes its room twice.
///
/// # Errors
/// The outcome of an attempt that is given up.
async fn until_given_up<F: Future>(
    client: &ClientWatch,
    mut work: Pin<&mut F>,
    may_rescue: impl Fn() -> bool,
) -> Result<F::Output, Outcome> {
    let given_up = |cx: &Context<'_>| {
        if client.poll_gone(cx) {
            Some(Outcome::Cancelled)
        } else {
            (client.take_server_out() && may_rescue()).then_some(Outcome::Rescued)
        }
    };
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending => match given_up(cx) {
            Some(outcome) => Poll::Ready(Err(outcome)),
            None => Poll::Pending,
        },
    })
    .await
}
