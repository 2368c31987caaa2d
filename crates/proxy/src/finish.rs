//! The end of a request: what the client is told when no server's answer is passed on, and what is counted.

use std::time::Duration;

use evenkeel_core::blame::{Event, Facts, Judgement, Phase, Sent, judge};
use evenkeel_core::{Instant, Outcome, ServerId, ServiceId};
use evenkeel_request::Cause;

use crate::client::{Client, Persist};
use crate::drive::Journey;
use crate::flight::Flight;
use crate::own::{self, ReplyContext};
use crate::talk::Talk;
use crate::worker::Workspace;

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

impl Journey<'_> {
    /// What an answer of evenkeel's own to this request needs to know.
    pub(crate) fn reply_context(&self, keep_alive: bool) -> ReplyContext {
        ReplyContext {
            id: self.id,
            method: self.method,
            version: self.version,
            keep_alive,
            date: self.worker.date(self.worker.clock.now()),
        }
    }

    /// Tells the client why there is no answer from a server.
    pub(crate) async fn answer(
        &self,
        client: &mut Client,
        work: &mut Workspace,
        cause: Cause,
        keep_alive: bool,
    ) -> Finish {
        // Of a violation that another attempt made good again, the answer does not speak.
        let violation = work.violation.as_ref().filter(|_| cause.is_of_a_message());
        let context = self.reply_context(keep_alive);
        own::compose(&mut work.to_client, cause, &context, violation);
        let sent = own::send(self.worker, client, work).await;
        Finish {
            cause: Some(cause),
            ..Finish::sent(sent, keep_alive, cause.status())
        }
    }

    /// Counts an attempt whose answer is not passed on, and tells of it.
    pub(crate) fn end_attempt(
        &self,
        at: Instant,
        server: ServerId,
        outcome: Outcome,
        latency: Duration,
        talk: Option<&Talk>,
    ) {
        self.count_attempt(server, outcome);
        self.note_attempt(at, server, outcome, latency, talk);
    }

    /// Counts an attempt that the client has ended by what it sent, or did not send.
    pub(crate) fn note_over(&mut self, server: ServerId, mut flight: Flight<'_>, begun: Instant) {
        let now = self.worker.clock.now();
        let (outcome, took) = (Outcome::Cancelled, now.since(begun));
        self.latest = now;
        flight.came_to(now, outcome, took);
        self.end_attempt(now, server, outcome, took, None);
        self.exchange.over(server.index, outcome, took);
    }

    /// Counts how an attempt ended: once for each, when that is known.
    pub(crate) fn count_attempt(&self, server: ServerId, outcome: Outcome) {
        self.worker.server_counters(server).attempts[outcome.place()].add_from_owner(1);
    }

    /// Tells those who look at servers how an attempt ended, or that its answer's head has come.
    pub(crate) fn note_attempt(
        &self,
        at: Instant,
        server: ServerId,
        outcome: Outcome,
        latency: Duration,
        talk: Option<&Talk>,
    ) {
        let counters = self.worker.server_counters(server);
        counters.durations.add_from_owner(latency);
        if matches!(outcome, Outcome::Answered(..=499)) {
            let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
            counters.answered.add_from_owner(1);
            counters.answer_nanos.add_from_owner(nanos);
        }
        self.note_for_hedging(at, outcome, latency);
        self.service.admission.ended(at, outcome);
        if let Some(talk) = talk {
            counters.bytes_received.add_from_owner(talk.bytes_received);
        }
        self.signal(at, server, outcome, latency);
    }

    /// Says what an attempt has shown of the server, unless another one is at its place by now.
    fn signal(&self, at: Instant, server: ServerId, outcome: Outcome, latency: Duration) {
        let now = (self.service.version() != self.roster.version)
            .then(|| self.worker.roster(self.service_id).generation(server.index));
        if now.is_none_or(|now| now == self.roster.generation(server.index)) {
            self.worker.signal(at, server, outcome, latency, self.shape);
        }
    }

    /// An answer broke off after it had been told of as one. Those who look for faults hear of it if it is the server's.
    pub(crate) fn note_broken(&mut self, at: Instant, server: ServerId, outcome: Outcome) {
        self.exchange.broke_off(outcome);
        if outcome.is_failure() {
            self.signal(at, server, outcome, Duration::ZERO);
        }
    }

    /// Counts the request where it came to, and where it was answered if that is another service.
    pub(crate) fn count(&self, finish: &Finish) {
        if let Some((service, started)) = self.fallen.from {
            self.count_in(service, started, finish);
        }
        self.count_in(self.service_id, self.started, finish);
        self.count_effort();
        if !finish.aborted {
            self.count_denied();
        }
    }

    fn count_in(&self, service: ServiceId, started: Instant, finish: &Finish) {
        let counters = self.worker.service_counters(service.0 as usize);
        if finish.aborted {
            counters.aborted.add_from_owner(1);
            return;
        }
        counters.statuses.add_one(finish.status);
        counters
            .durations
            .add_from_owner(self.latest.since(started));
        if finish.status >= 500 || finish.broken_off.is_some() {
            counters.failed.add_from_owner(1);
        } else if service == self.service_id
            && finish.cause.is_none()
            && self.exchange.attempts() > 1 + self.exchange.hedges()
        {
            counters.saved_by_retry.add_from_owner(1);
        }
    }

    /// Counts how many attempts it took in the service where it is now.
    pub(crate) fn count_effort(&self) {
        let counters = self.worker.service_counters(self.service_id.0 as usize);
        counters.effort.took(self.exchange.attempts());
    }

    /// Counts why there was no further attempt, if one was wanted.
    pub(crate) fn count_denied(&self) {
        let counters = self.worker.service_counters(self.service_id.0 as usize);
        if let Some(reason) = self.exchange.denied() {
            counters.effort.denied(reason);
        }
    }
}

/// An answer of evenkeel's own stands where a server's does once its head is passed on.
const fn judge_own(event: Event) -> Judgement {
    judge(
        event,
        Facts {
            phase: Phase::Streaming,
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
    pub(crate) const fn sent(sent: Result<(), Event>, keep_alive: bool, status: u16) -> Self {
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
