//! Deadlines of connections, kept in one coarse wheel per worker.
//!
//! A connection moves its deadline several times in each request, and almost none is ever reached. So a deadline is a
//! number in a slot that the connection overwrites; the wheel holds, for each slot, one entry at or before the
//! deadline, and only when that entry comes due is the slot looked at and, usually, entered again further on. A
//! deadline is met at most one tick (8.4 ms) late, never early.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Waker};

use evenkeel_core::Instant;
use evenkeel_runtime::Clock;
use tokio::sync::Notify;

/// 2^23 ns.
const TICK_BITS: u32 = 23;
/// Ticks that the wheel covers: 8.6 s. What is later is entered at its rim and again from there.
const RIM: u64 = 1024;
const NEVER: u64 = u64::MAX;

/// All deadlines of a worker.
#[derive(Debug)]
pub(crate) struct Timers {
    wheel: RefCell<Wheel>,
    earlier: Notify,
    clock: Clock,
}

#[derive(Debug)]
struct Wheel {
    slots: Vec<Slot>,
    free: Vec<usize>,
    ticks: Vec<Vec<(usize, u32)>>,
    now: u64,
    planned: u64,
}

#[derive(Debug)]
struct Slot {
    deadline: u64,
    entered: u64,
    generation: u32,
    expired: bool,
    waker: Option<Waker>,
}

/// One connection's deadline.
#[derive(Debug)]
pub(crate) struct Timer {
    timers: Rc<Timers>,
    place: usize,
}

impl Timers {
    pub(crate) fn new(clock: Clock) -> Rc<Self> {
        let wheel = Wheel {
            slots: Vec::new(),
            free: Vec::new(),
            ticks: (0..RIM).map(|_| Vec::new()).collect(),
            now: tick_of(clock.now()),
            planned: NEVER,
        };
        Rc::new(Self {
            wheel: RefCell::new(wheel),
            earlier: Notify::new(),
            clock,
        })
    }

    pub(crate) fn timer(self: &Rc<Self>) -> Timer {
        Timer {
            timers: Rc::clone(self),
            place: self.wheel.borrow_mut().open(),
        }
    }

    /// Wakes every connection that waits, so that it can see that the worker is draining.
    pub(crate) fn wake_all(&self) {
        let wakers: Vec<_> = self
            .wheel
            .borrow_mut()
            .slots
            .iter_mut()
            .filter_map(|slot| slot.waker.take())
            .collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Turns the wheel for ever.
    pub(crate) async fn run(self: Rc<Self>) {
        loop {
            let next = self.wheel.borrow_mut().plan();
            if next == NEVER {
                self.earlier.notified().await;
                continue;
            }
            tokio::select! {
                () = self.clock.sleep_until(Instant::from_nanos((next + 1) << TICK_BITS)) => {}
                () = self.earlier.notified() => continue,
            }
            let due = self.wheel.borrow_mut().advance(tick_of(self.clock.now()));
            due.into_iter().for_each(Waker::wake);
        }
    }
}

impl Timer {
    /// Moves the deadline.
    pub(crate) fn set(&self, deadline: Instant) {
        if self
            .timers
            .wheel
            .borrow_mut()
            .set(self.place, tick_of(deadline))
        {
            self.timers.earlier.notify_one();
        }
    }

    /// Whether the deadline has passed; if not, the task is woken when it has.
    pub(crate) fn poll_expired(&self, cx: &Context<'_>) -> bool {
        let mut wheel = self.timers.wheel.borrow_mut();
        let slot = &mut wheel.slots[self.place];
        if slot.expired {
            return true;
        }
        if !slot
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            slot.waker = Some(cx.waker().clone());
        }
        false
    }

    /// Waits for the deadline.
    pub(crate) async fn expired(&self) {
        std::future::poll_fn(|cx| {
            if self.poll_expired(cx) {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.timers.wheel.borrow_mut().close(self.place);
    }
}

impl Wheel {
    fn open(&mut self) -> usize {
        if let Some(place) = self.free.pop() {
            return place;
        }
        self.slots.push(Slot {
            deadline: NEVER,
            entered: NEVER,
            generation: 0,
            expired: false,
            waker: None,
        });
        self.slots.len() - 1
    }

    fn close(&mut self, place: usize) {
        let slot = &mut self.slots[place];
        slot.generation = slot.generation.wrapping_add(1);
        slot.deadline = NEVER;
        slot.entered = NEVER;
        slot.expired = false;
        slot.waker = None;
        self.free.push(place);
    }

    /// Says whether the wheel must turn earlier than it had planned.
    fn set(&mut self, place: usize, deadline: u64) -> bool {
        let slot = &mut self.slots[place];
        slot.deadline = deadline;
        slot.expired = false;
        if deadline >= slot.entered {
            return false;
        }
        let tick = self.enter(place, deadline);
        tick < self.planned
    }

    fn enter(&mut self, place: usize, deadline: u64) -> u64 {
        let tick = deadline.clamp(self.now + 1, self.now + RIM - 1);
        let slot = &mut self.slots[place];
        slot.entered = tick;
        self.ticks[(tick % RIM) as usize].push((place, slot.generation));
        tick
    }

    fn plan(&mut self) -> u64 {
        self.planned = (self.now + 1..self.now + RIM)
            .find(|tick| !self.ticks[(tick % RIM) as usize].is_empty())
            .unwrap_or(NEVER);
        self.planned
    }

    fn advance(&mut self, now: u64) -> Vec<Waker> {
        let mut due = Vec::new();
        let last = now.saturating_sub(1).min(self.now + RIM - 1);
        let first = self.now + 1;
        self.now = self.now.max(now.saturating_sub(1));
        for tick in first..=last {
            for (place, generation) in std::mem::take(&mut self.ticks[(tick % RIM) as usize]) {
                let slot = &mut self.slots[place];
                if slot.generation != generation || slot.entered != tick {
                    continue;
                }
                slot.entered = NEVER;
                if slot.deadline <= self.now {
                    slot.expired = true;
                    due.extend(slot.waker.take());
                } else if slot.deadline != NEVER {
                    let deadline = slot.deadline;
                    self.enter(place, deadline);
                }
            }
        }
        due
    }
}

const fn tick_of(instant: Instant) -> u64 {
    instant.as_nanos() >> TICK_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wheel() -> Wheel {
        Wheel {
            slots: vec![],
            free: vec![],
            ticks: (0..RIM).map(|_| Vec::new()).collect(),
            now: 0,
            planned: NEVER,
        }
    }

    /// Advances tick by tick and says when the slot expired.
    fn expiry(wheel: &mut Wheel, place: usize, until: u64) -> Option<u64> {
        (wheel.now + 1..until).find(|&now| {
            wheel.advance(now);
            wheel.slots[place].expired
        })
    }

    #[test]
    fn a_deadline_is_met_in_the_next_tick_and_never_early() {
        for deadline in [1, 2, 100, RIM - 1, RIM, 3 * RIM + 7] {
            let mut wheel = wheel();
            let place = wheel.open();
            wheel.set(place, deadline);
            assert_eq!(expiry(&mut wheel, place, 10 * RIM), Some(deadline + 1));
        }
    }

    #[test]
    fn a_deadline_that_moves_on_is_met_at_its_last_place() {
        let mut wheel = wheel();
        let place = wheel.open();
        for now in 1..500 {
            wheel.set(place, now + 50);
            wheel.advance(now);
            assert!(!wheel.slots[place].expired);
        }
        assert_eq!(expiry(&mut wheel, place, 10_000), Some(550));
    }

    #[test]
    fn a_deadline_that_moves_forward_is_met_early_enough() {
        let mut wheel = wheel();
        let place = wheel.open();
        wheel.set(place, 5_000);
        wheel.set(place, 20);
        assert_eq!(expiry(&mut wheel, place, 6_000), Some(21));
    }

    #[test]
    fn a_reused_slot_does_not_inherit_a_deadline() {
        let mut wheel = wheel();
        let place = wheel.open();
        wheel.set(place, 10);
        wheel.close(place);
        assert_eq!(wheel.open(), place);
        assert_eq!(expiry(&mut wheel, place, 100), None);
    }

    #[test]
    fn a_long_pause_of_the_worker_loses_nothing() {
        let mut wheel = wheel();
        let (a, b) = (wheel.open(), wheel.open());
        wheel.set(a, 10);
        wheel.set(b, 900);
        wheel.advance(100_000);
        assert!(wheel.slots[a].expired && wheel.slots[b].expired);
    }
}
