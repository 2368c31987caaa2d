//! The limit, and who waits for a place of it: gives a place that becomes free to whom it belongs.
//!
//! The [`Queue`] decides who is next and who waited too long, but it is a plain value with one owner and wakes nobody. Here it gets
//! a lock that is held for moments, and each who waits gets a slot, in which what became of it is laid before it is woken. A place is
//! laid there, too: it is taken for somebody, so nobody who comes later can be quicker, and if that somebody is gone it goes on to the next.
//!
//! The lock is taken only when the limit is full or somebody waits. Whoever frees a place looks whether somebody waits *after* that;
//! whoever waits looks for a free place *after* it can be seen waiting. So one of the two sees the other, and nobody is forgotten.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use evenkeel_core::Instant;

use super::{RecoveryOptions, Stopped};
use crate::clock::Clock;
use crate::queue::{Pushed, QueueSnapshot, Reason, Ticket};
use crate::{Call, Finish, Limit, LimitOptions, Permit, Queue, QueueOptions, ShedOptions};

/// A limit with its queue, which nobody enters where the options have none.
#[derive(Debug)]
pub(crate) struct Room {
    limit: Arc<Limit>,
    /// How many wait. Changed under the lock, read without it.
    waiting: AtomicUsize,
    line: Mutex<Line>,
}

#[derive(Debug)]
struct Line {
    queue: Queue<Arc<Slot>>,
    shares: ShedOptions,
}

/// Where one who waits finds what became of it.
#[derive(Debug)]
struct Slot(Mutex<State>);

#[derive(Debug)]
enum State {
    Waits(Option<Waker>),
    Served(Permit<Arc<Limit>>),
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
    permit: Option<Permit<Arc<Limit>>>,
    room: Arc<Room>,
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

/// Who wants a place.
#[derive(Clone, Copy)]
pub(crate) struct Wish<'o> {
    pub(crate) call: &'o Call,
    pub(crate) options: &'o RecoveryOptions,
    /// When it is of no use any more.
    pub(crate) until: Instant,
    pub(crate) may_wait: bool,
}

impl Room {
    pub(crate) fn new(
        limit: &LimitOptions,
        options: &RecoveryOptions,
        now: Instant,
        seed: u64,
    ) -> Self {
        Self {
            limit: Arc::new(Limit::new(limit, now, seed)),
            waiting: AtomicUsize::new(0),
            line: Mutex::new(Line {
                queue: Queue::new(options.queue.unwrap_or_default()),
                shares: options.shares,
            }),
        }
    }

    /// Other options for those who come from now on.
    pub(crate) fn reconfigure(&self, queue: QueueOptions, shares: ShedOptions) {
        let mut line = self.line();
        line.queue.reconfigure(queue);
        line.shares = shares;
    }

    pub(crate) fn limit(&self) -> &Limit {
        &self.limit
    }

    pub(crate) fn snapshot(&self) -> QueueSnapshot {
        self.line().queue.snapshot()
    }

    /// A place at once, or in the queue if there is one. Whoever is more important than all who wait need not wait behind them.
    pub(crate) fn enter<'p>(
        self: &Arc<Self>,
        wish: Wish<'_>,
        now: Instant,
        clock: &'p dyn Clock,
    ) -> Entered<'p> {
        let importance = wish.call.importance();
        let acquire = || match importance {
            None => self.limit.try_acquire_owned(now),
            Some(class) => self
                .limit
                .try_acquire_owned_as(&wish.options.shares, class, now),
        };
        let somebody_waits =
            wish.options.queue.is_some() && self.waiting.load(Ordering::Relaxed) > 0;
        if !somebody_waits && let Some(permit) = acquire() {
            return Entered::Place(self.place(permit, clock));
        }
        let Some(queue) = wish.options.queue.filter(|_| wish.may_wait) else {
            return Entered::Refused(Stopped::Shed);
        };
        let class = importance.unwrap_or_default();
        let until = wish.until.min(now + queue.wait);
        let slot = Arc::new(Slot(Mutex::new(State::Waits(None))));
        let mut line = self.line();
        if somebody_waits
            && line.queue.next_class().is_none_or(|next| next < class)
            && let Some(permit) = acquire()
        {
            return Entered::Place(self.place(permit, clock));
        }
        let pushed = line.queue.push(now, class, until, Arc::clone(&slot));
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

    fn place<'p>(self: &Arc<Self>, permit: Permit<Arc<Limit>>, clock: &'p dyn Clock) -> Place<'p> {
        Place {
            permit: Some(permit),
            room: Arc::clone(self),
            clock,
        }
    }

    /// Gives places that are free to those who wait.
    fn hand_on(&self, now: impl FnOnce() -> Instant) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let now = now();
        while let Some(told) = self.next(now) {
            told.wake();
        }
    }

    /// Lets the next one leave the queue, and tells it in the same moment: whoever takes itself back finds either its entry or what
    /// became of it. Nobody if there is no place for whose turn it is.
    fn next(&self, now: Instant) -> Option<Told> {
        let mut line = self.line();
        let class = line.queue.next_class()?;
        let permit = self.limit.try_acquire_owned_as(&line.shares, class, now)?;
        let left = line.queue.pop(now)?;
        self.count(&line);
        let state = match left.reason {
            Reason::Served => State::Served(permit),
            reason => {
                drop(permit);
                State::Refused(why(reason))
            }
        };
        Some(left.item.tell(state))
    }

    fn count(&self, line: &Line) {
        self.waiting.store(line.queue.len(), Ordering::Relaxed);
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
            State::Served(permit) => Ok(self.room.place(permit, self.clock)),
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
            State::Served(permit) => Some(Ok(self.room.place(permit, self.clock))),
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
        if let Some(permit) = self.permit.take() {
            permit.finish(now, how);
            self.room.hand_on(|| now);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            drop(permit);
            self.room.hand_on(|| self.clock.now());
        }
    }
}

impl fmt::Debug for Place<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_tuple("Place").field(&self.permit).finish()
    }
}

const fn why(reason: Reason) -> Stopped {
    match reason {
        Reason::ShedLate => Stopped::ShedLate,
        Reason::ShedFull => Stopped::QueueFull,
        Reason::Served | Reason::Expired | Reason::Cancelled => Stopped::Expired,
    }
}
