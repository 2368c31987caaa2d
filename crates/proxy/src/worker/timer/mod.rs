//! Deadlines of connections, kept in one coarse wheel per worker.
//!
//! A connection moves its deadline several times in each request, and almost none is ever reached. So a deadline is a
//! number in a slot that the connection overwrites; the wheel holds, for each slot, one entry at or before the
//! deadline, and only when that entry comes due is the slot looked at and, usually, entered again further on. A
//! deadline is met at most one tick (8.4 ms) late, never early, however long the worker was stopped in between.
//!
//! A waker is code of somebody else: it is cloned, woken and dropped only while the wheel is not borrowed and complete in itself,
//! so that one that panics, or sets or drops another timer, changes nothing for the other timers.
//!
//! Tests hold the wheel against a plain map of deadlines, with stops of any length.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Waker};

use evenkeel_core::Instant;
use evenkeel_runtime::{Clock, contain};
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
    slots: Vec<TimerSlot>,
    free: Vec<usize>,
    /// By tick modulo [`RIM`]: the slots that are looked at then, each with its generation when it was entered. All are
    /// later than `now`, by less than a turn.
    ticks: Vec<Vec<(usize, u32)>>,
    /// The last tick that is over.
    now: u64,
    /// The tick that is waited for.
    planned: u64,
}

#[derive(Debug)]
struct TimerSlot {
    deadline: u64,
    /// The tick of its one valid entry; those at other ticks are left over from earlier deadlines.
    entered: u64,
    /// How often it has been given back: entries of earlier owners are void.
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
        contain::wake_all(wakers);
    }

    /// Turns the wheel for ever.
    pub(crate) async fn run(self: Rc<Self>) {
        // After a panic some may not know that their deadline has passed.
        self.wake_all();
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
            contain::wake_all(due);
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

    /// Whether the deadline has passed.
    pub(crate) fn has_expired(&self) -> bool {
        self.timers.wheel.borrow().slots[self.place].expired
    }

    /// Whether the deadline has passed; if not, the task is woken when it has.
    pub(crate) fn poll_expired(&self, cx: &Context<'_>) -> bool {
        let wheel = self.timers.wheel.borrow();
        let slot = &wheel.slots[self.place];
        if slot.expired {
            return true;
        }
        let known = slot.waker.as_ref();
        if known.is_some_and(|waker| waker.will_wake(cx.waker())) {
            return false;
        }
        drop(wheel);
        let waker = cx.waker().clone();
        let replaced = self.timers.wheel.borrow_mut().slots[self.place]
            .waker
            .replace(waker);
        drop(replaced);
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
        let waker = self.timers.wheel.borrow_mut().close(self.place);
        drop(waker);
    }
}

impl Wheel {
    fn open(&mut self) -> usize {
        if let Some(place) = self.free.pop() {
            return place;
        }
        self.slots.push(TimerSlot {
            deadline: NEVER,
            entered: NEVER,
            generation: 0,
            expired: false,
            waker: None,
        });
        self.slots.len() - 1
    }

    /// Returns the waker of the timer that was there.
    fn close(&mut self, place: usize) -> Option<Waker> {
        let slot = &mut self.slots[place];
        slot.generation = slot.generation.wrapping_add(1);
        slot.deadline = NEVER;
        slot.entered = NEVER;
        slot.expired = false;
        let waker = slot.waker.take();
        self.free.push(place);
        waker
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

    /// `now` is the tick that has begun. Returns the wakers of those that have expired.
    fn advance(&mut self, now: u64) -> Vec<Waker> {
        let over = now.saturating_sub(1);
        let (first, last) = (self.now + 1, over.min(self.now + RIM - 1));
        self.now = self.now.max(over);
        // First all that have come due are taken out, then some are entered again: their new ticks can fall on places of the
        // wheel that this walk passes, and must not be walked by it.
        let mut due = Vec::new();
        for tick in first..=last {
            due.extend(std::mem::take(&mut self.ticks[(tick % RIM) as usize]));
        }
        let mut expired = Vec::new();
        for (place, generation) in due {
            let slot = &mut self.slots[place];
            if slot.generation != generation || slot.entered > self.now {
                continue;
            }
            slot.entered = NEVER;
            if slot.deadline <= self.now {
                slot.expired = true;
                expired.extend(slot.waker.take());
            } else if slot.deadline != NEVER {
                let deadline = slot.deadline;
                self.enter(place, deadline);
            }
        }
        expired
    }
}

const fn tick_of(instant: Instant) -> u64 {
    instant.as_nanos() >> TICK_BITS
}

#[cfg(test)]
mod tests;
