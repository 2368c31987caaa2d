//! Where the async and the blocking face get the time from: the only file of the crate that may read a clock.
//!
//! Everything below the face takes the time as an argument. The face cannot: somebody has to sleep. So the clock is a value of the
//! policy, [`Standard`] for programs and [`Virtual`] for tests, where ten seconds of back-off take microseconds and happen
//! the same each time.

use std::sync::OnceLock;

use evenkeel_core::{Epoch, Instant, WallTime};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now, on a monotonic clock of this program.
    fn now(&self) -> Instant;

    /// Where its zero lies on the calendar, for reports.
    fn epoch(&self) -> Epoch {
        Epoch::default()
    }
}

/// A clock that tasks can wait on.
#[cfg(feature = "async")]
pub trait Sleep: Clock {
    /// Waiting.
    type Sleeping: Future<Output = ()> + Send;

    /// Completes at `at`, or at once if that has passed.
    fn sleep_until(&self, at: Instant) -> Self::Sleeping;
}

/// A clock that threads can wait on.
#[cfg(feature = "blocking")]
pub trait Pause: Clock {
    /// Returns at `at`, or at once if that has passed.
    fn pause_until(&self, at: Instant);

    /// Returns at `at`, or when this thread is unparked, or before. By default it is parked for as long as this clock says; a clock
    /// whose time does not pass by itself does something else.
    fn park_until(&self, at: Instant) {
        std::thread::park_timeout(at.since(self.now()));
    }
}

/// The monotonic clock of the operating system. Tasks wait on tokio's timer (feature `tokio`; `time` must be enabled in the
/// runtime), threads by sleeping. With tokio's clock paused for a test, its time is this one's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standard;

#[cfg(feature = "tokio")]
type Moment = tokio::time::Instant;
#[cfg(not(feature = "tokio"))]
type Moment = std::time::Instant;

#[expect(
    clippy::disallowed_methods,
    reason = "the one clock of the library's face"
)]
fn moment() -> Moment {
    Moment::now()
}

/// When the clock of this program started: the first time that anybody asked.
fn start() -> Moment {
    static START: OnceLock<Moment> = OnceLock::new();
    *START.get_or_init(moment)
}

impl Clock for Standard {
    fn now(&self) -> Instant {
        let start = start();
        Instant::ZERO + moment().saturating_duration_since(start)
    }

    fn epoch(&self) -> Epoch {
        static EPOCH: OnceLock<Epoch> = OnceLock::new();
        *EPOCH.get_or_init(|| {
            let since = std::time::SystemTime::UNIX_EPOCH
                .elapsed()
                .unwrap_or_default();
            let passed = self.now().since(Instant::ZERO);
            let millis = since.saturating_sub(passed).as_millis();
            Epoch(WallTime(u64::try_from(millis).unwrap_or(u64::MAX)))
        })
    }
}

#[cfg(feature = "tokio")]
impl Sleep for Standard {
    type Sleeping = tokio::time::Sleep;

    fn sleep_until(&self, at: Instant) -> tokio::time::Sleep {
        match start().checked_add(at.since(Instant::ZERO)) {
            Some(at) => tokio::time::sleep_until(at),
            None => tokio::time::sleep(std::time::Duration::MAX),
        }
    }
}

#[cfg(feature = "blocking")]
impl Pause for Standard {
    #[expect(
        clippy::disallowed_methods,
        reason = "a back-off of a thread is to sleep"
    )]
    fn pause_until(&self, at: Instant) {
        let left = at.since(self.now());
        if !left.is_zero() {
            std::thread::sleep(left);
        }
    }
}

#[cfg(feature = "async")]
pub use simulated::{Sleeping, Virtual};

#[cfg(feature = "async")]
mod simulated {
    use std::collections::BTreeMap;
    use std::pin::{Pin, pin};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex, PoisonError};
    use std::task::{Context, Poll, Wake, Waker};
    use std::time::Duration;

    use evenkeel_core::Instant;

    use super::{Clock, Sleep};

    /// A clock for tests. Time passes only when everything waits for it (see [`Virtual::run`]), or by hand.
    #[derive(Debug, Clone, Default)]
    pub struct Virtual {
        state: Arc<Mutex<State>>,
    }

    #[derive(Debug, Default)]
    struct State {
        now: Instant,
        next: u64,
        timers: BTreeMap<(Instant, u64), Waker>,
    }

    /// Waits on a [`Virtual`] clock.
    #[derive(Debug)]
    pub struct Sleeping {
        clock: Virtual,
        at: Instant,
        key: Option<u64>,
    }

    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Release);
        }
    }

    impl Virtual {
        /// At the moment zero.
        #[must_use]
        pub fn new() -> Self {
            Self::default()
        }

        /// Lets `duration` pass, and wakes who waited for it.
        pub fn pass(&self, duration: Duration) {
            let until = self.now() + duration;
            self.move_to(until);
        }

        /// How many wait for the time.
        #[must_use]
        pub fn waiting(&self) -> usize {
            self.with(|state| state.timers.len())
        }

        /// Waits for a time to pass.
        #[must_use = "it waits when it is awaited"]
        pub fn sleep(&self, duration: Duration) -> Sleeping {
            self.sleep_until(self.now() + duration)
        }

        /// Runs `future` to its end. Each time that it waits for nothing but the clock, the clock moves to the next moment that
        /// somebody waits for.
        ///
        /// # Panics
        /// If it waits for something else than the clock, which would be for ever.
        pub fn run<F: Future>(&self, future: F) -> F::Output {
            let woken = Arc::new(Woken(AtomicBool::new(false)));
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

        fn with<T>(&self, then: impl FnOnce(&mut State) -> T) -> T {
            then(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
        }
    }

    impl Clock for Virtual {
        fn now(&self) -> Instant {
            self.with(|state| state.now)
        }
    }

    impl Sleep for Virtual {
        type Sleeping = Sleeping;

        fn sleep_until(&self, at: Instant) -> Sleeping {
            Sleeping {
                clock: self.clone(),
                at,
                key: None,
            }
        }
    }

    #[cfg(feature = "blocking")]
    impl super::Pause for Virtual {
        fn pause_until(&self, at: Instant) {
            self.move_to(at);
        }

        fn park_until(&self, at: Instant) {
            self.move_to(at);
        }
    }

    impl Future for Sleeping {
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

    impl Drop for Sleeping {
        fn drop(&mut self) {
            if let Some(key) = self.key {
                let removed = self
                    .clock
                    .with(|state| state.timers.remove(&(self.at, key)));
                drop(removed);
            }
        }
    }
}
