//! How an attempt is admitted: what may reject it and what may make it wait, in the order that the folder's page gives. Here
//! nothing waits; the callers do where they are told to.

#[cfg(feature = "async")]
use std::sync::Arc;

use evenkeel_core::Instant;

use super::execution::{ActiveAttempt, Execution, PendingFault};
use crate::clock::Clock;
use crate::policy::attempt::TriedServers;
use crate::policy::mechanisms::{
    AttemptPermits, LimitEntry, LimitPermit, LimitRequest, QueuedAttempt, RateEntry, RateTicket,
    RateToken, ServerPermits, ThrottlePermit,
};
use crate::policy::{Attempt, PickServer, PolicyEvent, Stopped};

/// A picker is asked this often for a server whose breaker admits the attempt.
const MAX_PICKS: u32 = 8;

/// An attempt that is being admitted. Dropped, it releases all that it was granted.
#[must_use = "dropped at once it is not made"]
pub(crate) struct PendingAttempt<'p> {
    server: Option<u32>,
    token: Option<RateToken>,
    permits: AttemptPermits<'p>,
}

impl PendingAttempt<'_> {
    /// It is going to wait: others may use the permits of its server.
    pub(crate) fn release_server_permits(&mut self) {
        self.permits.server = ServerPermits::none();
    }
}

impl<'p, C: Clock> Execution<'p, C> {
    /// Whether an attempt may have to wait before it is admitted.
    pub(crate) fn may_wait(&self) -> bool {
        self.active.mechanisms.rate.is_some() || self.active.options.queue.is_some()
    }

    /// Begins an attempt under a policy in which nothing waits.
    pub(crate) fn start_at_once(
        &mut self,
        pick: &mut impl PickServer,
        now: Instant,
    ) -> Result<ActiveAttempt<'p>, Stopped> {
        let mut pending = self.select_server(pick, false, now)?;
        self.try_enter_limit(&mut pending, now)?;
        self.start(pending, false, now)
    }

    /// Begins a hedged attempt, which waits for nothing: then it would be too late itself.
    #[cfg(feature = "async")]
    fn start_hedge(
        &mut self,
        pick: &mut impl PickServer,
        now: Instant,
    ) -> Result<ActiveAttempt<'p>, Stopped> {
        let mut pending = self.select_server(pick, true, now)?;
        if let Some(rate) = &self.active.mechanisms.rate {
            pending.token = Some(rate.try_take(now).ok_or(Stopped::Rate)?);
        }
        self.try_enter_limit(&mut pending, now)?;
        self.start(pending, true, now)
    }

    /// Begins a hedged attempt that is due now. It is paid by the budget for retries, of which it leaves half. The token is taken
    /// last, so that a hedge which cannot be made costs none.
    #[cfg(feature = "async")]
    pub(crate) fn hedge(
        &mut self,
        pick: &mut impl PickServer,
        now: Instant,
    ) -> Option<ActiveAttempt<'p>> {
        let budget = Arc::clone(&self.active.budget);
        let begun = if budget.affords_hedge(now) {
            self.start_hedge(pick, now)
        } else {
            Err(Stopped::Budget)
        };
        match begun {
            Ok(begun) if budget.try_spend_on_hedge(now) => {
                self.hedges += 1;
                Some(begun)
            }
            Ok(begun) => {
                self.cancelled(begun, now);
                self.emit(now, &PolicyEvent::HedgeDenied(Stopped::Budget));
                None
            }
            Err(why) => {
                self.emit(now, &PolicyEvent::HedgeDenied(why));
                None
            }
        }
    }

    /// The first part, in which nothing waits: whether to ask at all, and which server.
    pub(crate) fn select_server<P: PickServer>(
        &mut self,
        pick: &mut P,
        hedge: bool,
        now: Instant,
    ) -> Result<PendingAttempt<'p>, Stopped> {
        if self.deadline.passed(now) {
            return Err(Stopped::Deadline);
        }
        let throttle = match &self.active.mechanisms.throttle {
            None => None,
            Some(throttle) => {
                let random = self.random.get_or_insert_with(|| self.shared.random());
                Some(ThrottlePermit::acquire(throttle, now, random)?)
            }
        };
        let (server, permits) = self.pick_admitting(pick, hedge, now)?;
        Ok(PendingAttempt {
            server,
            token: None,
            permits: AttemptPermits {
                throttle,
                server: permits,
                limit: None,
            },
        })
    }

    /// A server that admits the attempt. If the breaker of the picked one is open, another one is picked, if there is one.
    fn pick_admitting<P: PickServer>(
        &self,
        pick: &mut P,
        hedge: bool,
        now: Instant,
    ) -> Result<(Option<u32>, ServerPermits<'p>), Stopped> {
        if !P::KNOWS {
            return Ok((None, self.server_permits(None, now)?));
        }
        let mut avoid = self.tried;
        let mut refused = TriedServers::default();
        for _ in 0..MAX_PICKS {
            let server = pick.pick(avoid.as_slice(), now);
            let server = server.ok_or(Stopped::NoServer)?;
            // A hedge goes to a server that is not in use already; a retry takes one again if there is no other.
            if hedge && self.tried.as_slice().contains(&server) {
                return Err(Stopped::NoServer);
            }
            if refused.as_slice().contains(&server) {
                break;
            }
            if let Ok(permits) = self.server_permits(Some(server), now) {
                return Ok((Some(server), permits));
            }
            refused.add(server);
            avoid.add(server);
        }
        Err(Stopped::Open)
    }

    fn server_permits(
        &self,
        server: Option<u32>,
        now: Instant,
    ) -> Result<ServerPermits<'p>, Stopped> {
        let breakers = self.active.mechanisms.breakers.as_deref();
        ServerPermits::acquire(self.shared.gate.as_deref(), breakers, server, now)
    }

    /// Takes a token of the rate, or a position in the queue for one.
    pub(crate) fn enter_rate(
        &self,
        pending: &mut PendingAttempt<'p>,
        now: Instant,
    ) -> Result<Option<RateTicket>, Stopped> {
        let Some(rate) = &self.active.mechanisms.rate else {
            return Ok(None);
        };
        match rate.enter(now, self.deadline.end())? {
            RateEntry::Token(token) => {
                pending.token = Some(token);
                Ok(None)
            }
            RateEntry::Queued(ticket) => Ok(Some(ticket)),
        }
    }

    /// Takes a slot of the limit, if there is a limit.
    fn try_enter_limit(
        &self,
        pending: &mut PendingAttempt<'p>,
        now: Instant,
    ) -> Result<(), Stopped> {
        let Some(limit) = &self.active.mechanisms.limit else {
            return Ok(());
        };
        let permit = limit.try_enter(&self.limit_request(), now, &self.shared.clock);
        pending.permits.limit = Some(permit.ok_or(Stopped::Shed)?);
        Ok(())
    }

    /// The same, or a place in the queue for one.
    pub(crate) fn enter_limit(
        &self,
        pending: &mut PendingAttempt<'p>,
        now: Instant,
    ) -> Result<Option<QueuedAttempt<'p>>, Stopped> {
        let refused = self.try_enter_limit(pending, now);
        let (Err(_), Some(limit), Some(_)) = (
            refused,
            &self.active.mechanisms.limit,
            &self.active.options.queue,
        ) else {
            return refused.map(|()| None);
        };
        match limit.enter(&self.limit_request(), now, &self.shared.clock) {
            LimitEntry::Permit(permit) => {
                pending.permits.limit = Some(permit);
                Ok(None)
            }
            LimitEntry::Queued(waiting) => Ok(Some(waiting)),
            LimitEntry::Rejected(why) => Err(why),
        }
    }

    fn limit_request(&self) -> LimitRequest<'_> {
        LimitRequest {
            call: &self.call,
            options: &self.active.options,
            until: self.deadline.end(),
        }
    }

    /// It has waited for its token since `since`, and asks its server's breaker again.
    pub(crate) fn waited_for_token(
        &mut self,
        pending: &mut PendingAttempt<'p>,
        token: RateToken,
        since: Instant,
        now: Instant,
    ) -> Result<(), Stopped> {
        pending.token = Some(token);
        let waited = now.since(since);
        let extras = self.report_mut().extras();
        extras.paced = extras.paced.saturating_add(waited);
        self.emit(now, &PolicyEvent::Paced { waited });
        self.recheck_breaker(pending, now)
    }

    /// It has left the queue, in which it was since `since`, and asks its server's breaker again.
    pub(crate) fn left_queue(
        &mut self,
        pending: &mut PendingAttempt<'p>,
        left: Result<LimitPermit<'p>, Stopped>,
        since: Instant,
        now: Instant,
    ) -> Result<(), Stopped> {
        let waited = now.since(since);
        let extras = self.report_mut().extras();
        extras.queued = extras.queued.saturating_add(waited);
        let refused = left.as_ref().err().copied();
        self.emit(now, &PolicyEvent::Queued { waited, refused });
        pending.permits.limit = Some(left?);
        self.recheck_breaker(pending, now)
    }

    fn recheck_breaker(
        &self,
        pending: &mut PendingAttempt<'p>,
        now: Instant,
    ) -> Result<(), Stopped> {
        pending.permits.server = self.server_permits(pending.server, now)?;
        Ok(())
    }

    /// The last part: it begins, perhaps with an injected fault.
    pub(crate) fn start(
        &mut self,
        mut pending: PendingAttempt<'p>,
        hedge: bool,
        now: Instant,
    ) -> Result<ActiveAttempt<'p>, Stopped> {
        if self.deadline.passed(now) {
            return Err(Stopped::Deadline);
        }
        if let Some(token) = pending.token.take() {
            token.spend();
        }
        let avoid = self.tried;
        if let Some(server) = pending.server {
            self.tried.add(server);
        }
        let timeout = self.active.options.attempt_timeout;
        let attempts = &mut self.report_mut().attempts;
        *attempts = attempts.saturating_add(1);
        let attempt = Attempt {
            number: *attempts,
            hedge,
            began: now,
            ends: timeout.map_or(self.deadline.end(), |it| self.deadline.attempt_end(now, it)),
            deadline: self.deadline,
            server: pending.server,
            avoid,
        };
        self.emit(now, &PolicyEvent::Began(attempt));
        let fault = self.inject(attempt);
        Ok(ActiveAttempt {
            attempt,
            permits: pending.permits,
            fault,
        })
    }

    fn inject(&self, attempt: Attempt) -> Option<PendingFault> {
        let fault = self.active.mechanisms.inject.as_ref()?.decide();
        let (delay, abort) = (fault.delay, fault.abort.is_some());
        if delay.is_none() && !abort {
            return None;
        }
        let event = PolicyEvent::Injected {
            attempt,
            delay,
            abort,
        };
        self.emit(attempt.began, &event);
        Some(PendingFault {
            until: attempt.began + delay.unwrap_or_default(),
            abort,
        })
    }
}
