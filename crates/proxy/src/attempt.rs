//! One attempt: a connection, the request, the response's head.

use std::task::Context;

use evenkeel_core::blame::{Event, Peer, Phase};
use evenkeel_core::{Instant, Outcome, ServerId};
use evenkeel_http1::Framing;
use evenkeel_request::Cause;

use crate::client_watch::ClientWatch;
use crate::dial::dial;
use crate::drive::Journey;
use crate::hedge::{Raced, Won};
use crate::idle_timeout::Reuse;
use crate::patience::Patience;
use crate::rescue::until_given_up;
use crate::roster::Roster;
use crate::talk::{Desk, Talk, TalkEnd};
use crate::upstream::Upstream;
use crate::violation::Violation;

/// How an attempt ended, when there is a response to pass on or not.
pub(crate) enum Made<'r> {
    /// What is said with its server is in the place that was given for it.
    Answer,
    /// Of another attempt, which was made beside this one.
    Other(Box<Won<'r>>),
    Failed(Outcome),
    /// The client's doing: nothing is to be tried again, and this is the answer.
    Over(Cause),
}

impl<'a> Journey<'a> {
    /// Makes one attempt: a connection, the request, the response's head. What is said with the server stays in one place, from which
    /// an answer is passed on: it is large.
    pub(crate) async fn attempt<'r>(
        &mut self,
        desk: &mut Desk<'_>,
        place: &mut Option<Talk>,
        (server, roster): (ServerId, &'r Roster),
        now: Instant,
    ) -> Made<'r>
    where
        'a: 'r,
    {
        let total = self.exchange.deadline();
        let client = desk.client.watched.get();
        let _waits = client.waits_on(server);
        let upstream = match self.connection(desk, &client, (server, roster), now).await {
            Ok(upstream) => upstream,
            Err(outcome) => return Made::Failed(outcome),
        };
        let patience = self.patience(total.end());
        self.tell_deadline(&mut desk.work.to_server);
        let talk = place.insert(Talk::new(upstream));
        let end = match self.hedges(desk, now, patience.total) {
            None => {
                let at = (server, roster);
                self.run_alone(desk, talk, at, (now, patience)).await
            }
            Some(race) => {
                let race = self.race(desk, talk, (server, roster), (now, patience), race);
                match Box::pin(race).await {
                    Raced::First(end) => end,
                    Raced::Won(won) => {
                        let counters = self.worker.server_counters(server);
                        counters.bytes_sent.add_from_owner(talk.bytes_sent);
                        self.drop_talk(place);
                        return Made::Other(won);
                    }
                }
            }
        };
        if !talk.waited_for_body.is_zero() {
            self.exchange.forgive(talk.waited_for_body);
        }
        let counters = self.worker.server_counters(server);
        counters.bytes_sent.add_from_owner(talk.bytes_sent);
        if matches!(end, TalkEnd::Head) {
            let Some(length) = self.length_to_hold(desk, talk) else {
                return Made::Answer;
            };
            let may_rescue = || self.may_rescue(desk.body, server, roster);
            let held = {
                let mut hold = Box::pin(talk.hold(desk, length, patience));
                until_given_up(&client, hold.as_mut(), may_rescue).await
            };
            if held == Ok(true) {
                return Made::Answer;
            }
            let judged = talk.judge(Event::Closed(Peer::Server), Phase::Holding, false);
            self.drop_talk(place);
            return Made::Failed(held.map_or_else(|outcome| outcome, |_| judged.outcome));
        }
        self.close(place.take(), server, &end, now);
        match end {
            TalkEnd::Failed(outcome) => Made::Failed(outcome),
            // An attempt like others: it is counted, and the log tells of it.
            TalkEnd::Head | TalkEnd::ClientGone | TalkEnd::Paused => {
                Made::Failed(Outcome::Cancelled)
            }
            TalkEnd::ClientLate => Made::Over(Cause::RequestTimeout),
            TalkEnd::BadBody(error) => {
                desk.work.violation = Some(Violation::of_body(error));
                let (status, word) = (400, error.word());
                Made::Over(Cause::BadRequest { status, word })
            }
        }
    }

    fn patience(&self, total: Instant) -> Patience {
        Patience {
            attempt: self.policies.timeout.attempt,
            idle: self.policies.timeout.idle,
            total,
            told: self.exchange.told_end(),
        }
    }

    /// Sends the request and waits for the head of the answer, with no other attempt beside it.
    async fn run_alone(
        &self,
        desk: &mut Desk<'_>,
        talk: &mut Talk,
        (server, roster): (ServerId, &Roster),
        (begun, patience): (Instant, Patience),
    ) -> TalkEnd {
        let client = desk.client.watched.get();
        loop {
            let event = |cx: &mut Context<'_>| client.poll_event(cx);
            let end = talk.run(desk, begun, patience, event).await;
            if !matches!(end, TalkEnd::Paused) || client.is_gone() {
                return end;
            }
            if client.take_server_out() && self.may_rescue(desk.body, server, roster) {
                return TalkEnd::Failed(Outcome::Rescued);
            }
        }
    }

    /// The length of the answer, head and body, if it is to be held back until it is whole: when it could be tried again.
    fn length_to_hold(&self, desk: &Desk<'_>, talk: &Talk) -> Option<usize> {
        let head = &desk.work.response;
        let Framing::Length(length) = head.framing else {
            return None;
        };
        let length = usize::try_from(length).ok()?;
        let most = self.policies.retry.response_buffer;
        let may = length <= most && self.may_repeat && desk.body.is_replayable();
        let all = head.length + length;
        (may && all > talk.incoming.len() && all <= talk.incoming.size()).then_some(all)
    }

    /// A kept connection to the server, or a new one.
    async fn connection(
        &self,
        desk: &Desk<'_>,
        client: &ClientWatch,
        (server, roster): (ServerId, &Roster),
        now: Instant,
    ) -> Result<Upstream, Outcome> {
        if let Some(upstream) = self.kept_connection(server, self.reuse(desk), now) {
            return Ok(upstream);
        }
        // Boxed: most requests need no new connection, and all would be larger by it.
        let mut connection = Box::pin(self.new_connection(server, now));
        let may_rescue = || self.may_rescue(desk.body, server, roster);
        until_given_up(client, connection.as_mut(), may_rescue).await?
    }

    fn kept_connection(&self, server: ServerId, reuse: Reuse, now: Instant) -> Option<Upstream> {
        let generation = self.roster.generation(server.index);
        let kept = self.worker.kept_connection(server, generation, reuse, now);
        if kept.is_some() {
            let counters = self.worker.server_counters(server);
            counters.reused.add_from_owner(1);
        }
        kept
    }

    async fn new_connection(&self, server: ServerId, now: Instant) -> Result<Upstream, Outcome> {
        let rest = self.exchange.deadline().remaining(now);
        let generation = self.roster.generation(server.index);
        let address = self.roster.address(server.index);
        let address = address.ok_or(Outcome::Unreachable)?;
        let timeout = self.policies.timeout.connect;
        let stream = dial(self.worker, (server, address), timeout, rest).await?;
        Ok(Upstream::fresh(stream, generation))
    }

    fn drop_talk(&self, place: &mut Option<Talk>) {
        drop(place.take().map(|talk| talk.end(self.worker)));
    }

    /// Closes the connection of an attempt that began at `begun` and has no answer.
    fn close(&self, talk: Option<Talk>, server: ServerId, end: &TalkEnd, begun: Instant) {
        let Some(talk) = talk else { return };
        let upstream = talk.end(self.worker);
        if let TalkEnd::Failed(Outcome::Stale | Outcome::Reset { .. }) = end {
            self.worker.upstreams.lost(server, &upstream, begun);
        }
    }

    /// Whether the request would be sent again if its server closed the connection at that moment.
    fn reuse(&self, desk: &Desk<'_>) -> Reuse {
        let retry = &self.policies.retry;
        // The first such retry is free.
        let is_left = self.exchange.attempts() <= retry.limit;
        if self.may_repeat && retry.on.reset && is_left && desk.body.stays_replayable() {
            Reuse::Repeatable
        } else {
            Reuse::Once
        }
    }
}
