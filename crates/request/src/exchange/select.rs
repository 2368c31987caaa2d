//! The server for the next attempt of a request that has not waited: the client's own, or the one that the balancing policy picks.

use std::time::Duration;

use evenkeel_core::Instant;

use super::host::Host;
use super::next::Next;
use super::phase::Phase;
use super::server::Selected;
use super::state::Exchange;
use super::step::Step;
use crate::Cause;
use crate::service::unsettled::FATE;

/// Between two looks whether a request that may end its servers is in quarantine by now.
const LOOK: Duration = Duration::from_millis(5);

impl<'a> Exchange<'a> {
    /// A server for the next attempt; waits for one in the queue, or for one to come back.
    pub(super) fn select(&mut self, now: Instant, host: &impl Host<'a>) -> Next {
        if let Some(until) = self.is_doubted(now, host) {
            self.phase = Phase::BackingOff(until);
            return Next::Step(Step::Wait(until));
        }
        match self.try_select(now, host) {
            Ok(selected) => Next::Step(self.begin(selected, now, host)),
            Err(Cause::QueueFull) => Next::EnterQueue,
            Err(cause) => Next::Hold {
                cause,
                granted: true,
            },
        }
    }

    /// When to look again, if such requests have broken off connections of servers whose fate is not known yet.
    fn is_doubted(&mut self, now: Instant, host: &impl Host<'a>) -> Option<Instant> {
        let quarantine = &self.service.quarantine;
        if !quarantine.unsettled.is_on(now) {
            return None;
        }
        let until = quarantine.unsettled.holds(host.exact_shape(), now)?;
        if self.doubted_since.is_none() {
            quarantine.held_back.add(1);
        }
        // Others break off meanwhile: it does not wait for each of them.
        let longest = *self.doubted_since.get_or_insert(now) + FATE;
        let until = until.min(longest).min(self.attempts.deadline().end());
        (now < until).then_some(until.min(now + LOOK))
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
