//! The clocks of the policy engine: the only file of the crate that may read a clock.
//!
//! The mechanisms take the time as an argument. The engine cannot: somebody has to sleep. So the clock is a value of the policy:
//! [`SystemClock`] for programs, `VirtualClock` for tests.

#[cfg(feature = "async")]
mod virtual_clock;

use std::sync::OnceLock;

use evenkeel_core::{Epoch, Instant, WallTime};

#[cfg(feature = "async")]
pub use virtual_clock::{VirtualClock, VirtualSleep};

#[cfg(not(feature = "tokio"))]
use std::time::Instant as SystemInstant;
#[cfg(feature = "tokio")]
use tokio::time::Instant as SystemInstant;

/// Provides the time.
pub trait Clock: Send + Sync {
    /// Now, on a monotonic clock of this program.
    fn now(&self) -> Instant;

    /// The calendar time of its zero, for reports.
    fn epoch(&self) -> Epoch {
        Epoch::default()
    }
}

/// A clock that tasks can wait on.
#[cfg(feature = "async")]
pub trait AsyncClock: Clock {
    /// A timer.
    type Sleeping: Future<Output = ()> + Send;

    /// Completes at `at`, or at once if that has passed.
    fn sleep_until(&self, at: Instant) -> Self::Sleeping;
}

/// A clock that threads can wait on.
#[cfg(feature = "blocking")]
pub trait BlockingClock: Clock {
    /// Returns at `at`, or at once if that has passed.
    fn pause_until(&self, at: Instant);

    /// Returns at `at`, or when this thread is unparked, or before. By default the thread is parked; a clock whose time does not
    /// advance by itself does something else.
    fn park_until(&self, at: Instant) {
        std::thread::park_timeout(at.since(self.now()));
    }
}

/// The monotonic clock of the operating system. Tasks wait on tokio's timer (feature `tokio`; `time` must be enabled in the
/// runtime), threads by sleeping. With tokio's clock paused for a test, its time is this one's.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[expect(
    clippy::disallowed_methods,
    reason = "the one clock of the policy engine"
)]
fn system_now() -> SystemInstant {
    SystemInstant::now()
}

/// Zero of this program's clock: the first time that it was read.
fn start() -> SystemInstant {
    static START: OnceLock<SystemInstant> = OnceLock::new();
    *START.get_or_init(system_now)
}

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        let start = start();
        Instant::ZERO + system_now().saturating_duration_since(start)
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
impl AsyncClock for SystemClock {
    type Sleeping = tokio::time::Sleep;

    fn sleep_until(&self, at: Instant) -> tokio::time::Sleep {
        match start().checked_add(at.since(Instant::ZERO)) {
            Some(at) => tokio::time::sleep_until(at),
            None => tokio::time::sleep(std::time::Duration::MAX),
        }
    }
}

#[cfg(feature = "blocking")]
impl BlockingClock for SystemClock {
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
