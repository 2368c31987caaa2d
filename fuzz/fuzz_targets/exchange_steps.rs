//! What an exchange asks for, done at once.

use std::task::Waker;
use std::time::Duration;

use evenkeel_core::Outcome;
use evenkeel_request::exchange::{AttemptEnd, Event, FirstEnd, Step};

use super::Slot;

/// What is to be reported at once.
pub(super) fn carry_out(slot: &mut Slot<'_>, step: Step) -> Option<Event> {
    match step {
        Step::Wait(_) => {
            let has_come = slot.exchange.poll_wake(Waker::noop());
            has_come.then_some(Event::Woken)
        }
        Step::Settle => {
            slot.hedges.clear();
            let entry = &mut slot.books.attempts[slot.first.as_ref()?.entry];
            let outcome = *entry.outcome.get_or_insert(Outcome::Cancelled);
            Some(Event::Ended(AttemptEnd::failed(outcome, Duration::ZERO)))
        }
        Step::Switch(server) => {
            let mut hedges = slot.hedges.drain(..);
            let won = hedges.find(|hedge| hedge.server == server);
            drop(hedges);
            let won = won.expect("it was under way");
            let outcome = slot.books.attempts[won.entry].outcome?;
            slot.first = Some(won);
            Some(Event::Ended(AttemptEnd::failed(outcome, Duration::ZERO)))
        }
        Step::GiveUp => {
            let first = slot.first.as_mut()?;
            slot.books.attempts[first.entry].outcome = Some(Outcome::Rescued);
            let end = AttemptEnd::failed(Outcome::Rescued, Duration::ZERO);
            if slot.hedges.is_empty() {
                return Some(Event::Ended(end));
            }
            first.has_ended = true;
            Some(Event::FirstEnded(FirstEnd::Failed(Outcome::Rescued)))
        }
        Step::Attempt(_)
        | Step::GoOn(_)
        | Step::Hedge(..)
        | Step::PassOn
        | Step::Reply(_)
        | Step::Abort
        | Step::Done => None,
    }
}
