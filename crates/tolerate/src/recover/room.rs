//! The limit, and who waits for a place of it: gives a place that becomes free to whom it belongs.
//!
//! The [`Queue`] decides who is next and who waited too long, but it is a plain value with one owner and wakes nobody. Here it gets
//! a lock that is held for moments, and each who waits gets a slot, in which what became of it is laid before it is woken. A place is
//! laid there, too: it is taken for somebody, so nobody who comes later can be quicker, and if that somebody is gone it goes on to the next.
//!
//! The lock is taken only when the limit is full or somebody waits. Whoever frees a place looks whether somebody waits *after* that;
//! whoever waits looks for a free place *after* it can be seen waiting. So one of the two sees the other, and nobody is forgotten.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use evenkeel_core::Instant;

use super::{RecoveryOptions, Stopped};
use crate::clock::Clock;
use crate::queue::{Pushed, QueueSnapshot, Reason, ServiceTime, Ticket};
use crate::{Call, Finish, Limit, LimitOptions, Queue, QueueOptions, ShedOptions};

/// A limit with its queue, which nobody enters where the options have none.
#[derive(Debug)]
pub(crate) struct Room {
    limit: Limit,
    /// What an attempt takes that has a place.
    service: ServiceTime,
    /// How many wait. Changed under the lock, read without it.
    waiting: AtomicUsize,
    line: Mutex<Line>,
}

#[derive(Debug)]
struct Line {
    limit: LimitOptions,
    options: QueueOptions,
    queue: Queue<Arc<Slot>>,
    shares: ShedOptions,
}

/// Where one who waits finds what became of it.
#[derive(Debug)]
struct Slot(Mutex<State>);

#[derive(Debug)]
enum State {
    Waits(Option<Waker>),
    Served(Seat),
    Refused(Stopped),
    /// It has looked.
    Told,
}

/// Somebody who was told what became of it. Woken without the lock, since a waker may do anything.
#[must_use = "it sleeps"]
struct Told(Option<Waker>);

impl Told {
    fn wake(self) {
        if let Some(waker) = self.0 {
            waker.wake();
        }
    }
}

/// A place of the limit. Given back when it is dropped, to whom is next.
#[must_use = "dropped at once it limits nothing"]
pub(crate) struct Place<'p> {
    seat: Seat,
    clock: &'p dyn Clock,
}

/// Somebody who waits. Dropped, it has left the queue, and a place that it was given meanwhile goes to the next.
pub(crate) struct Waiting<'p> {
    room: Arc<Room>,
    slot: Arc<Slot>,
    ticket: Ticket,
    until: Instant,
    clock: &'p dyn Clock,
    is_over: bool,
}

/// What became of who wanted a place.
pub(crate) enum Entered<'p> {
    Place(Place<'p>),
    Waits(Waiting<'p>),
    Refused(Stopped),
}

/// A place that is taken. Given back when it is dropped.
#[derive(Debug)]
struct Seat {
    /// None when it was given back.
    room: Option<Arc<Room>>,
    began: Instant,
    /// How many were in flight when it was taken, with itself.
    in_flight: u32,
}

impl Seat {
    /// Gives it back; the room in which there is a place now.
    fn give_back(&mut self) -> Option<Arc<Room>> {
        let room = self.room.take()?;
        room.limit.leave();
        Some(room)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Who wants a place.
#[derive(Clone, Copy)]
pub(crate) struct Wish<'o> {
    pub(crate) call: &'o Call,
    pub(crate) options: &'o RecoveryOptions,
    /// When it is of no use any more.
    pub(crate) until: Instant,
}

impl Room {
    pub(crate) fn new(
        limit: &LimitOptions,
        options: &RecoveryOptions,
        now: Instant,
        seed: u64,
    ) -> Self {
        Self {
            limit: Limit::new(limit, now, seed),
            service: ServiceTime::new(),
            waiting: AtomicUsize::new(0),
            line: Mutex::new(Line {
                limit: *limit,
                options: options.queue.unwrap_or_default(),
                queue: Queue::new(options.queue.unwrap_or_default()),
                shares: options.shares,
            }),
        }
    }

    /// Other options from now on. What is in flight and who waits stays; there may be more places now.
    pub(crate) fn reconfigure(
        self: &Arc<Self>,
        limit: &LimitOptions,
        options: &RecoveryOptions,
        now: Instant,
        seed: u64,
    ) {
        let mut line = self.line();
        if line.limit != *limit {
            line.limit = *limit;
            self.limit.adaptive().reconfigure(limit, now, seed);
        }
        let queue = options.queue.unwrap_or_default();
        if line.options != queue {
            line.options = queue;
            line.queue.reconfigure(queue);
        }
        line.shares = options.shares;
        drop(line);
        self.hand_on(|| now);
    }

    pub(crate) const fn limit(&self) -> &Limit {
        &self.limit
    }

    pub(crate) fn snapshot(&self) -> QueueSnapshot {
        self.line().queue.snapshot()
    }

    /// A place, if there is one for which nobody waits.
    pub(crate) fn at_once<'p>(
        self: &Arc<Self>,
        wish: &Wish<'_>,
        now: Instant,
        clock: &'p dyn Clock,
    ) -> Option<Place<'p>> {
        if wish.options.queue.is_some() && self.waiting.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let seat = self.acquire(self.places(wish), now)?;
        Some(Place { seat, clock })
    }

    /// A place in the queue, for who found none at once. Whoever is more important than all who wait need not wait behind them.
    pub(crate) fn enter<'p>(
        self: &Arc<Self>,
        wish: &Wish<'_>,
        now: Instant,
        clock: &'p dyn Clock,
    ) -> Entered<'p> {
        let class = wish.call.importance().unwrap_or_default();
        let slot = Arc::new(Slot(Mutex::new(State::Waits(None))));
        let mut line = self.line();
        if line.queue.next_class().is_none_or(|next| next < class)
            && let Some(seat) = self.acquire(self.places(wish), now)
        {
            return Entered::Place(Place { seat, clock });
        }
        line.queue.expect(self.service.estimate());
        let until = line.queue.waits_until(now, wish.until);
        if until <= now {
            // It could not be done in time any more when its turn came.
            return Entered::Refused(Stopped::Expired);
        }
        let pushed = line.queue.push(now, class, wish.until, Arc::clone(&slot));
        self.count(&line);
        let (ticket, told) = match pushed {
            Pushed::Waits(ticket) => (ticket, Told(None)),
            Pushed::Instead(ticket, left) => {
                let told = left.item.tell(State::Refused(why(left.reason)));
                (ticket, told)
            }
            Pushed::Refused(_) => return Entered::Refused(Stopped::QueueFull),
        };
        drop(line);
        told.wake();
        // A place may have become free before anybody could see that somebody waits.
        self.hand_on(|| now);
        Entered::Waits(Waiting {
            room: Arc::clone(self),
            slot,
            ticket,
            until,
            clock,
            is_over: false,
        })
    }

    /// How many may be taken with this one.
    fn places(&self, wish: &Wish<'_>) -> u32 {
        let most = self.limit.limit();
        let importance = wish.call.importance();
        importance.map_or(most, |class| wish.options.shares.places(class, most))
    }

    fn acquire(self: &Arc<Self>, most: u32, now: Instant) -> Option<Seat> {
        let in_flight = self.limit.enter(most)?;
        Some(Seat {
            room: Some(Arc::clone(self)),
            began: now,
            in_flight,
        })
    }

    /// Gives places that are free to those who wait.
    fn hand_on(self: &Arc<Self>, now: impl FnOnce() -> Instant) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let now = now();
        while let Some(told) = self.next(now) {
            told.wake();
        }
    }

    /// Lets the next one leave the queue, and tells it in the same moment: whoever takes itself back finds either its entry or what
    /// became of it. Nobody if there is no place for whose turn it is.
    fn next(self: &Arc<Self>, now: Instant) -> Option<Told> {
        let mut line = self.line();
        let class = line.queue.next_class()?;
        let most = line.shares.places(class, self.limit.limit());
        let seat = self.acquire(most, now)?;
        let left = line.queue.pop(now)?;
        self.count(&line);
        let state = match left.reason {
            Reason::Served => State::Served(seat),
            reason => {
                drop(seat);
                State::Refused(why(reason))
            }
        };
        Some(left.item.tell(state))
    }

    fn count(&self, line: &Line) {
        self.waiting.store(line.queue.len(), Ordering::SeqCst);
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Lays down what became of it.
    fn tell(&self, state: State) -> Told {
        match std::mem::replace(&mut *self.state(), state) {
            State::Waits(waker) => Told(waker),
            State::Served(_) | State::Refused(_) | State::Told => Told(None),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'p> Waiting<'p> {
    /// Until when it waits at most; then it calls [`Waiting::give_up`].
    pub(crate) const fn until(&self) -> Instant {
        self.until
    }

    pub(crate) fn poll(&mut self, context: &Context<'_>) -> Poll<Result<Place<'p>, Stopped>> {
        let mut state = self.slot.state();
        if let State::Waits(waker) = &mut *state {
            match waker {
                Some(waker) => waker.clone_from(context.waker()),
                None => *waker = Some(context.waker().clone()),
            }
            return Poll::Pending;
        }
        let told = std::mem::replace(&mut *state, State::Told);
        drop(state);
        self.is_over = true;
        Poll::Ready(match told {
            State::Served(seat) => Ok(Place {
                seat,
                clock: self.clock,
            }),
            State::Refused(why) => Err(why),
            State::Waits(_) | State::Told => Err(Stopped::Expired),
        })
    }

    /// Its time is over. It may have been served at the last moment.
    pub(crate) fn give_up(mut self, now: Instant) -> Result<Place<'p>, Stopped> {
        self.is_over = true;
        self.leave(now).ok_or(Stopped::Expired)?
    }

    /// Leaves the queue; what became of it, if it had left already.
    fn leave(&self, now: Instant) -> Option<Result<Place<'p>, Stopped>> {
        let mut line = self.room.line();
        let was_there = line.queue.cancel(now, self.ticket).is_some();
        self.room.count(&line);
        drop(line);
        if was_there {
            // Who stands behind it may be of a class for which there is a place.
            self.room.hand_on(|| now);
            return None;
        }
        match std::mem::replace(&mut *self.slot.state(), State::Told) {
            State::Served(seat) => Some(Ok(Place {
                seat,
                clock: self.clock,
            })),
            State::Refused(why) => Some(Err(why)),
            State::Waits(_) | State::Told => None,
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            drop(self.leave(self.clock.now()));
        }
    }
}

impl Place<'_> {
    /// The attempt in it has ended like this.
    pub(crate) fn finish(mut self, now: Instant, how: Finish) {
        let (began, in_flight) = (self.seat.began, self.seat.in_flight);
        if let Some(room) = self.seat.give_back() {
            room.service.learn(now.since(began), how == Finish::Good);
            room.limit.learn(now, how, began, in_flight);
            room.hand_on(|| now);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let began = self.seat.began;
        if let Some(room) = self.seat.give_back() {
            let now = self.clock.now();
            room.service.learn(now.since(began), false);
            room.hand_on(|| now);
        }
    }
}

impl fmt::Debug for Place<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_tuple("Place").field(&self.seat).finish()
    }
}

const fn why(reason: Reason) -> Stopped {
    match reason {
        Reason::ShedLate => Stopped::ShedLate,
        Reason::ShedFull => Stopped::QueueFull,
        Reason::Served | Reason::Expired | Reason::Cancelled => Stopped::Expired,
    }
}
