//! A clock for tests, on which ten seconds of back-off take microseconds and happen the same way each time.

use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use evenkeel_core::Instant;

use super::{AsyncClock, Clock};

/// A clock for tests. Its time advances only when everything waits for it (see [`VirtualClock::run`]), or by hand.
#[derive(Debug, Clone, Default)]
pub struct VirtualClock {
    state: Arc<Mutex<TimerState>>,
}

#[derive(Debug, Default)]
struct TimerState {
    now: Instant,
    next: u64,
    timers: BTreeMap<(Instant, u64), Waker>,
}

/// Waits on a [`VirtualClock`] clock.
#[derive(Debug)]
pub struct VirtualSleep {
    clock: VirtualClock,
    at: Instant,
    key: Option<u64>,
}

struct WakeFlag(AtomicBool);

impl Wake for WakeFlag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

impl VirtualClock {
    /// At time zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Advances by `duration`, and wakes those that waited for it.
    pub fn pass(&self, duration: Duration) {
        let until = self.now() + duration;
        self.move_to(until);
    }

    /// The number of timers that are waited for.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.with(|state| state.timers.len())
    }

    /// Waits for this time.
    #[must_use = "it waits when it is awaited"]
    pub fn sleep(&self, duration: Duration) -> VirtualSleep {
        self.sleep_until(self.now() + duration)
    }

    /// Runs `future` to its end. Whenever it waits for nothing but the clock, the clock advances to the next timer.
    ///
    /// # Panics
    /// If it waits for something other than the clock, which would be forever.
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        let woken = Arc::new(WakeFlag(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            if !woken.0.swap(false, Ordering::AcqRel) {
                let next = self.with(|state| state.timers.keys().next().map(|(at, _)| *at));
                self.move_to(next.expect("the future waits for something that never comes"));
            }
        }
    }

    fn move_to(&self, until: Instant) {
        let woken = self.with(|state| {
            state.now = state.now.max(until);
            let later = state.timers.split_off(&(state.now, u64::MAX));
            std::mem::replace(&mut state.timers, later)
        });
        woken.into_values().for_each(Waker::wake);
    }

    fn with<T>(&self, then: impl FnOnce(&mut TimerState) -> T) -> T {
        then(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Instant {
        self.with(|state| state.now)
    }
}

impl AsyncClock for VirtualClock {
    type Sleeping = VirtualSleep;

    fn sleep_until(&self, at: Instant) -> VirtualSleep {
        VirtualSleep {
            clock: self.clone(),
            at,
            key: None,
        }
    }
}

#[cfg(feature = "blocking")]
impl super::BlockingClock for VirtualClock {
    fn pause_until(&self, at: Instant) {
        self.move_to(at);
    }

    fn park_until(&self, at: Instant) {
        self.move_to(at);
    }
}

impl Future for VirtualSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let (at, key) = (self.at, self.key);
        let key = self.clock.with(|state| {
            if at <= state.now {
                return None;
            }
            let key = key.unwrap_or_else(|| {
                state.next += 1;
                state.next
            });
            state.timers.insert((at, key), context.waker().clone());
            Some(key)
        });
        self.key = key;
        if key.is_none() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for VirtualSleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let removed = self
                .clock
                .with(|state| state.timers.remove(&(self.at, key)));
            drop(removed);
        }
    }
}
