//! The one real clock: turns the machine's time into `evenkeel_core` time.
//!
//! The only file that may call `now()`, so that everything else takes time as an argument and can be tested without
//! waiting.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use evenkeel_core::{Epoch, Instant, Wall};

/// The monotonic clock of this process, with its place on the calendar. Copies show the same time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: std::time::Instant,
    epoch: Epoch,
}

impl Clock {
    /// A clock that stands at [`Instant::ZERO`] now. A program starts one and hands out copies.
    #[must_use]
    pub fn start() -> Self {
        Self {
            started: now(),
            epoch: Epoch(wall()),
        }
    }

    /// The time now.
    ///
    /// On a runtime whose clock tests have paused it is that clock's.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::ZERO + now().saturating_duration_since(self.started)
    }

    /// The calendar as the machine has it now: it jumps when it is set, so that only what others read is written with it.
    #[must_use]
    pub fn wall(&self) -> Wall {
        wall()
    }

    /// Where the clock's zero lies on the calendar.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Waits until `instant`; returns at once if it is past. [`Instant::NEVER`] is never reached.
    pub async fn sleep_until(&self, instant: Instant) {
        tokio::time::sleep_until(self.to_tokio(instant)).await;
    }

    /// `instant` in tokio's words. What is more than 30 years away comes out as 30 years.
    #[must_use]
    pub fn to_tokio(&self, instant: Instant) -> tokio::time::Instant {
        const LONGEST: Duration = Duration::from_secs(30 * 365 * 86_400);
        (self.started + instant.since(Instant::ZERO).min(LONGEST)).into()
    }
}

/// The machine's monotonic clock. Asked by way of tokio, which costs nothing and lets tests stop it.
#[expect(clippy::disallowed_methods, reason = "this is the one real clock")]
fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

#[expect(clippy::disallowed_methods, reason = "this is the one real clock")]
fn wall() -> Wall {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH);
    Wall(u64::try_from(wall.unwrap_or_default().as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_show_the_same_time_and_it_grows() {
        let clock = Clock::start();
        let copy = clock;
        let first = clock.now();
        let second = copy.now();
        assert!(second >= first);
        assert!(
            clock.epoch().0 > Wall(1_500_000_000_000),
            "the epoch is on the calendar"
        );
    }

    #[tokio::test(flavor = "current_thread")]
    async fn sleeping_ends_at_the_instant_and_not_before() {
        let clock = Clock::start();
        let until = clock.now() + Duration::from_millis(20);
        clock.sleep_until(until).await;
        assert!(clock.now() >= until);
        clock.sleep_until(Instant::ZERO).await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn never_is_not_reached_and_does_not_overflow() {
        let clock = Clock::start();
        let soon = Duration::from_millis(10);
        assert!(
            tokio::time::timeout(soon, clock.sleep_until(Instant::NEVER))
                .await
                .is_err()
        );
    }
}
