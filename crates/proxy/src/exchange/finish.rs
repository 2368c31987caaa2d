//! The end of a request: evenkeel's own answers, and what is counted.

use evenkeel_core::blame::{AttemptPhase, EndContext, EndEvent, Judgement, Sent, judge};
use evenkeel_core::{Instant, Outcome, ServiceId};
use evenkeel_request::exchange::NoResponse;
use evenkeel_request::{Cause, FallbackTo};

use crate::downstream::h1::Persist;
use crate::downstream::local_reply::{self, ReplyContext};
use crate::exchange::context::RequestContext;
use crate::exchange::io::ExchangeIo;

/// How a request ended, for the counters and the log.
#[derive(Debug)]
pub(crate) struct Finish {
    pub(crate) persist: Persist,
    pub(crate) status: u16,
    /// What broke the answer off after its head, so that the client saw it fail although the status may say otherwise.
    pub(crate) broken_off: Option<Outcome>,
    /// That was the client's doing.
    pub(crate) aborted: bool,
    pub(crate) cause: Option<Cause>,
}

impl RequestContext<'_> {
    /// What an answer of evenkeel's own to this request needs to know.
    fn reply_context(&self, keep_alive: bool) -> ReplyContext {
        ReplyContext {
            id: self.id,
            method: self.method,
            version: self.version,
            keep_alive,
            date: self.worker.date(self.worker.clock.now()),
        }
    }

    /// Whether the client's connection can stay when evenkeel answers: a body that is still to come would be read as the next
    /// request. One that has come is left out.
    pub(crate) fn may_keep(&self, io: &mut ExchangeIo<'_>) -> bool {
        self.keep_alive && io.discard_body() && !io.is_last()
    }

    /// Tells the client why there is no answer from a server.
    pub(crate) async fn answer(
        &self,
        io: &mut ExchangeIo<'_>,
        cause: Cause,
        keep_alive: bool,
    ) -> Finish {
        // Of a violation that another attempt made good again, the answer does not speak.
        let violation = io.work.violation.as_ref();
        let violation = violation.filter(|_| cause.is_of_a_message());
        let context = self.reply_context(keep_alive);
        local_reply::compose(&mut io.work.to_client, cause, &context, violation);
        self.send(io, cause.status(), Some(cause), keep_alive).await
    }

    /// Sends the configured answer in the place of the one that is missing.
    pub(crate) async fn answer_configured(
        &self,
        io: &mut ExchangeIo<'_>,
        why: NoResponse,
        keep_alive: bool,
    ) -> Finish {
        let fallback = self.policies().fallback.as_ref();
        let Some(FallbackTo::Response(response)) = fallback.map(|fallback| &fallback.to) else {
            return self.answer(io, Cause::NoServer, keep_alive).await;
        };
        let context = self.reply_context(keep_alive);
        local_reply::compose_response(&mut io.work.to_client, response, why, &context);
        self.send(io, response.status, why.cause(), keep_alive)
            .await
    }

    /// Sends the kept answer; `why` there is no new one, if one was wanted.
    pub(crate) async fn answer_cached(
        &mut self,
        io: &mut ExchangeIo<'_>,
        why: Option<NoResponse>,
        keep_alive: bool,
    ) -> Finish {
        let cause = why.and_then(NoResponse::cause);
        let Some(kept) = self.cached.take() else {
            let cause = cause.unwrap_or(Cause::NoServer);
            return self.answer(io, cause, keep_alive).await;
        };
        let (work, peer) = io.workspace();
        let status = self.compose_old(&mut work.to_client, &kept, why, (peer, keep_alive));
        self.send(io, status, cause, keep_alive).await
    }

    async fn send(
        &self,
        io: &mut ExchangeIo<'_>,
        status: u16,
        cause: Option<Cause>,
        keep_alive: bool,
    ) -> Finish {
        let sent = io.send().await;
        Finish {
            cause,
            ..Finish::sent(sent, keep_alive, status)
        }
    }

    /// Counts the request where it came to, and where it was answered if that is another service.
    pub(crate) fn count(&self, finish: &Finish) {
        if let Some((service, started)) = self.exchange.fallen().from {
            self.count_in(service, started, finish);
        }
        let (id, attempts) = (self.exchange.service_id(), self.exchange.attempts());
        self.count_in(id, self.exchange.started(), finish);
        let service = self.snapshot.service(id);
        service.count_attempts_made(attempts);
        if !finish.aborted {
            service.count_denied(attempts);
        }
    }

    fn count_in(&self, service: ServiceId, started: Instant, finish: &Finish) {
        let counters = &self.snapshot.service(service).counters;
        if finish.aborted {
            counters.aborted.add_from_owner(1);
            return;
        }
        counters.statuses.add_one(finish.status);
        counters
            .durations
            .add_from_owner(self.latest.since(started));
        let attempts = self.exchange.attempts();
        if finish.status >= 500 || finish.broken_off.is_some() {
            counters.failed.add_from_owner(1);
        } else if service == self.exchange.service_id()
            && finish.cause.is_none()
            && attempts.attempts() > 1 + attempts.hedges()
        {
            counters.saved_by_retry.add_from_owner(1);
        }
    }
}

/// An answer of evenkeel's own stands where a server's does once its head is passed on.
const fn judge_own(event: EndEvent) -> Judgement {
    judge(
        event,
        EndContext {
            phase: AttemptPhase::Streaming,
            sent: Sent::Nothing,
            reused: false,
            clean: false,
        },
    )
}

impl Finish {
    pub(crate) const fn answered(persist: Persist, status: u16) -> Self {
        Self {
            persist,
            status,
            broken_off: None,
            aborted: false,
            cause: None,
        }
    }

    /// An answer of evenkeel's own, of which so much was sent.
    const fn sent(sent: Result<(), EndEvent>, keep_alive: bool, status: u16) -> Self {
        match sent {
            Ok(()) => Self::answered(Persist::after(true, keep_alive), status),
            Err(event) => Self {
                broken_off: Some(judge_own(event).outcome),
                aborted: true,
                ..Self::answered(Persist::Close, status)
            },
        }
    }

    /// The client is gone: 499, as nginx has it, in the access log only.
    pub(crate) const fn aborted(persist: Persist) -> Self {
        Self {
            aborted: true,
            ..Self::answered(persist, 499)
        }
    }
}
