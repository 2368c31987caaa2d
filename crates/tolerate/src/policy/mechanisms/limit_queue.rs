//! The concurrency limit, and the attempts that wait for a slot of it.
//!
//! [`Queue`] decides which attempt is next and which has waited too long, but it is a plain value with one owner and wakes nobody.
//! Here it gets a lock that is held for moments. Each waiting attempt has a [`Waiter`], into which its result is put before it is
//! woken. A slot that is granted is put there too: it is taken on behalf of that attempt, so that no later one can overtake it, and
//! if that attempt is gone the slot goes to the next.
//!
//! The lock is taken only when the limit is full or an attempt waits. Whoever frees a slot looks for waiting attempts *after*
//! that; whoever waits looks for a free slot *after* it is visible as waiting. So one of the two sees the other, and no wake-up is
//! lost.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use evenkeel_core::Instant;

use crate::clock::Clock;
use crate::policy::{RecoveryOptions, Stopped};
use crate::queue::{DequeueReason, PushResult, QueueSnapshot, ServiceTime, Ticket};
use crate::{Call, Limit, LimitOptions, LimitOutcome, Queue, QueueOptions, ShedOptions};

/// A limit with its queue, which stays empty where the options have none.
#[derive(Debug)]
pub(crate) struct LimitQueue {
    limit: Limit,
    /// How long an attempt holds its slot.
    service_time: ServiceTime,
    /// The length of the queue. Changed under the lock, read without it.
    waiting: AtomicUsize,
    state: Mutex<QueueState>,
}

#[derive(Debug)]
struct QueueState {
    limit: LimitOptions,
    options: QueueOptions,
    queue: Queue<Arc<Waiter>>,
    shares: ShedOptions,
}

/// Where a waiting attempt finds its result.
#[derive(Debug)]
struct Waiter(Mutex<WaiterState>);

#[derive(Debug)]
enum WaiterState {
    Waiting(Option<Waker>),
    Granted(OccupiedSlot),
    Rejected(Stopped),
    /// The attempt has its result.
    Taken,
}

/// A waker that is called without the lock, since a waker may do anything.
#[must_use = "the attempt sleeps until it is woken"]
struct Wakeup(Option<Waker>);

impl Wakeup {
    fn wake(self) {
        if let Some(waker) = self.0 {
            waker.wake();
        }
    }
}

/// A slot of the limit, for an attempt under way. Released when it is dropped; the next waiting attempt gets it.
#[must_use = "dropped at once it limits nothing"]
pub(crate) struct LimitPermit<'p> {
    slot: OccupiedSlot,
    clock: &'p dyn Clock,
}

/// An attempt in the queue. Dropped, it leaves the queue, and a slot that it was granted meanwhile goes to the next.
pub(crate) struct QueuedAttempt<'p> {
    limit: Arc<LimitQueue>,
    waiter: Arc<Waiter>,
    ticket: Ticket,
    until: Instant,
    clock: &'p dyn Clock,
    is_over: bool,
}

/// The result of [`LimitQueue::enter`].
pub(crate) enum LimitEntry<'p> {
    Permit(LimitPermit<'p>),
    Queued(QueuedAttempt<'p>),
    Rejected(Stopped),
}

/// An occupied slot. Released when it is dropped.
#[derive(Debug)]
struct OccupiedSlot {
    /// `None` once it is released.
    limit: Option<Arc<LimitQueue>>,
    began: Instant,
    /// The attempts in flight when it was taken, this one included.
    in_flight: u32,
}

impl OccupiedSlot {
    /// Releases it; the limit, which has a free slot now.
    fn release(&mut self) -> Option<Arc<LimitQueue>> {
        let limit = self.limit.take()?;
        limit.limit.leave();
        Some(limit)
    }
}

impl Drop for OccupiedSlot {
    fn drop(&mut self) {
        self.release();
    }
}

/// What decides about a slot for an attempt.
#[derive(Clone, Copy)]
pub(crate) struct LimitRequest<'o> {
    pub(crate) call: &'o Call,
    pub(crate) options: &'o RecoveryOptions,
    /// The end of the call: after it a slot is of no use.
    pub(crate) until: Instant,
}

impl LimitQueue {
    pub(crate) fn new(
        limit: &LimitOptions,
        options: &RecoveryOptions,
        now: Instant,
        seed: u64,
    ) -> Self {
        Self {
            limit: Limit::new(limit, now, seed),
            service_time: ServiceTime::new(),
            waiting: AtomicUsize::new(0),
            state: Mutex::new(QueueState {
                limit: *limit,
                options: options.queue.unwrap_or_default(),
                queue: Queue::new(options.queue.unwrap_or_default()),
                shares: options.shares,
            }),
        }
    }

    /// Replaces the options. Attempts in flight and waiting stay; there may be free slots now.
    pub(crate) fn reconfigure(
        self: &Arc<Self>,
        limit: &LimitOptions,
        options: &RecoveryOptions,
        now: Instant,
        seed: u64,
    ) {
        let mut state = self.state();
        if state.limit != *limit {
            state.limit = *limit;
            self.limit.adaptive().reconfigure(limit, now, seed);
        }
        let queue = options.queue.unwrap_or_default();
        if state.options != queue {
            state.options = queue;
            state.queue.reconfigure(queue);
        }
        state.shares = options.shares;
        drop(state);
        self.grant_free_slots(|| now);
    }

    pub(crate) const fn limit(&self) -> &Limit {
        &self.limit
    }

    pub(crate) fn snapshot(&self) -> QueueSnapshot {
        self.state().queue.snapshot()
    }

    /// A slot, if one is free and no attempt waits for it.
    pub(crate) fn try_enter<'p>(
        self: &Arc<Self>,
        request: &LimitRequest<'_>,
        now: Instant,
        clock: &'p dyn Clock,
    ) -> Option<LimitPermit<'p>> {
        if request.options.queue.is_some() && self.waiting.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let slot = self.acquire(self.slots(request), now)?;
        Some(LimitPermit { slot, clock })
    }

    /// A place in the queue, for an attempt that [`LimitQueue::try_enter`] gave no slot. An attempt of a higher class than all
    /// that wait need not wait behind them.
    pub(crate) fn enter<'p>(
        self: &Arc<Self>,
        request: &LimitRequest<'_>,
        now: Instant,
        clock: &'p dyn Clock,
    ) -> LimitEntry<'p> {
        let class = request.call.importance().unwrap_or_default();
        let waiter = Arc::new(Waiter(Mutex::new(WaiterState::Waiting(None))));
        let mut state = self.state();
        if state.queue.next_class().is_none_or(|next| next < class)
            && let Some(slot) = self.acquire(self.slots(request), now)
        {
            return LimitEntry::Permit(LimitPermit { slot, clock });
        }
        state.queue.expect(self.service_time.estimate());
        let until = state.queue.waits_until(now, request.until);
        if until <= now {
            // When its turn came there would not be enough time left.
            return LimitEntry::Rejected(Stopped::Expired);
        }
        let pushed = state
            .queue
            .push(now, class, request.until, Arc::clone(&waiter));
        self.publish_length(&state);
        let (ticket, wakeup) = match pushed {
            PushResult::Queued(ticket) => (ticket, Wakeup(None)),
            PushResult::Displaced(ticket, left) => {
                let result = WaiterState::Rejected(stopped(left.reason));
                (ticket, left.item.set(result))
            }
            PushResult::Rejected(_) => return LimitEntry::Rejected(Stopped::QueueFull),
        };
        drop(state);
        wakeup.wake();
        // A slot may have become free before this attempt was visible as waiting.
        self.grant_free_slots(|| now);
        LimitEntry::Queued(QueuedAttempt {
            limit: Arc::clone(self),
            waiter,
            ticket,
            until,
            clock,
            is_over: false,
        })
    }

    /// Up to how many slots may be occupied with this one.
    fn slots(&self, request: &LimitRequest<'_>) -> u32 {
        let all = self.limit.limit();
        let class = request.call.importance();
        class.map_or(all, |class| request.options.shares.slots(class, all))
    }

    fn acquire(self: &Arc<Self>, slots: u32, now: Instant) -> Option<OccupiedSlot> {
        let in_flight = self.limit.try_enter(slots)?;
        Some(OccupiedSlot {
            limit: Some(Arc::clone(self)),
            began: now,
            in_flight,
        })
    }

    /// Grants free slots to waiting attempts.
    fn grant_free_slots(self: &Arc<Self>, now: impl FnOnce() -> Instant) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let now = now();
        while let Some(wakeup) = self.grant_next(now) {
            wakeup.wake();
        }
    }

    /// Takes the next attempt off the queue and sets its result under the same lock: an attempt that cancels finds either its
    /// entry in the queue, or its result. `None` if no slot is free for its class.
    fn grant_next(self: &Arc<Self>, now: Instant) -> Option<Wakeup> {
        let mut state = self.state();
        let class = state.queue.next_class()?;
        let slots = state.shares.slots(class, self.limit.limit());
        let slot = self.acquire(slots, now)?;
        let left = state.queue.pop(now)?;
        self.publish_length(&state);
        let result = match left.reason {
            DequeueReason::Served => WaiterState::Granted(slot),
            reason => {
                drop(slot);
                WaiterState::Rejected(stopped(reason))
            }
        };
        Some(left.item.set(result))
    }

    fn publish_length(&self, state: &QueueState) {
        self.waiting.store(state.queue.len(), Ordering::SeqCst);
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// Sets the result.
    fn set(&self, result: WaiterState) -> Wakeup {
        match std::mem::replace(&mut *self.state(), result) {
            WaiterState::Waiting(waker) => Wakeup(waker),
            WaiterState::Granted(_) | WaiterState::Rejected(_) | WaiterState::Taken => Wakeup(None),
        }
    }

    fn state(&self) -> MutexGuard<'_, WaiterState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'p> QueuedAttempt<'p> {
    /// Until when it waits at most; then call [`QueuedAttempt::give_up`].
    pub(crate) const fn until(&self) -> Instant {
        self.until
    }

    pub(crate) fn poll(&mut self, context: &Context<'_>) -> Poll<Result<LimitPermit<'p>, Stopped>> {
        let mut state = self.waiter.state();
        if let WaiterState::Waiting(waker) = &mut *state {
            match waker {
                Some(waker) => waker.clone_from(context.waker()),
                None => *waker = Some(context.waker().clone()),
            }
            return Poll::Pending;
        }
        let result = std::mem::replace(&mut *state, WaiterState::Taken);
        drop(state);
        self.is_over = true;
        Poll::Ready(match result {
            WaiterState::Granted(slot) => Ok(LimitPermit {
                slot,
                clock: self.clock,
            }),
            WaiterState::Rejected(why) => Err(why),
            WaiterState::Waiting(_) | WaiterState::Taken => Err(Stopped::Expired),
        })
    }

    /// Its time is over. It may have been granted a slot at the last moment.
    pub(crate) fn give_up(mut self, now: Instant) -> Result<LimitPermit<'p>, Stopped> {
        self.is_over = true;
        self.leave(now).ok_or(Stopped::Expired)?
    }

    /// Leaves the queue; its result, if it had left already.
    fn leave(&self, now: Instant) -> Option<Result<LimitPermit<'p>, Stopped>> {
        let mut state = self.limit.state();
        let was_queued = state.queue.cancel(now, self.ticket).is_some();
        self.limit.publish_length(&state);
        drop(state);
        if was_queued {
            // The one behind it may be of a class for which a slot is free.
            self.limit.grant_free_slots(|| now);
            return None;
        }
        match std::mem::replace(&mut *self.waiter.state(), WaiterState::Taken) {
            WaiterState::Granted(slot) => Some(Ok(LimitPermit {
                slot,
                clock: self.clock,
            })),
            WaiterState::Rejected(why) => Some(Err(why)),
            WaiterState::Waiting(_) | WaiterState::Taken => None,
        }
    }
}

impl Drop for QueuedAttempt<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            drop(self.leave(self.clock.now()));
        }
    }
}

impl LimitPermit<'_> {
    /// The attempt has ended.
    pub(crate) fn finish(mut self, now: Instant, outcome: LimitOutcome) {
        let (began, in_flight) = (self.slot.began, self.slot.in_flight);
        if let Some(limit) = self.slot.release() {
            let is_complete = outcome == LimitOutcome::Good;
            limit.service_time.learn(now.since(began), is_complete);
            limit.limit.learn(now, outcome, began, in_flight);
            limit.grant_free_slots(|| now);
        }
    }
}

impl Drop for LimitPermit<'_> {
    fn drop(&mut self) {
        let began = self.slot.began;
        if let Some(limit) = self.slot.release() {
            let now = self.clock.now();
            limit.service_time.learn(now.since(began), false);
            limit.grant_free_slots(|| now);
        }
    }
}

impl fmt::Debug for LimitPermit<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_tuple("LimitPermit").field(&self.slot).finish()
    }
}

const fn stopped(reason: DequeueReason) -> Stopped {
    match reason {
        DequeueReason::ShedLate => Stopped::ShedLate,
        DequeueReason::ShedFull => Stopped::QueueFull,
        DequeueReason::Served | DequeueReason::Expired | DequeueReason::Cancelled => {
            Stopped::Expired
        }
    }
}
