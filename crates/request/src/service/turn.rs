//! The turn of a request in the queue, and the room that belongs to it until it has looked for a server.
//!
//! A slot that was freed for a request is not given to another one while the request wakes up and looks. Not for ever: its worker may be
//! stuck, and the slot would be idle meanwhile. After [`LOOKS_WITHIN`] the turn *lapses*: the room is for whoever looks first, and
//! the request itself, when it does look, competes for a server as one whose turn has not come. While a lapsed turn is not looked at,
//! a worker is known to be stuck. Until it goes on no turn owns any room, so that a second request of the same worker costs no time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_core::metric::Counter;
use evenkeel_tolerate::queue::DequeueReason;

/// So long a called request owns the slot that was freed for it. A worker looks at what has woken it within one turn of its event loop,
/// which takes microseconds, and on a machine with more to do than it can some milliseconds.
pub(super) const LOOKS_WITHIN: Duration = Duration::from_millis(50);

/// Whether a request's turn has come, or why it may not wait any longer.
#[derive(Debug, Default)]
pub(super) struct Turn(Mutex<TurnState>);

#[derive(Debug, Default)]
struct TurnState {
    reason: Option<DequeueReason>,
    waker: Option<Waker>,
    room: TurnRoom,
}

/// What of the servers' room belongs to a turn.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum TurnRoom {
    /// It has not come, or was used or passed on.
    #[default]
    None,
    /// The slot that was freed for it.
    Owned,
    /// Nothing any more: it was not looked at in time.
    Lapsed,
}

/// The turns that have come and were not yet looked at.
#[derive(Debug, Default)]
pub(super) struct CalledTurns {
    /// The oldest in front, with when they came. Those that were used meanwhile are taken out with those before them.
    oldest: Mutex<VecDeque<(Instant, Arc<Turn>)>>,
    /// Turns that own room.
    owning: AtomicU32,
    /// Turns that have lapsed.
    lapsed: AtomicU32,
    /// How many have ever lapsed.
    lapses: Counter,
}

impl Turn {
    fn state(&self) -> MutexGuard<'_, TurnState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the request that it is out of the line for this reason.
    pub(super) fn call(&self, reason: DequeueReason) {
        let mut state = self.state();
        state.reason = Some(reason);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Why the request is out of the line, if it is.
    pub(super) fn reason(&self) -> Option<DequeueReason> {
        self.state().reason
    }

    /// Wakes this when there is a reason.
    pub(super) fn register(&self, waker: &Waker) {
        let mut state = self.state();
        match &mut state.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// Whether its turn has come, and the slot that was freed for it is still its own.
    pub(super) fn owns_room(&self) -> bool {
        self.state().room == TurnRoom::Owned
    }
}

impl CalledTurns {
    /// The request's turn has come: a slot is free for it.
    pub(super) fn call(&self, turn: Arc<Turn>, now: Instant) {
        self.owning.fetch_add(1, Ordering::SeqCst);
        turn.state().room = TurnRoom::Owned;
        turn.call(DequeueReason::Served);
        let mut oldest = self.oldest();
        self.lapse(&mut oldest, now);
        oldest.push_back((now, turn));
    }

    /// The turn, if it has come, is used or passed on.
    pub(super) fn end(&self, turn: &Turn) {
        let room = std::mem::take(&mut turn.state().room);
        let count = match room {
            TurnRoom::None => return,
            TurnRoom::Owned => &self.owning,
            TurnRoom::Lapsed => &self.lapsed,
        };
        count.fetch_sub(1, Ordering::SeqCst);
    }

    /// How many slots of the servers belong to turns at this moment.
    pub(super) fn owned(&self, now: Instant) -> u32 {
        if self.owning.load(Ordering::SeqCst) == 0 {
            return 0;
        }
        self.lapse(&mut self.oldest(), now);
        match self.is_any_stuck() {
            true => 0,
            false => self.owning.load(Ordering::SeqCst),
        }
    }

    /// Whether a turn has lapsed and its request has not looked yet: its worker is stuck.
    pub(super) fn is_any_stuck(&self) -> bool {
        self.lapsed.load(Ordering::SeqCst) > 0
    }

    /// How many turns have lapsed.
    pub(super) fn lapses(&self) -> u64 {
        self.lapses.value()
    }

    fn oldest(&self) -> MutexGuard<'_, VecDeque<(Instant, Arc<Turn>)>> {
        self.oldest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of those that were used, and of those that have owned a slot for too long, from the front.
    fn lapse(&self, oldest: &mut VecDeque<(Instant, Arc<Turn>)>, now: Instant) {
        while let Some((called, turn)) = oldest.front() {
            let mut state = turn.state();
            if state.room == TurnRoom::Owned {
                if now.since(*called) < LOOKS_WITHIN {
                    return;
                }
                state.room = TurnRoom::Lapsed;
                self.owning.fetch_sub(1, Ordering::SeqCst);
                self.lapsed.fetch_add(1, Ordering::SeqCst);
                self.lapses.add(1);
            }
            drop(state);
            oldest.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(1_000);

    #[test]
    fn a_turn_that_is_not_looked_at_in_time_owns_no_room_and_no_other_does_meanwhile() {
        let called = CalledTurns::default();
        let turns = [(); 3].map(|()| Arc::<Turn>::default());
        called.call(Arc::clone(&turns[0]), NOW);
        called.call(Arc::clone(&turns[1]), NOW + LOOKS_WITHIN / 2);
        let before = NOW + LOOKS_WITHIN.saturating_sub(Duration::from_millis(1));
        assert_eq!((called.owned(before), called.is_any_stuck()), (2, false));
        assert_eq!(called.owned(NOW + LOOKS_WITHIN), 0);
        assert!(called.is_any_stuck() && !turns[0].owns_room() && turns[1].owns_room());
        called.call(Arc::clone(&turns[2]), NOW + LOOKS_WITHIN);
        assert_eq!(called.owned(NOW + LOOKS_WITHIN), 0);
        // The worker goes on.
        called.end(&turns[0]);
        assert_eq!(called.owned(NOW + LOOKS_WITHIN), 2);
        turns.iter().for_each(|turn| called.end(turn));
        assert_eq!((called.owned(before), called.is_any_stuck()), (0, false));
        assert_eq!(called.lapses(), 1);
    }

    #[test]
    fn turns_that_were_used_are_not_remembered() {
        let called = CalledTurns::default();
        for millis in 0..1_000 {
            let turn = Arc::<Turn>::default();
            called.call(Arc::clone(&turn), NOW + Duration::from_millis(millis));
            called.end(&turn);
        }
        assert!(called.oldest().len() <= 1);
        assert_eq!((called.lapses(), called.owned(NOW)), (0, 0));
    }
}
