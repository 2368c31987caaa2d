//! What becomes of a response: passed on to the client, or put aside for another attempt; then how it ended is judged, and its
//! connection kept if both directions are complete.

use std::time::Duration;

use evenkeel_core::blame::{Event, Judgement, Peer, Phase};
use evenkeel_core::{Blame, Instant, Outcome, ServerId};
use evenkeel_http1::{Body, Framing};

use crate::client::Persist;
use crate::drive::{Journey, boxed};
use crate::finish::Finish;
use crate::flight::Flight;
use crate::relay::{Relay, RelayEnd};
use crate::rewrite;
use crate::talk::{Desk, Talk};
use crate::tunnel;

impl Journey<'_> {
    /// Passes over an answer, keeping its connection if it is complete.
    pub(crate) fn put_aside(
        &self,
        desk: &Desk<'_>,
        server: ServerId,
        talk: Option<Talk>,
        now: Instant,
    ) {
        let Some(talk) = talk else { return };
        let response = &desk.work.response;
        let there = (talk.incoming.len() - response.length) as u64;
        let complete = match response.framing {
            Framing::None => there == 0,
            Framing::Length(length) => there == length,
            Framing::Chunked | Framing::UntilClose => false,
        };
        let event = Event::Answered(response.status);
        let judged = talk.judge(event, Phase::Holding, complete && response.keep_alive);
        let upstream = talk.end(self.worker);
        if judged.may_keep {
            self.worker.keep_connection(server, upstream, response, now);
        }
    }

    /// How a request ended that had become a tunnel. A server that resets one is not blamed for it, and its client has seen it.
    fn tunnel_finish(&mut self, server: ServerId, event: Event, judged: Judgement) -> Finish {
        const SWITCHED: u16 = 101;
        // `latest` stays: how long a tunnel lasts says nothing about how quickly it was answered.
        let broken_off = match event {
            Event::Answered(_) => None,
            Event::Closed(Peer::Server) => Some(Outcome::Reset { sent: true }),
            _ => Some(judged.outcome),
        };
        if let Some(outcome) = broken_off.filter(|outcome| !outcome.is_failure()) {
            self.note_broken(self.worker.clock.now(), server, outcome);
        }
        Finish {
            broken_off,
            aborted: judged.blame == Blame::Client,
            ..Finish::answered(Persist::Close, SWITCHED)
        }
    }

    /// Passes a response on: from here on nothing can be taken back. Without one it is aborted.
    pub(crate) async fn pass_on(
        &mut self,
        desk: &mut Desk<'_>,
        place: &mut Option<Talk>,
        server: ServerId,
        flight: &mut Flight<'_>,
    ) -> Finish {
        let Some(talk) = place.as_mut() else {
            return Finish::aborted(Persist::Close);
        };
        let (finish, may_keep) = self.stream(desk, talk, server, flight).await;
        let upstream = place.take().map(|talk| talk.end(self.worker));
        if let Some(upstream) = upstream.filter(|_| may_keep) {
            let head = &desk.work.response;
            (self.worker).keep_connection(server, upstream, head, self.latest);
        }
        finish
    }

    /// Sends it on. Whether the connection to the server may be kept afterwards.
    async fn stream(
        &mut self,
        desk: &mut Desk<'_>,
        talk: &mut Talk,
        server: ServerId,
        flight: &mut Flight<'_>,
    ) -> (Finish, bool) {
        let status = desk.work.response.status;
        let tee = self.tee(desk, talk, self.latest);
        let manner = self.commit(desk, talk, server);
        let idle = self.policies.timeout.idle;
        if status == 101 && desk.work.request.upgrade.is_some() {
            let end = boxed(tunnel::run(desk, talk, idle)).await;
            let event = end.err().unwrap_or(Event::Answered(status));
            let judged = talk.judge(event, Phase::Tunnel, false);
            self.count_attempt(server, judged.outcome);
            return (self.tunnel_finish(server, event, judged), false);
        }
        let (already_sent, already) = (talk.bytes_sent, talk.bytes_received);
        let server_keeps = desk.work.response.keep_alive;
        let is_delimited = rewrite::is_delimited(&desk.work.response, manner.decode);
        let body = Body::of_response(desk.work.response.framing);
        let mut relay = Relay::new(body, manner.decode, tee);
        let end = relay.run(desk, talk, idle).await;
        if relay.has_waited() {
            self.latest = self.worker.clock.now();
        }
        let now = self.latest;
        let counters = self.worker.server_counters(server);
        (counters.bytes_received).add_from_owner(talk.bytes_received - already);
        // The rest of the request's body, if the server has answered before it was there.
        (counters.bytes_sent).add_from_owner(talk.bytes_sent - already_sent);
        let (event, clean) = match end {
            RelayEnd::Done { clean } => (Event::Answered(status), clean && server_keeps),
            RelayEnd::Broken(event) => (event, false),
        };
        let judged = talk.judge(event, Phase::Streaming, clean);
        self.count_attempt(server, judged.outcome);
        if matches!(end, RelayEnd::Broken(_)) {
            if judged.outcome.is_failure() {
                flight.came_to(now, judged.outcome, Duration::ZERO);
            }
            self.note_broken(now, server, judged.outcome);
            if !is_delimited {
                desk.client.reset_on_close();
            }
            // Earlier answers may still be on their way to a client that has sent several requests.
            let by_server = matches!(
                event,
                Event::Closed(Peer::Server) | Event::Malformed(Peer::Server)
            );
            let persist = match by_server && is_delimited {
                true => Persist::Linger,
                false => Persist::Close,
            };
            let finish = Finish {
                broken_off: Some(judged.outcome),
                aborted: judged.blame == Blame::Client,
                ..Finish::answered(persist, status)
            };
            return (finish, judged.may_keep);
        }
        if let Some(tee) = relay.into_tee() {
            self.keep(*tee);
        }
        // A close with unread bytes is a reset, which can take the answer with it. Whoever has not asked for the close itself
        // may have sent its next requests, or send them now.
        let more = self.keep_alive || !desk.body.is_through() || !desk.client.buffer.is_empty();
        let persist = match (manner.keep_alive, more) {
            (true, _) => Persist::Keep,
            (false, true) => Persist::Linger,
            (false, false) => Persist::Close,
        };
        (Finish::answered(persist, status), judged.may_keep)
    }
}
