//! Time as a value.
//!
//! There is no `now()` here: an [`Instant`] is nanoseconds since the program started and is handed in by whoever owns
//! the clock (one file of the `runtime` crate, or a simulator, or a test).

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// A point on the monotonic clock, in nanoseconds since the program's clock started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The moment the clock started.
    pub const ZERO: Self = Self(0);
    /// Later than any moment that is ever reached (584 years).
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment `nanos` nanoseconds after the clock started.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The moment `millis` milliseconds after the clock started.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the clock started.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// `self - duration`, or the start of the clock.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub for Instant {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

/// A duration of so many seconds, the nearest that there is: [`Duration::MAX`] for what is longer, zero for what is below zero or no
/// number. The conversion of the standard library panics for these.
#[must_use]
pub fn duration_from_seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A point on the calendar, in milliseconds since 1970-01-01 UTC. For people and files, never for durations.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Wall(pub u64);

/// Where the monotonic clock's zero lies on the calendar, read once at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Epoch(pub Wall);

impl Epoch {
    /// The calendar time of `instant`.
    #[must_use]
    pub const fn wall(self, instant: Instant) -> Wall {
        Wall(self.0.0.saturating_add(instant.0 / 1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Instant::ZERO.before(Duration::from_secs(1)), Instant::ZERO);
        assert_eq!(Instant::NEVER + Duration::from_secs(1), Instant::NEVER);
        assert_eq!(Instant::ZERO.since(Instant::from_millis(5)), Duration::ZERO);
        assert_eq!(
            Instant::from_millis(7) - Instant::from_millis(5),
            Duration::from_millis(2)
        );
    }

    #[test]
    fn seconds_saturate_at_both_ends() {
        let half = Duration::from_millis(1_500);
        assert_eq!(duration_from_seconds(1.5), half);
        for none in [-1.0, -0.0, f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(duration_from_seconds(none), Duration::ZERO, "{none}");
        }
        for endless in [Duration::MAX.as_secs_f64(), 1e300, f64::INFINITY] {
            assert_eq!(duration_from_seconds(endless), Duration::MAX, "{endless}");
        }
    }

    #[test]
    fn epoch_places_the_clock_on_the_calendar() {
        let epoch = Epoch(Wall(1_000));
        assert_eq!(epoch.wall(Instant::from_millis(250)), Wall(1_250));
    }
}
