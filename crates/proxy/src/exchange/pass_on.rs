//! What becomes of a response: passed on to the client, or put aside for another attempt; then how it ended is judged, and its
//! connection kept if both directions are complete.

use evenkeel_core::blame::{AttemptPhase, EndEvent, Judgement, Peer};
use evenkeel_core::{Blame, Outcome};
use evenkeel_request::exchange;

use crate::downstream::h1::Persist;
use crate::exchange::context::RequestContext;
use crate::exchange::finish::Finish;
use crate::exchange::io::ExchangeIo;
use crate::exchange::relay::{Relay, RelayEnd};
use crate::exchange::tunnel;
use crate::upstream::h1::UpstreamExchange;

/// How the passing on of a response ended, for the client, for the exchange, and for the connection to the server.
struct Passed {
    finish: Finish,
    end: exchange::ResponseEnd,
    may_keep: bool,
}

impl RequestContext<'_> {
    /// Passes over an answer, if there is one, keeping its connection if it is complete.
    pub(crate) fn put_aside(&self, io: &ExchangeIo<'_>, place: &mut Option<UpstreamExchange>) {
        let Some(upstream) = place.take() else { return };
        let response = &io.work.response;
        let clean = upstream.is_whole(response) && response.keep_alive;
        let event = EndEvent::Answered(response.status);
        let judged = upstream.judge(event, AttemptPhase::Holding, clean);
        upstream.complete(self.worker, judged.may_keep, response, self.latest);
    }

    /// Passes a response on: from here on nothing can be taken back. Without one it is aborted.
    pub(crate) async fn pass_on(
        &mut self,
        io: &mut ExchangeIo<'_>,
        place: &mut Option<UpstreamExchange>,
    ) -> Finish {
        let Some(upstream) = place.as_mut() else {
            return Finish::aborted(Persist::Close);
        };
        let passed = self.stream(io, upstream).await;
        if let Some(upstream) = place.take() {
            let head = &io.work.response;
            upstream.complete(self.worker, passed.may_keep, head, self.latest);
        }
        self.next(exchange::Event::Passed(passed.end), io);
        passed.finish
    }

    /// Sends it on.
    async fn stream(&mut self, io: &mut ExchangeIo<'_>, upstream: &mut UpstreamExchange) -> Passed {
        let status = io.work.response.status;
        let tee = self.tee(io, upstream, self.latest);
        let trailers = self.response_trailers(io, upstream);
        let form = self.commit(io, upstream);
        let idle = self.policies().timeout.idle;
        if status == 101 && io.work.request.upgrade.is_some() {
            let end = Box::pin(tunnel::run(io, upstream, idle)).await;
            return tunnel_passed(end.err().unwrap_or(EndEvent::Answered(status)), upstream);
        }
        let (already_sent, already) = (upstream.bytes_sent, upstream.bytes_received);
        let server_keeps = io.work.response.keep_alive;
        let mut relay = Relay::new(io.work.response.framing, form.decode, trailers, tee);
        let end = relay.run(io, upstream, idle).await;
        if relay.has_waited() {
            self.latest = self.worker.clock.now();
        }
        let counters = upstream.counters();
        (counters.bytes_received).add_from_owner(upstream.bytes_received - already);
        // The rest of the request's body, if the server has answered before it was there.
        (counters.bytes_sent).add_from_owner(upstream.bytes_sent - already_sent);
        let (event, clean) = match end {
            RelayEnd::Done { clean } => (EndEvent::Answered(status), clean && server_keeps),
            RelayEnd::Broken(event) => (event, false),
        };
        let judged = upstream.judge(event, AttemptPhase::Streaming, clean);
        if matches!(end, RelayEnd::Broken(_)) {
            return broken(judged, status, io.response_aborted(form, event));
        }
        if let Some(tee) = relay.into_tee() {
            self.keep(*tee);
        }
        Passed {
            finish: Finish::answered(io.response_complete(form, self.keep_alive), status),
            end: exchange::ResponseEnd {
                outcome: judged.outcome,
                broke_off: None,
                is_tunnel: false,
            },
            may_keep: judged.may_keep,
        }
    }
}

/// An answer broke off.
fn broken(judged: Judgement, status: u16, persist: Persist) -> Passed {
    Passed {
        finish: Finish {
            broken_off: Some(judged.outcome),
            aborted: judged.blame == Blame::Client,
            ..Finish::answered(persist, status)
        },
        end: exchange::ResponseEnd {
            outcome: judged.outcome,
            broke_off: Some(judged.outcome),
            is_tunnel: false,
        },
        may_keep: judged.may_keep,
    }
}

/// A request that had become a tunnel has ended by this event. A server that resets one is not blamed for it, and its client has seen
/// it. How long a tunnel lasts says nothing about how quickly it was answered.
fn tunnel_passed(event: EndEvent, upstream: &UpstreamExchange) -> Passed {
    const SWITCHED: u16 = 101;
    let judged = upstream.judge(event, AttemptPhase::Tunnel, false);
    let broken_off = match event {
        EndEvent::Answered(_) => None,
        EndEvent::Closed(Peer::Server) => Some(Outcome::Reset { sent: true }),
        _ => Some(judged.outcome),
    };
    Passed {
        finish: Finish {
            broken_off,
            aborted: judged.blame == Blame::Client,
            ..Finish::answered(Persist::Close, SWITCHED)
        },
        end: exchange::ResponseEnd {
            outcome: judged.outcome,
            broke_off: broken_off,
            is_tunnel: true,
        },
        may_keep: false,
    }
}
