//! Circuit breaker: whether to ask a server at all that has failed lately.
//!
//! Intuition: a server that fails everything is not helped by more requests, and a client that waits for the next failure
//! waits in vain. So after enough failures the breaker opens and rejects for a while; then it admits a few trials, and
//! closes when they succeed.
//!
//! Two rules open it, because each is blind where the other sees. A number of *consecutive* failures notices a dead server
//! within a few requests, and hardly ever one that fails half of them (5 consecutive failures take 62 requests on average at
//! one in two, and 111,110 at one in ten); a *ratio* of the latest attempts notices that, and needs enough of them. A third
//! rule counts slow attempts. Trials of the half-open state are permits that are released when they are dropped, so that a
//! cancelled attempt leaks none. A response to a request from before the breaker opened decides nothing after it.
//!
//! While it is closed, asking costs one atomic read. The end of an attempt takes a lock without waiting for it: of two ends
//! at the same moment, the one that finds the lock taken is left to the thread that holds it. Each end is counted once.

mod options;
mod window;
mod state;
mod pending;
mod state_machine;

use std::ops::Deref;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use evenkeel_core::Instant;

use pending::PendingOutcomes;
use state_machine::StateMachine;

pub use options::{BreakerOptions, SlowCallOptions, WindowKind};
pub use state::{
    Admitted, BreakerOpen, BreakerOutcome, BreakerSnapshot, BreakerState, OpenReason, Transition,
};
pub use window::{AttemptWindow, Ratios};

/// A circuit breaker, shared by all callers of a server.
#[derive(Debug)]
pub struct Breaker {
    machine: Mutex<StateMachine>,
    /// The state, readable without the lock.
    state: AtomicU8,
    era: AtomicU64,
    open_until: AtomicU64,
    /// An attempt that takes longer than this many nanoseconds is slow.
    slow_after: AtomicU64,
    pending: PendingOutcomes,
    refused: AtomicU64,
}

impl Breaker {
    /// Closed. `seed` is for the jitter of its open time only.
    #[must_use]
    pub fn new(options: BreakerOptions, seed: u64) -> Self {
        Self {
            machine: Mutex::new(StateMachine::new(options, seed)),
            state: AtomicU8::new(BreakerState::Closed as u8),
            era: AtomicU64::new(0),
            open_until: AtomicU64::new(0),
            slow_after: AtomicU64::new(slow_after(&options)),
            pending: PendingOutcomes::default(),
            refused: AtomicU64::new(0),
        }
    }

    /// A permit to ask, which is released when it is dropped.
    ///
    /// # Errors
    /// If nothing is admitted now.
    pub fn try_pass(&self, now: Instant) -> Result<BreakerPermit<&Self>, BreakerOpen> {
        let admitted = self.admit(now)?;
        Ok(BreakerPermit::new(self, admitted, now))
    }

    /// The same with a permit that outlives the borrow, as futures need it.
    ///
    /// # Errors
    /// If nothing is admitted now.
    pub fn try_pass_owned(
        self: &Arc<Self>,
        now: Instant,
    ) -> Result<BreakerPermit<Arc<Self>>, BreakerOpen> {
        let admitted = self.admit(now)?;
        Ok(BreakerPermit::new(Arc::clone(self), admitted, now))
    }

    /// Whether to ask now. An admitted caller calls [`Breaker::ended`] or [`Breaker::abandoned`], once.
    ///
    /// # Errors
    /// If nothing is admitted now.
    pub fn admit(&self, now: Instant) -> Result<Admitted, BreakerOpen> {
        let admitted = match self.state() {
            BreakerState::Closed | BreakerState::ForcedClosed => Ok(Admitted {
                era: self.era.load(Ordering::Acquire),
                is_trial: false,
            }),
            BreakerState::Open if now.as_nanos() < self.open_until.load(Ordering::Acquire) => {
                Err(BreakerOpen {
                    until: Some(Instant::from_nanos(self.open_until.load(Ordering::Acquire))),
                })
            }
            BreakerState::ForcedOpen => Err(BreakerOpen { until: None }),
            BreakerState::Open | BreakerState::HalfOpen => {
                let mut machine = self.lock();
                let admitted = machine.admit(now);
                self.publish(&machine);
                admitted
            }
        };
        if admitted.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    /// An admitted attempt has ended, after `took`. Returns the transition that it, or an end that another thread left to
    /// this one, caused. Each transition is returned once.
    pub fn ended(
        &self,
        admitted: Admitted,
        now: Instant,
        end: BreakerOutcome,
        took: Duration,
    ) -> Option<Transition> {
        let is_slow = nanos(took) > self.slow_after.load(Ordering::Relaxed);
        let machine = if admitted.is_trial {
            self.lock()
        } else if end == BreakerOutcome::Ignored || admitted.era != self.era.load(Ordering::Acquire)
        {
            return None;
        } else {
            match self.try_lock() {
                Some(machine) => machine,
                None if self
                    .pending
                    .add(admitted.era, end == BreakerOutcome::Bad, is_slow) =>
                {
                    return self.apply_pending(now, None);
                }
                None => self.lock(),
            }
        };
        let change = self.count(machine, now, |machine| {
            machine.ended(admitted, now, end, is_slow)
        });
        self.apply_pending(now, change)
    }

    /// Counts what other threads have left. Whoever holds the lock looks again after releasing it, and whoever leaves
    /// something tries the lock after that: so one of the two sees it.
    fn apply_pending(&self, now: Instant, mut change: Option<Transition>) -> Option<Transition> {
        while !self.pending.is_empty() {
            let Some(machine) = self.try_lock() else {
                break;
            };
            change = self.count(machine, now, |_| None).or(change);
        }
        change
    }

    fn count(
        &self,
        mut machine: MutexGuard<'_, StateMachine>,
        now: Instant,
        own: impl FnOnce(&mut StateMachine) -> Option<Transition>,
    ) -> Option<Transition> {
        let mut change = own(&mut machine);
        for ends in self.pending.take(machine.era()) {
            change = machine.apply_pending(now, ends).or(change);
        }
        self.publish(&machine);
        change
    }

    /// An admitted attempt was abandoned, which says nothing about the server.
    pub fn abandoned(&self, admitted: Admitted) {
        if admitted.is_trial {
            self.lock().abandoned(admitted);
        }
    }

    /// The state. An open breaker whose time is over becomes half-open when it is next asked.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        let state = usize::from(self.state.load(Ordering::Acquire));
        BreakerState::ALL
            .get(state)
            .copied()
            .unwrap_or(BreakerState::Closed)
    }

    /// Forces it open or closed, until the next call or [`Breaker::reset`].
    pub fn force(&self, open: bool) {
        let mut machine = self.lock();
        machine.force(open);
        self.publish(&machine);
    }

    /// Closes it, and drops its counts and any force.
    pub fn reset(&self) {
        let mut machine = self.lock();
        machine.reset();
        self.publish(&machine);
    }

    /// Replaces the options; state and counts stay. A window of another kind or length starts empty.
    pub fn reconfigure(&self, options: BreakerOptions) {
        self.slow_after
            .store(slow_after(&options), Ordering::Relaxed);
        self.lock().reconfigure(options);
    }

    /// Its state and counts.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> BreakerSnapshot {
        let refused = self.refused.load(Ordering::Relaxed);
        let mut machine = self.lock();
        let pending = self.pending.peek(machine.era());
        machine.snapshot(now, refused, pending)
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, StateMachine>> {
        match self.machine.try_lock() {
            Ok(machine) => Some(machine),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, StateMachine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, machine: &StateMachine) {
        let until = machine.open_until().map_or(0, Instant::as_nanos);
        self.open_until.store(until, Ordering::Release);
        self.era.store(machine.era(), Ordering::Release);
        self.state.store(machine.state() as u8, Ordering::Release);
    }
}

fn slow_after(options: &BreakerOptions) -> u64 {
    options.slow.map_or(u64::MAX, |slow| nanos(slow.after))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A permit to ask, released when it is dropped.
#[derive(Debug)]
#[must_use = "dropped at once it permits nothing"]
pub struct BreakerPermit<B: Deref<Target = Breaker>> {
    breaker: B,
    admitted: Option<Admitted>,
    began: Instant,
}

impl<B: Deref<Target = Breaker>> BreakerPermit<B> {
    const fn new(breaker: B, admitted: Admitted, began: Instant) -> Self {
        Self {
            breaker,
            admitted: Some(admitted),
            began,
        }
    }

    /// The attempt has ended.
    pub fn finish(mut self, now: Instant, end: BreakerOutcome) -> Option<Transition> {
        let admitted = self.admitted.take()?;
        self.breaker
            .ended(admitted, now, end, now.since(self.began))
    }
}

impl<B: Deref<Target = Breaker>> Drop for BreakerPermit<B> {
    fn drop(&mut self) {
        if let Some(admitted) = self.admitted.take() {
            self.breaker.abandoned(admitted);
        }
    }
}

#[cfg(test)]
mod tests;
