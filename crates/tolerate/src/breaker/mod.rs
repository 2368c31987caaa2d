//! Whether to ask a server at all that has failed lately.
//!
//! Intuition: a server that fails everything is not helped by more requests, and a client that waits for the next failure has
//! waited for nothing. So after enough failures the breaker opens and refuses for a while; then it lets a few through, to see, and closes
//! when they are well.
//!
//! Two rules open it, because each is blind where the other sees: a number of failures *in a row* notices a server that is dead
//! within a few requests, and never one that fails half of them (5 in a row take 62 requests on average at one in two, and 111,110 at
//! one in ten); a *share* of the latest attempts notices that, and needs enough of them. A third one counts attempts that were slow
//! though well. What the half-open state lets through are permits that are given back when they are dropped, so that an attempt which
//! is cancelled leaks none, and an answer to something that was asked before the breaker opened does not decide what comes after.
//!
//! While it is closed, asking costs one read of an atomic, and an end takes a lock that it does not wait for: of two ends at the same
//! moment the one that finds the lock taken is left to the thread that has it, which counts it too. Every end is counted once.

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

pub use options::{BreakerOptions, SlowOptions, WindowKind};
pub use state::{
    Admitted, BreakerOpen, BreakerOutcome, BreakerSnapshot, BreakerState, OpenReason, Transition,
};
pub use window::{AttemptWindow, Ratios};

/// A breaker, shared by all who ask the same server.
#[derive(Debug)]
pub struct Breaker {
    machine: Mutex<StateMachine>,
    /// The machine's state, to be read without its lock.
    state: AtomicU8,
    era: AtomicU64,
    open_until: AtomicU64,
    /// Nanoseconds above which an attempt was slow.
    slow_after: AtomicU64,
    pending: PendingOutcomes,
    refused: AtomicU64,
}

impl Breaker {
    /// Closed. `seed` is for the jitter of its open time alone.
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

    /// Whether to ask now; what it gives is given back when it is dropped.
    ///
    /// # Errors
    /// If nothing may pass now.
    pub fn try_pass(&self, now: Instant) -> Result<BreakerPermit<&Self>, BreakerOpen> {
        let admitted = self.admit(now)?;
        Ok(BreakerPermit::new(self, admitted, now))
    }

    /// The same for a pass that outlives the borrow, as futures need it.
    ///
    /// # Errors
    /// If nothing may pass now.
    pub fn try_pass_owned(
        self: &Arc<Self>,
        now: Instant,
    ) -> Result<BreakerPermit<Arc<Self>>, BreakerOpen> {
        let admitted = self.admit(now)?;
        Ok(BreakerPermit::new(Arc::clone(self), admitted, now))
    }

    /// Whether to ask now. Who is admitted calls [`Breaker::ended`] or [`Breaker::abandoned`], once.
    ///
    /// # Errors
    /// If nothing may pass now.
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

    /// What was admitted has ended like this, after so long. What changed with it, or with ends at the same moment that were left to
    /// this thread: each change is told to one.
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

    /// Counts what other threads have left. Whoever has the lock looks again after it has let go of it, and whoever leaves something tries
    /// the lock after that: so one of the two sees it.
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

    /// What was admitted was given up, and says nothing.
    pub fn abandoned(&self, admitted: Admitted) {
        if admitted.is_trial {
            self.lock().abandoned(admitted);
        }
    }

    /// What it does. An open one whose time is over is half-open as soon as it is asked.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        let state = usize::from(self.state.load(Ordering::Acquire));
        BreakerState::ALL
            .get(state)
            .copied()
            .unwrap_or(BreakerState::Closed)
    }

    /// Opens or closes it by order, until another order or [`Breaker::reset`].
    pub fn force(&self, open: bool) {
        let mut machine = self.lock();
        machine.force(open);
        self.publish(&machine);
    }

    /// Closes it, and forgets what it has seen and was ordered.
    pub fn reset(&self) {
        let mut machine = self.lock();
        machine.reset();
        self.publish(&machine);
    }

    /// Other options from now on; what it does and has counted stays. A window of another kind or length begins anew.
    pub fn reconfigure(&self, options: BreakerOptions) {
        self.slow_after
            .store(slow_after(&options), Ordering::Relaxed);
        self.lock().reconfigure(options);
    }

    /// What it knows.
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

/// A permission to ask, given back when it is dropped.
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
