//! Where the next attempt goes: to the client's own server, to the one that the policy picks, or into the queue until one can
//! take it.

use std::pin::pin;
use std::time::Duration;

use evenkeel_balance::Pick;
use evenkeel_core::{Instant, ServerId};
use evenkeel_request::Cause;

use crate::client::Client;
use crate::drive::Journey;
use crate::flight::Flight;
use crate::roster::Roster;

/// Between two looks of a request that waits: a server that comes back wakes nobody.
const LOOK: Duration = Duration::from_millis(20);

impl<'a> Journey<'a> {
    /// The server for the next attempt, which is counted in there.
    pub(crate) async fn place<'r>(
        &mut self,
        roster: &'r Roster,
        client: &mut Client,
        now: Instant,
    ) -> Result<(ServerId, Flight<'r>), Cause>
    where
        'a: 'r,
    {
        let queue = &self.service.queue;
        // Who comes later does not go before those who wait.
        if queue.is_empty() {
            match self.try_place(roster, now) {
                Err(Cause::QueueFull) => {}
                placed => return placed,
            }
        }
        let Some(_waiting) = queue.enter() else {
            queue.refused.add(1);
            return Err(Cause::QueueFull);
        };
        let end = (now + queue.wait).min(self.exchange.deadline().end());
        loop {
            let mut freed = pin!(queue.freed());
            // From here on nothing is missed.
            freed.as_mut().enable();
            let now = self.worker.clock.now();
            self.latest = now;
            match self.try_place(roster, now) {
                Err(Cause::QueueFull) if now < end => {}
                Err(Cause::QueueFull) => {
                    queue.expired.add(1);
                    return Err(Cause::QueueTimeout);
                }
                placed => return placed,
            }
            client.timer.set((now + LOOK).min(end));
            tokio::select! {
                biased;
                () = freed => {}
                () = client.timer.expired() => {}
            }
        }
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
        let pick: Pick = match own.and_then(|index| picker.stick(pool, now, index)) {
            Some(pick) => pick,
            None => self.exchange.next_server(picker, pool, now, self.key)?,
        };
        let member = &pool.members()[pick.index as usize];
        // Another worker may have been quicker.
        let flight = Flight::begin(member, &service.queue, picker.typical_latency())
            .ok_or(Cause::QueueFull)?;
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
