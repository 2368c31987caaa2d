//! The one real clock: converts the machine's time to `evenkeel_core` time.
//!
//! The only file that may call `now()`. Everything else takes time as an argument and can be tested without waiting.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use evenkeel_core::{Calendar, Epoch, Instant, WallTime};

/// The times at which the machine's calendar clock was seen to be set, and by how many milliseconds each. One list for the
/// whole process, since there is one such clock; bounded.
static STEPS: Mutex<Vec<(std::time::Instant, i64)>> = Mutex::new(Vec::new());
/// So many steps are remembered one by one; older ones together.
const STEPS_MOST: usize = 32;

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
    pub fn wall(&self) -> WallTime {
        wall()
    }

    /// The calendar time of the clock's zero, by the system clock when it was last read.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        let since = steps();
        let since = since.iter().filter(|(at, _)| *at >= self.started);
        let by: i64 = since.map(|(_, by)| *by).sum();
        Epoch(WallTime(self.epoch.0.0.saturating_add_signed(by)))
    }

    /// Looks whether the machine's calendar clock was set since the last look, which one caller in the process does, often:
    /// by how many milliseconds. [`Self::epoch`] follows it from then on, in all copies.
    #[must_use]
    pub fn notice_step(&self) -> Option<i64> {
        let by = self.epoch().step(self.now(), wall())?;
        let mut steps = steps();
        if steps.len() >= STEPS_MOST {
            let (_, oldest) = steps.remove(0);
            if let Some((_, next)) = steps.first_mut() {
                *next += oldest;
            }
        }
        steps.push((now(), by));
        Some(by)
    }

    /// The earliest stamp that anything since `from` can have, however the machine's clock was set since.
    #[must_use]
    pub fn earliest_since(&self, from: Instant) -> WallTime {
        let mut calendar = Calendar::new(self.epoch);
        let mut epoch = self.epoch;
        for (at, by) in steps().iter().filter(|(at, _)| *at >= self.started) {
            epoch = Epoch(WallTime(epoch.0.0.saturating_add_signed(*by)));
            calendar.set(Instant::ZERO + at.duration_since(self.started), epoch);
        }
        calendar.earliest_since(from)
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
fn wall() -> WallTime {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH);
    WallTime(u64::try_from(wall.unwrap_or_default().as_millis()).unwrap_or(u64::MAX))
}

fn steps() -> MutexGuard<'static, Vec<(std::time::Instant, i64)>> {
    STEPS.lock().unwrap_or_else(PoisonError::into_inner)
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
            clock.epoch().0 > WallTime(1_500_000_000_000),
            "the epoch is on the calendar"
        );
    }

    /// A clock whose calendar is an hour behind is what a machine sees whose clock is set forward by an hour.
    #[test]
    fn a_step_is_noticed_once_and_followed_by_all_copies() {
        let right = Clock::start();
        let behind = Clock {
            epoch: Epoch(WallTime(right.epoch.0.0 - 3_600_000)),
            ..right
        };
        let copy = behind;
        let before = behind.epoch();
        let by = behind.notice_step().expect("an hour is noticed");
        assert!((3_599_000..3_700_000).contains(&by), "{by}");
        assert_eq!(behind.notice_step(), None);
        assert_eq!(copy.epoch().0.0 - before.0.0, by.unsigned_abs());
        assert!(copy.earliest_since(Instant::ZERO) <= before.wall(Instant::ZERO));
        // A clock that starts later has it in its epoch already.
        assert_eq!(Clock::start().notice_step(), None);
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
