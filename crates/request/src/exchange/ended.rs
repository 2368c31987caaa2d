//! An attempt has ended: what it says of its server, and whether its response is passed on, another attempt is made, or neither.

use std::time::Duration;

use evenkeel_core::{Instant, Outcome};
use evenkeel_tolerate::AttemptFacts;

use super::attempts::{After, Rules};
use super::host::{Count, Host};
use super::next::Next;
use super::phase::Phase;
use super::state::Exchange;
use super::step::{AttemptEnd, NoResponse, Reply, ResponseEnd, Step};
use crate::Cause;

impl<'a> Exchange<'a> {
    /// The attempts beside it are broken off by now.
    pub(super) fn attempt_ended(
        &mut self,
        mut end: AttemptEnd,
        now: Instant,
        host: &impl Host<'a>,
    ) -> Next {
        let Some(current) = &mut self.current else {
            return Next::Step(Step::GoOn(None));
        };
        let (server, begun, outcome) = (current.server, current.begun, end.outcome);
        // Without a response it took all of its time, of which the end of a race knows only the last part.
        if !matches!(outcome, Outcome::Answered(_)) {
            end.latency = end.latency.max(now.since(begun));
        }
        current.in_flight.came_to(now, outcome, end.latency);
        let retry_after = self.apply_to_server(server, &end, now);
        self.expose_end((begun, now), server, outcome, host);
        if let Some(trial) = self.trial.take() {
            self.service.orders.trial_ended(trial, outcome, now);
        }
        self.observe(server, (now, outcome, end.latency), host);
        let after = self.decide(server, &end, retry_after, now, host);
        let no_response = self.status_that_counts_as_none(outcome);
        if after == After::Accept && no_response.is_none() {
            // It is counted when its response has been passed on.
            self.phase = Phase::Passing;
            return Next::Step(Step::PassOn);
        }
        host.attempt_counted(self.id_of(server), outcome);
        self.release();
        if self.is_client_gone {
            return Next::Abort;
        }
        match (after, no_response) {
            (After::Accept, Some(status)) => Next::NoResponse(NoResponse::Status(status)),
            (After::Accept | After::GiveUp, _) => Next::Abort,
            (After::Again { at }, _) => self.back_off(outcome, at, now, host),
            (After::Refuse(cause), _) => Next::Hold {
                cause,
                granted: false,
            },
        }
    }

    /// The client has ended it by what it sent, or did not send: nothing is tried again, and it gets this answer.
    pub(super) fn attempt_aborted(
        &mut self,
        cause: Cause,
        now: Instant,
        host: &impl Host<'a>,
    ) -> Next {
        if let Some(current) = &mut self.current {
            let (server, outcome, took) =
                (current.server, Outcome::Cancelled, now.since(current.begun));
            current.in_flight.came_to(now, outcome, took);
            host.attempt_counted(self.id_of(server), outcome);
            self.observe(server, (now, outcome, took), host);
            self.attempts.over(server, outcome, took);
        }
        Next::Reply(Reply::Final(cause))
    }

    /// A response has been passed on, or has broken off.
    pub(super) fn response_ended(
        &mut self,
        end: ResponseEnd,
        now: Instant,
        host: &impl Host<'a>,
    ) -> Step {
        if let Some(current) = &mut self.current {
            let server = current.server;
            host.attempt_counted(
                evenkeel_core::ServerId {
                    service: self.service_id,
                    index: server,
                },
                end.outcome,
            );
            if let Some(outcome) = end.broke_off {
                // A server that resets a tunnel is not blamed for it.
                let is_failure = outcome.is_failure();
                if is_failure && !end.is_tunnel {
                    current.in_flight.came_to(now, outcome, Duration::ZERO);
                    host.response_broke(&self.report(server, (now, outcome, Duration::ZERO)));
                }
                if !(is_failure && end.is_tunnel) {
                    self.attempts.broke_off(outcome);
                }
            }
        }
        self.end();
        Step::Done
    }

    /// Waits for the time of the next attempt.
    fn back_off(
        &mut self,
        outcome: Outcome,
        at: Instant,
        now: Instant,
        host: &impl Host<'a>,
    ) -> Next {
        let wait = if at > now {
            at.since(now)
        } else {
            Duration::ZERO
        };
        host.count(self.service_id, Count::Retry(outcome, wait));
        if at > now {
            self.phase = Phase::BackingOff(at);
            return Next::Step(Step::Wait(at));
        }
        Next::Select
    }

    /// What the response says of the server itself: how busy it is, and that it wants to be left alone. How long a retry has to wait
    /// because of it: only if it would have to go there again, since what one server asks for says nothing of the others.
    fn apply_to_server(&self, server: u32, end: &AttemptEnd, now: Instant) -> Option<Duration> {
        if end.load.is_none() && end.retry_after.is_none() {
            return None;
        }
        let pool = self.servers.pool();
        let state = &pool.members().get(server as usize)?.state;
        if let Some(load) = end.load {
            state.report_load(now, load);
        }
        let retry_after = end.retry_after?;
        state.relieve(now, retry_after);
        let is_alone = !self.attempts.has_other(pool, now, server);
        is_alone.then_some(retry_after)
    }

    fn decide(
        &mut self,
        server: u32,
        end: &AttemptEnd,
        retry_after: Option<Duration>,
        now: Instant,
        host: &impl Host<'a>,
    ) -> After {
        let budget = self.service.budget();
        if end.outcome.is_success() {
            budget.earn();
        }
        let facts = AttemptFacts {
            outcome: end.outcome,
            method_may_repeat: self.may_repeat,
            body_replayable: host.is_replayable(),
            server,
            retry_after,
        };
        let rules = Rules {
            retry: &self.policies.retry,
            budget,
        };
        let attempts = &mut self.attempts;
        host.random(|random| attempts.ended(&facts, end.latency, rules, now, random))
    }

    /// The status of a response that counts as none.
    fn status_that_counts_as_none(&self, outcome: Outcome) -> Option<u16> {
        let Outcome::Answered(status) = outcome else {
            return None;
        };
        let fallback = self.policies.fallback.as_ref()?;
        fallback.takes(status).then_some(status)
    }
}
