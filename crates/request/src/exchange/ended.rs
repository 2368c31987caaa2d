//! An attempt has ended: what it says of its server, and whether its response is passed on, another attempt is made, or neither.

use std::time::Duration;

use evenkeel_core::{Exposed, Instant, Outcome};
use evenkeel_tolerate::AttemptFacts;

use super::attempts::{After, Rules};
use super::host::{Count, Host};
use super::step::{AttemptEnd, NoResponse, Reply, ResponseEnd, Step};
use super::{Exchange, Phase};
use crate::Cause;

impl<'a> Exchange<'a> {
    pub(super) fn attempt_ended(
        &mut self,
        end: AttemptEnd,
        now: Instant,
        host: &mut impl Host<'a>,
    ) -> Step {
        self.settle(now, host);
        let Some(current) = &mut self.current else {
            return self.woken(now, host);
        };
        let (server, begun, outcome) = (current.server, current.begun, end.outcome);
        current.in_flight.came_to(now, outcome, end.latency);
        let wish = self.apply_to_server(server, &end, now);
        self.expose_end((begun, now), server, outcome, host);
        if let Some(trial) = self.trial.take() {
            self.service.orders.trial_ended(trial, outcome, now);
        }
        self.observe(server, (now, outcome, end.latency), host);
        let after = self.decide(server, &end, wish, now, host);
        let no_response = match outcome {
            Outcome::Answered(status) if self.counts_as_none(status) => Some(status),
            _ => None,
        };
        if after == After::Accept && no_response.is_none() {
            // It is counted when its response has been passed on.
            self.phase = Phase::Passing;
            return Step::PassOn;
        }
        host.attempt_counted(self.id_of(server), outcome);
        self.release();
        if self.is_client_gone {
            return self.abort();
        }
        match (after, no_response) {
            (After::Accept, Some(status)) => {
                self.no_response(NoResponse::Status(status), now, host)
            }
            (After::Accept | After::GiveUp, _) => self.abort(),
            (After::Again { at }, _) => self.back_off(outcome, at, now, host),
            (After::Refuse(cause), _) if self.service.holding.is_some() => {
                self.hold(cause, false, now, host)
            }
            (After::Refuse(cause), _) => self.no_response(NoResponse::Cause(cause), now, host),
        }
    }

    /// The client has ended it by what it sent, or did not send: nothing is tried again, and it gets this answer.
    pub(super) fn attempt_aborted(
        &mut self,
        cause: Cause,
        now: Instant,
        host: &mut impl Host<'a>,
    ) -> Step {
        self.settle(now, host);
        if let Some(current) = &mut self.current {
            let (server, outcome, took) =
                (current.server, Outcome::Cancelled, now.since(current.begun));
            current.in_flight.came_to(now, outcome, took);
            host.attempt_counted(self.id_of(server), outcome);
            self.observe(server, (now, outcome, took), host);
            self.attempts.over(server, outcome, took);
        }
        self.reply(Reply::Final(cause))
    }

    /// A response has been passed on, or has broken off.
    pub(super) fn response_ended(
        &mut self,
        end: ResponseEnd,
        now: Instant,
        host: &mut impl Host<'a>,
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
        host: &mut impl Host<'a>,
    ) -> Step {
        let wait = if at > now {
            at.since(now)
        } else {
            Duration::ZERO
        };
        host.count(self.service_id, Count::Retry(outcome, wait));
        if at > now {
            self.phase = Phase::BackingOff(at);
            return Step::Wait(at);
        }
        self.select(now, host)
    }

    /// What the response says of the server itself: how busy it is, and that it wants to be left alone. How long a retry has to wait
    /// because of it: only if it would have to go there again, since a wish of one server says nothing of the others.
    fn apply_to_server(&self, server: u32, end: &AttemptEnd, now: Instant) -> Option<Duration> {
        if end.load.is_none() && end.retry_after.is_none() {
            return None;
        }
        let pool = self.servers.pool();
        let state = &pool.members().get(server as usize)?.state;
        if let Some(load) = end.load {
            state.report_load(now, load);
        }
        let wish = end.retry_after?;
        state.relieve(now, wish);
        let is_alone = !self.attempts.has_other(pool, now, server);
        is_alone.then_some(wish)
    }

    fn decide(
        &mut self,
        server: u32,
        end: &AttemptEnd,
        wish: Option<Duration>,
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
            wish,
        };
        let rules = Rules {
            retry: &self.policies.retry,
            budget,
        };
        let attempts = &mut self.attempts;
        host.random(|random| attempts.ended(&facts, end.latency, rules, now, random))
    }

    /// Whether a response with this status counts as none.
    fn counts_as_none(&self, status: u16) -> bool {
        let fallback = self.policies.fallback.as_ref();
        fallback.is_some_and(|fallback| fallback.takes(status))
    }

    /// Tells those who look at servers how an attempt ended, or that the head of its response has come.
    pub(super) fn observe(
        &self,
        server: u32,
        (at, outcome, latency): (Instant, Outcome, Duration),
        host: &impl Host<'a>,
    ) {
        host.attempt_ended(&self.report(server, (at, outcome, latency)));
        if self.policies.hedge.is_some()
            && matches!(outcome, Outcome::Answered(..500) | Outcome::Cancelled)
        {
            host.hedging(self.policies.place, |hedge| hedge.note(at, latency));
        }
        self.service.admission().ended(at, outcome);
    }

    /// Whether the attempt may be given up because its server was taken out.
    #[must_use]
    pub fn may_rescue(&self, is_replayable: bool, now: Instant) -> bool {
        let Some(current) = &self.current else {
            return false;
        };
        let facts = AttemptFacts {
            outcome: Outcome::Rescued,
            method_may_repeat: self.may_repeat,
            body_replayable: is_replayable,
            server: current.server,
            wish: None,
        };
        self.attempts.may_rescue(&facts, self.servers.pool(), now)
    }

    /// An attempt has ended so. Says what the request is called if it failed, and tells of the attempt if it may have brought its server
    /// down, or is watched.
    pub(super) fn expose_end(
        &self,
        (begun, at): (Instant, Instant),
        server: u32,
        outcome: Outcome,
        host: &impl Host<'a>,
    ) {
        if outcome.is_failure() {
            host.name_shape(self.shape);
        }
        let server = self.id_of(server);
        let what = match outcome {
            Outcome::Reset { sent: true } | Outcome::Truncated | Outcome::Rescued => {
                let shape = self.watched.as_deref().copied();
                let broke = Exposed::Broke {
                    age: at.since(begun),
                    route: self.shape,
                    text: host.exact_text(),
                };
                let shape = shape.unwrap_or_else(|| host.exact_shape());
                return host.expose(server, at, shape, broke);
            }
            Outcome::Answered(_)
            | Outcome::AttemptTimeout
            | Outcome::BadResponse
            | Outcome::IdleTimeout => Exposed::Survived,
            // Whether the server would have survived it is not known.
            Outcome::Cancelled
            | Outcome::Reset { sent: false }
            | Outcome::ConnectRefused
            | Outcome::ConnectTimeout
            | Outcome::Unreachable
            | Outcome::Stale
            | Outcome::LocalError => Exposed::Unsent,
        };
        if let Some(shape) = self.watched.as_deref() {
            host.expose(server, at, *shape, what);
        }
    }
}
