//! A request that is held: it waits for a server to come back, while none can be asked and one is being repaired.

use evenkeel_balance::{Availability, Member, Pool};
use evenkeel_core::{EjectionReason, Instant};

use super::host::Host;
use super::next::Next;
use super::phase::{HeldRequest, Phase};
use super::state::Exchange;
use super::step::{NoResponse, Step};
use crate::Cause;
use crate::hold::{Candidate, GaveUp, Hold, Outlook, ServersNow, Wait};
use crate::service::holding::Holding;

impl<'a> Exchange<'a> {
    /// No server can be asked, for this cause: waits if that may help. `granted`: another attempt was granted, or it is the first.
    pub(super) fn hold(
        &mut self,
        cause: Cause,
        granted: bool,
        now: Instant,
        host: &mut impl Host<'a>,
    ) -> Next {
        let Some(holding) = &self.service.holding else {
            return Next::NoResponse(NoResponse::Cause(cause));
        };
        let candidate = Candidate {
            past: self.attempts.past(),
            granted,
            cause,
            may_repeat: self.may_repeat,
            replayable: host.is_replayable(),
            limit: self.policies.retry.limit,
        };
        if !candidate.may_wait() {
            return Next::NoResponse(NoResponse::Cause(cause));
        }
        let held = HeldRequest {
            holding,
            room: None,
            wait: Wait {
                since: *self.held_since.get_or_insert(now),
                began: now,
                deadline: self.attempts.deadline().end(),
            },
            cause,
            granted,
            is_cleared: !candidate.past.is_suspect(),
            news: holding.news(),
        };
        self.look_while_held(Box::new(held), now, host)
    }

    pub(super) fn look_from_hold(&mut self, now: Instant, host: &mut impl Host<'a>) -> Next {
        let Phase::Held(held) = std::mem::replace(&mut self.phase, Phase::New) else {
            return Next::Abort;
        };
        self.look_while_held(held, now, host)
    }

    fn look_while_held(
        &mut self,
        mut held: Box<HeldRequest<'a>>,
        now: Instant,
        host: &mut impl Host<'a>,
    ) -> Next {
        let holding = held.holding;
        // What is said from here on is news.
        held.news = holding.news();
        match self.may_go(&mut held, now, host) {
            Ok(Some(until)) => {
                // A standing or a repair that expires is said by nobody.
                let until = until.min(self.servers.pool().next_change_of_any(now));
                self.phase = Phase::Held(held);
                Next::Step(Step::Wait(until))
            }
            Ok(None) => self.go_from_hold(held, now),
            Err(reason) => {
                holding.gave_up(reason);
                let cause = reason.tells(held.cause);
                drop(held);
                Next::NoResponse(NoResponse::Cause(cause))
            }
        }
    }

    /// Until when it waits on; `None` if it goes on now.
    fn may_go(
        &self,
        held: &mut HeldRequest<'a>,
        now: Instant,
        host: &impl Host<'a>,
    ) -> Result<Option<Instant>, GaveUp> {
        let (holding, pool) = (held.holding, self.servers.pool());
        if self.service.in_maintenance() {
            return Err(GaveUp::Maintenance);
        }
        if holding.is_draining() {
            return Err(GaveUp::Drain);
        }
        held.is_cleared |= self.is_cleared(pool, now);
        let outlook = if held.is_cleared {
            (self.attempts.past()).outlook(self.servers_now(holding, pool, now))
        } else {
            self.outlook_of_suspect(pool)
        };
        match holding.options().decide(held.wait, outlook, now) {
            Hold::Go => Ok(None),
            Hold::Until(until) => {
                if held.room.is_none() {
                    held.room = Some(holding.enter(host.held_bytes())?);
                }
                Ok(Some(until))
            }
            Hold::GiveUp(reason) => {
                let is_unknown = held.is_cleared && outlook == Outlook::Unknown;
                if is_unknown && reason != GaveUp::Deadline {
                    holding.was_in_vain();
                }
                Err(reason)
            }
        }
    }

    /// A server may take it by now. Never in circles without a pause.
    fn go_from_hold(&mut self, held: Box<HeldRequest<'a>>, now: Instant) -> Next {
        if held.room.is_some() {
            held.holding.ended_well(now.since(held.wait.began));
        } else if held.granted && std::mem::replace(&mut self.hurried, true) {
            return Next::NoResponse(NoResponse::Cause(held.cause));
        }
        // It may have to wait again, in the same room.
        drop(held);
        Next::Select
    }

    /// It is over for this reason, of which nobody is to be told.
    pub(super) fn held_in_vain(&self, reason: GaveUp) {
        if let Some(holding) = &self.service.holding {
            holding.gave_up(reason);
        }
    }

    /// The published state.
    fn servers_now(&self, holding: &Holding, pool: &Pool, now: Instant) -> ServersNow {
        let last = self.attempts.records().last().map(|record| record.server);
        ServersNow {
            any_in_service: pool.in_service(now) > 0,
            any_returned: holding.returns() != self.returns_seen,
            any_other: last.is_none_or(|last| self.attempts.has_other(pool, now, last)),
            any_in_repair: pool.is_being_repaired(now),
            in_vain: holding.is_in_vain(),
        }
    }

    /// Whether a server has died without having seen the request, so that it is not what kills them. One that has come back by
    /// now counts as well.
    fn is_cleared(&self, pool: &Pool, now: Instant) -> bool {
        let mut unseen = self.unseen(pool);
        unseen.any(|member| {
            let was_down = match member.state.standing(now) {
                Availability::Ejected { verdict } => verdict == EjectionReason::Known,
                Availability::Trial | Availability::Warming => true,
                Availability::InService
                | Availability::Relieved
                | Availability::Broken
                | Availability::Draining => false,
            };
            was_down || member.state.is_being_repaired(now)
        })
    }

    /// It waits for a server to die without it, if there is one that could.
    fn outlook_of_suspect(&self, pool: &Pool) -> Outlook {
        match self.unseen(pool).next() {
            Some(_) => Outlook::Unknown,
            None => Outlook::NoRepair,
        }
    }

    /// The servers that have seen nothing of the request.
    fn unseen<'p>(&self, pool: &'p Pool) -> impl Iterator<Item = &'p Member> {
        let members = (0..).zip(pool.members());
        let unseen = members.filter(|(index, _)| !self.attempts.was_seen_by(*index));
        unseen.map(|(_, member)| member)
    }
}
