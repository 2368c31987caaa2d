//! Where the next attempt goes: to the client's own server, to the one that the policy picks, or into the queue until one can
//! take it.

use std::time::Duration;

use evenkeel_balance::Pick;
use evenkeel_core::{Instant, ServerId};
use evenkeel_request::Cause;
use evenkeel_tolerate::queue::Reason;

use crate::client::{Client, Persist};
use crate::client_watch::{ClientGone, until_gone};
use crate::drive::Journey;
use crate::fallback::Lack;
use crate::finish::Finish;
use crate::flight::Flight;
use crate::queue::Waiting;
use crate::roster::Roster;

/// Between two looks of a request that waits: a server that comes back wakes nobody.
const LOOK: Duration = Duration::from_millis(20);

/// Why there is no server for the next attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unplaced {
    /// What the client is to be told.
    Cause(Cause),
    /// There is nobody left to be told anything.
    ClientGone,
}

impl Unplaced {
    /// How the request ends by it.
    pub(crate) fn ends(self) -> Result<Finish, Lack> {
        match self {
            Self::Cause(cause) => Err(Lack::Cause(cause)),
            Self::ClientGone => Ok(Finish::aborted(Persist::Close)),
        }
    }
}

impl From<Cause> for Unplaced {
    fn from(cause: Cause) -> Self {
        Self::Cause(cause)
    }
}

impl From<ClientGone> for Unplaced {
    fn from(ClientGone: ClientGone) -> Self {
        Self::ClientGone
    }
}

impl<'a> Journey<'a> {
    /// The server for the next attempt, which is counted in there.
    pub(crate) async fn place<'r>(
        &mut self,
        roster: &'r Roster,
        client: &Client,
        now: Instant,
    ) -> Result<(ServerId, Flight<'r>), Unplaced>
    where
        'a: 'r,
    {
        // No server is asked for a client that is known to be gone.
        if client.watched.is_gone() {
            return Err(Unplaced::ClientGone);
        }
        let queue = &self.service.queue;
        self.may_attempt(roster, now)?;
        // Who comes later does not go before those who wait.
        if queue.is_empty() {
            match self.try_place(roster, now) {
                Err(Cause::QueueFull) => {}
                placed => return Ok(placed?),
            }
        }
        let end = self.exchange.deadline().end();
        let typical = self.worker.pickers.borrow()[self.service_id.0 as usize].typical_latency();
        let entered = queue.enter(self.worker.clock.now(), self.class, end, typical);
        let mut waiting = entered.ok_or(Cause::QueueFull)?;
        let mut looked = false;
        loop {
            let turn = self.wait_for_turn(&mut waiting, roster, client, looked);
            // Boxed: few requests wait, and all would be larger by it.
            let reason = until_gone(&client.watched.get(), Box::pin(turn).as_mut()).await;
            looked = true;
            let now = self.worker.clock.now();
            self.latest = now;
            let reason = reason?;
            match reason {
                Reason::Served => match self.try_place(roster, now) {
                    Err(Cause::QueueFull) => {
                        waiting = waiting.again(now).ok_or(Cause::QueueFull)?;
                    }
                    placed => {
                        waiting.placed(now);
                        return Ok(placed?);
                    }
                },
                reason => {
                    waiting.denied(reason);
                    return Err(match reason {
                        Reason::ShedLate => Cause::QueueLate,
                        Reason::ShedFull => Cause::QueueFull,
                        _ => Cause::QueueTimeout,
                    }
                    .into());
                }
            }
        }
    }

    /// Waits until it is this request's turn, or until it is over with waiting.
    /// Whoever has `looked` just now does not look again at once.
    async fn wait_for_turn(
        &self,
        waiting: &mut Waiting<'_>,
        roster: &Roster,
        client: &Client,
        mut looked: bool,
    ) -> Reason {
        loop {
            let now = self.worker.clock.now();
            if now >= waiting.until() {
                return Reason::Expired;
            }
            // An attempt may have ended before it began to wait, or a server may have come back.
            if !looked && roster.pool().has_room(now) {
                self.service.queue.free_one();
            }
            looked = false;
            client.timer.set((now + LOOK).min(waiting.until()));
            tokio::select! {
                biased;
                reason = waiting.turn() => return reason,
                () = client.timer.expired() => {}
            }
        }
    }

    /// Whether an attempt may be made at all now.
    fn may_attempt(&self, roster: &Roster, now: Instant) -> Result<(), Cause> {
        let random = &mut self.worker.random.borrow_mut();
        self.service
            .admission
            .attempt(roster.pool(), self.class, now, random)
    }

    /// The line that tells the client which server it belongs to from now on, if it does not know.
    pub(crate) fn tell(&self, server: ServerId) -> &[u8] {
        match &self.roster.sticky {
            Some(sticky) if self.stick != Some(server.index) => sticky.line(server.index),
            _ => &[],
        }
    }

    fn try_place<'r>(
        &mut self,
        roster: &'r Roster,
        now: Instant,
    ) -> Result<(ServerId, Flight<'r>), Cause>
    where
        'a: 'r,
    {
        let service = self.service;
        let pool = roster.pool();
        let picker = &mut self.worker.pickers.borrow_mut()[self.service_id.0 as usize];
        let first = self.exchange.attempts() == 0;
        let own = self.stick.filter(|_| first);
        let mut pick: Pick = match own.and_then(|index| picker.stick(pool, now, index)) {
            Some(pick) => pick,
            None => self.exchange.next_server(picker, pool, now, self.key)?,
        };
        let typical = picker.typical_latency();
        let begin = |pick: Pick| {
            let member = &pool.members()[pick.index as usize];
            let at = (member, roster.watch(pick.index));
            Flight::begin(at, &service.queue, typical, now)
        };
        let flight = match begin(pick) {
            Some(flight) => flight,
            // Another worker was quicker.
            None => {
                let busy = [pick.index];
                let other = self
                    .exchange
                    .other_server(picker, pool, now, self.key, &busy);
                pick = other.ok_or(Cause::QueueFull)?;
                begin(pick).ok_or(Cause::QueueFull)?
            }
        };
        let asked = (self.service_id, service);
        self.worker.ask(asked, picker, roster, now);
        let server = ServerId {
            service: self.service_id,
            index: pick.index,
        };
        let picks = &self.worker.server_counters(server).picks;
        picks[pick.reason.place()].add_from_owner(1);
        Ok((server, flight))
    }
}
