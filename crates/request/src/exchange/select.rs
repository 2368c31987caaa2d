//! The server for the next attempt of a request that has not waited: the client's own, or the one that the balancing policy picks.

use evenkeel_core::Instant;

use super::host::Host;
use super::next::Next;
use super::server::Selected;
use super::state::Exchange;
use crate::Cause;

impl<'a> Exchange<'a> {
    /// A server for the next attempt; waits for one in the queue, or for one to come back.
    pub(super) fn select(&mut self, now: Instant, host: &impl Host<'a>) -> Next {
        match self.try_select(now, host) {
            Ok(selected) => Next::Step(self.begin(selected, now, host)),
            Err(Cause::QueueFull) => Next::EnterQueue,
            Err(cause) => Next::Hold {
                cause,
                granted: true,
            },
        }
    }

    /// The same, for a request that nobody waits in front of.
    fn try_select(&mut self, now: Instant, host: &impl Host<'a>) -> Result<Selected, Cause> {
        self.may_reach_server(now, host)?;
        if let Some(holding) = &self.service.holding {
            self.returns_seen = holding.returns();
        }
        host.random(|random| {
            let room = (self.servers.pool(), &*self.service.queue);
            (self.service.admission()).attempt(room, self.class, now, random)
        })?;
        if !self.service.queue.is_empty() {
            return Err(Cause::QueueFull);
        }
        self.take_server(now, host)
    }
}
