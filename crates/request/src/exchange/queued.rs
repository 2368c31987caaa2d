//! A request in the queue: it waits for its turn, and looks for a server when that has come.

use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_tolerate::queue::DequeueReason;

use super::host::Host;
use super::next::Next;
use super::phase::Phase;
use super::state::Exchange;
use super::step::Step;
use crate::Cause;
use crate::service::queue::Waiting;

/// Between two looks of a request that waits: a server that comes back wakes nobody.
const LOOK: Duration = Duration::from_millis(20);
/// For each time that so many wait, each of them looks so much more seldom: together they look often enough.
const CROWD: u32 = 64;

impl<'a> Exchange<'a> {
    /// All servers have as many requests as they may, or others wait already.
    pub(super) fn enter_queue(&mut self, now: Instant, host: &mut impl Host<'a>) -> Next {
        let end = self.attempts.deadline().end();
        let typical = host.picker(self.service_id, |picker| picker.typical_latency());
        match self.service.queue.enter(now, self.class, end, typical) {
            Some(waiting) => self.look(Box::new(waiting), false, now, host),
            None => not_selected(Cause::QueueFull),
        }
    }

    pub(super) fn look_from_queue(&mut self, now: Instant, host: &mut impl Host<'a>) -> Next {
        let Phase::Queued(waiting) = std::mem::replace(&mut self.phase, Phase::New) else {
            return Next::Abort;
        };
        self.look(waiting, false, now, host)
    }

    /// Whether a server has room that was not freed for a request whose turn has come and that has not looked yet.
    fn has_unclaimed_room(&self, now: Instant) -> bool {
        (self.servers.pool()).has_room_beside(now, self.service.queue.owned_room(now))
    }

    /// Goes if its turn has come, or if it may not wait any longer. Whoever has `looked` just now does not look again at once.
    fn look(
        &mut self,
        mut waiting: Box<Waiting<'a>>,
        mut looked: bool,
        now: Instant,
        host: &mut impl Host<'a>,
    ) -> Next {
        waiting.saw(now);
        if waiting.is_aside() && now < waiting.until() {
            waiting.again(now, true);
        }
        loop {
            match waiting.reason() {
                // It hears of its turn too late for an attempt: the turn is the next one's.
                Some(DequeueReason::Served) if self.attempts.deadline().passed(now) => {
                    return denied(*waiting, DequeueReason::Expired, now);
                }
                // It hears of its turn so late that the room may be that of another one by now.
                Some(DequeueReason::Served)
                    if !waiting.owns_room() && !self.has_unclaimed_room(now) =>
                {
                    looked = true;
                    waiting.again(now, false);
                    continue;
                }
                Some(DequeueReason::Served) => {}
                Some(reason) => return denied(*waiting, reason, now),
                None if now >= waiting.until() => {
                    return denied(*waiting, DequeueReason::Expired, now);
                }
                // An attempt may have ended before it began to wait, or a server may have come back.
                None if !looked && self.has_unclaimed_room(now) => {
                    looked = true;
                    waiting.call_next(now);
                    continue;
                }
                None => {
                    let pause = LOOK * (1 + self.service.queue.waiting() / CROWD);
                    let until = (now + pause).min(waiting.until());
                    self.phase = Phase::Queued(waiting);
                    return Next::Step(Step::Wait(until));
                }
            }
            looked = true;
            // A quarantine may have begun while it waited. Its turn is the next one's then.
            if let Err(cause) = self.may_reach_server(now, host) {
                drop(waiting);
                return not_selected(cause);
            }
            match self.take_server(now, host) {
                Ok(selected) => {
                    let since = waiting.began();
                    waiting.placed(now);
                    let step = self.begin(selected, now, host);
                    self.queued_since = Some(since);
                    return Next::Step(step);
                }
                Err(Cause::QueueFull) if self.servers.pool().has_room(now) => {
                    waiting.step_aside(now);
                }
                Err(Cause::QueueFull) => waiting.again(now, self.attempts.attempts() > 0),
                Err(cause) => {
                    waiting.placed(now);
                    return not_selected(cause);
                }
            }
        }
    }
}

/// It may not wait any longer.
fn denied(waiting: Waiting<'_>, reason: DequeueReason, now: Instant) -> Next {
    waiting.denied(now, reason);
    not_selected(match reason {
        DequeueReason::ShedLate => Cause::QueueLate,
        DequeueReason::ShedFull => Cause::QueueFull,
        DequeueReason::Served | DequeueReason::Expired | DequeueReason::Cancelled => {
            Cause::QueueTimeout
        }
    })
}

/// There is no server for it, for this cause.
const fn not_selected(cause: Cause) -> Next {
    Next::Hold {
        cause,
        granted: true,
    }
}
