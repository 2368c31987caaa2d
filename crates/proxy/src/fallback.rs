//! What the client gets when its service has no answer: evenkeel's own, one from the file, or another service's.
//!
//! Another service is asked once, with retries of its own, and only if the request can be sent again as a whole: by its
//! method, or since no server can have seen it. It is counted there as a request of its own.

use evenkeel_core::metric::Counter;
use evenkeel_core::{Instant, ServiceId};
use evenkeel_http1::write;
use evenkeel_request::exchange::REMEMBERED;
use evenkeel_request::{Cause, Exchange, FallbackTo, Policies};

use crate::body::RequestBody;
use crate::client::Client;
use crate::destination::{hash_key, stick};
use crate::drive::Journey;
use crate::finish::Finish;
use crate::own;
use crate::results::Results;
use crate::state::ServiceEntry;
use crate::worker::{Worker, Workspace};

/// What took the place of missing answers; the place is what is counted with.
const RESULTS: [&str; 4] = ["response", "service", "left-out", "stale"];
const RESPONSE: usize = 0;
const SERVICE: usize = 1;
/// Another service was to answer and could not be asked.
const LEFT_OUT: usize = 2;
/// An old answer of the service's own.
const STALE: usize = 3;

/// One worker's numbers of one service's fallback.
pub(crate) type FallbackCounters = [Counter; RESULTS.len()];

/// Why there is no answer to pass on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lack {
    Cause(Cause),
    /// There is one, and its status counts as none.
    Status(u16),
}

/// The service that answers instead, and what must be read off the request for it while its head is there.
#[derive(Debug)]
pub(crate) struct Spare<'a> {
    id: ServiceId,
    service: &'a ServiceEntry,
    key: Option<u64>,
    stick: Option<u32>,
    may_repeat: bool,
}

/// What took the place of a missing answer.
#[derive(Debug, Default)]
pub(crate) struct Fallen {
    /// The service that the request came for, and when, if the journey goes on with another one.
    pub(crate) from: Option<(ServiceId, Instant)>,
    /// The attempts on that service, if there is an access log to say them in.
    pub(crate) attempts: String,
    /// Whether it was answered from the file.
    response: bool,
    /// Whether it was answered with an old answer.
    stale: bool,
}

impl Lack {
    /// As parameters of `Proxy-Status`.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Cause(cause) => {
                out.extend_from_slice(b"error=");
                out.extend_from_slice(cause.proxy_error().as_bytes());
                out.extend_from_slice(b"; details=\"");
                out.extend_from_slice(cause.word().as_bytes());
                out.push(b'"');
            }
            Self::Status(status) => {
                out.extend_from_slice(b"received-status=");
                write::decimal(out, u64::from(status));
            }
        }
    }

    const fn is_quarantine(self) -> bool {
        matches!(self, Self::Cause(Cause::Quarantined { .. }))
    }

    const fn cause(self) -> Option<Cause> {
        match self {
            Self::Cause(cause) => Some(cause),
            Self::Status(_) => None,
        }
    }
}

impl<'a> Spare<'a> {
    pub(crate) const fn may_repeat(&self) -> bool {
        self.may_repeat
    }

    /// For a request that goes by `policies`, whose head is in `work`.
    pub(crate) fn of(
        worker: &'a Worker,
        policies: &Policies,
        client: &Client,
        work: &Workspace,
    ) -> Option<Self> {
        let FallbackTo::Service(id) = policies.fallback.as_ref()?.to else {
            return None;
        };
        let service = &worker.state.services()[id.0 as usize];
        let method = work.request.method_text.of(client.buffer.unread());
        Some(Self {
            id,
            service,
            key: hash_key(service, client, work),
            stick: stick(&worker.roster(id), client, work),
            may_repeat: service.policies.may_repeat(method),
        })
    }
}

impl<'a> Journey<'a> {
    /// Whether a server's answer with this status counts as none.
    pub(crate) fn is_lack(&self, status: u16) -> bool {
        let fallback = self.policies.fallback.as_ref();
        fallback.is_some_and(|fallback| fallback.takes(status))
    }

    /// Answers in the service's place, or turns to another one, from which the journey goes on.
    pub(crate) async fn fall_back(
        &mut self,
        client: &mut Client,
        work: &mut Workspace,
        body: &mut RequestBody,
        lack: Lack,
    ) -> Option<Finish> {
        if let Some(kept) = self.old_answer(self.latest) {
            self.count_fallback(STALE);
            self.fallen.stale = true;
            let keep_alive = self.may_keep(client, body);
            let who = (client.peer, keep_alive);
            let status = self.compose_old(&mut work.to_client, &kept, Some(lack), who);
            let sent = own::send(self.worker, client, work).await;
            return Some(Finish {
                cause: lack.cause(),
                ..Finish::sent(sent, keep_alive, status)
            });
        }
        match self.policies.fallback.as_ref().map(|fallback| &fallback.to) {
            Some(FallbackTo::Response(response)) => {
                self.count_fallback(RESPONSE);
                self.fallen.response = true;
                let keep_alive = self.may_keep(client, body);
                let context = self.reply_context(keep_alive);
                own::compose_response(&mut work.to_client, response, lack, &context);
                let sent = own::send(self.worker, client, work).await;
                Some(Finish {
                    cause: lack.cause(),
                    ..Finish::sent(sent, keep_alive, response.status)
                })
            }
            // What brings these servers down may do so to others.
            Some(FallbackTo::Service(_)) if !lack.is_quarantine() && self.turn(body) => None,
            _ => {
                let cause = lack.cause().unwrap_or(Cause::NoServer);
                let keep_alive = self.may_keep(client, body);
                Some(self.answer(client, work, cause, keep_alive).await)
            }
        }
    }

    /// Makes it a request of the spare service, if it can be sent there.
    fn turn(&mut self, body: &RequestBody) -> bool {
        let Some(spare) = self.spare.take() else {
            return false;
        };
        if !self.may_turn(&spare, body) {
            self.count_fallback(LEFT_OUT);
            return false;
        }
        self.count_fallback(SERVICE);
        self.count_denied();
        self.count_effort();
        self.count_left_out();
        let now = self.worker.clock.now();
        if self.worker.state.access_log {
            let mut attempts = String::new();
            self.tell_attempts(&mut attempts);
            self.fallen.attempts = attempts;
        }
        self.fallen.from = Some((self.service_id, self.started));
        (self.service_id, self.service) = (spare.id, spare.service);
        self.policies = &spare.service.policies;
        (self.key, self.stick) = (spare.key, spare.stick);
        self.may_repeat = spare.may_repeat;
        self.mirror = None;
        self.trial = None;
        self.roster = self.worker.roster(spare.id);
        (self.started, self.latest, self.held_since) = (now, now, None);
        let told_end = self.exchange.told_end();
        self.exchange = Exchange::begin(now, &self.policies.timeout);
        self.exchange.heed(told_end.since(now), now);
        true
    }

    fn may_turn(&self, spare: &Spare<'_>, body: &RequestBody) -> bool {
        let unsent = self.exchange.attempts() as usize <= REMEMBERED
            && (self.exchange.records()).all(|record| record.outcome.is_unsent());
        let waits = self.latest < self.exchange.told_end();
        waits && body.is_replayable() && (spare.may_repeat || unsent)
    }

    /// Whether the client's connection can stay when evenkeel answers: a body that is still to come would be read as the next
    /// request. One that has come is left out.
    pub(crate) fn may_keep(&self, client: &mut Client, body: &mut RequestBody) -> bool {
        self.keep_alive && body.discard(&mut client.buffer) && !self.worker.draining.get()
    }

    /// The service that the request came for.
    pub(crate) fn home_name(&self) -> &str {
        let id = self
            .fallen
            .from
            .map_or(self.service_id, |(service, _)| service);
        self.worker.state.services()[id.0 as usize].name()
    }

    /// What took the place of a missing answer, for the access log.
    pub(crate) fn fallback_name(&self) -> &str {
        if self.fallen.stale {
            return "stale";
        }
        match (self.fallen.response, self.fallen.from) {
            (true, _) => "response",
            (false, Some(_)) => self.service.name(),
            (false, None) => "",
        }
    }

    fn count_fallback(&self, result: usize) {
        let counters = self.worker.service_counters(self.service_id.0 as usize);
        counters.fallbacks[result].add_from_owner(1);
    }
}

/// The metric of them.
pub(crate) const FALLBACKS: Results = Results {
    name: "evenkeel_fallbacks_total",
    about: "Requests that no server of the service answered, by what their clients got instead.",
    words: &RESULTS,
    counters: |counters| &counters.fallbacks,
    is_there: |policies| policies.fallback.is_some(),
};
