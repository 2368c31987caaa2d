//! Time as a value.
//!
//! There is no `now()` here: an [`Instant`] is a number of nanoseconds since the program started, and is passed in by
//! the owner of the clock (one file of the `runtime` crate, a simulator, or a test).

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

/// A duration of this many seconds, the nearest that exists: [`Duration::MAX`] for what is longer, zero for what is
/// below zero or no number. The conversion of the standard library panics for these.
#[must_use]
pub fn duration_from_seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A point on the calendar, in milliseconds since 1970-01-01 UTC. For display and files, never for durations.
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
pub struct WallTime(pub u64);

/// The calendar time of the monotonic clock's zero. It changes when the system clock is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Epoch(pub WallTime);

impl Epoch {
    /// The calendar time of `instant`.
    #[must_use]
    pub const fn wall(self, instant: Instant) -> WallTime {
        WallTime(self.0.0.saturating_add(instant.0 / 1_000_000))
    }

    /// The epoch by which it is `wall` at `now`.
    #[must_use]
    pub const fn of(now: Instant, wall: WallTime) -> Self {
        Self(WallTime(wall.0.saturating_sub(now.0 / 1_000_000)))
    }

    /// By how many milliseconds the machine's clock, which shows `wall` at `now`, is ahead of this epoch; nothing if
    /// that is less than a second, which drift and reading both clocks can make.
    #[must_use]
    pub fn step(self, now: Instant, wall: WallTime) -> Option<i64> {
        const LEAST: i64 = 1_000;
        let ahead = wall.0.wrapping_sub(self.wall(now).0).cast_signed();
        (ahead.unsigned_abs() >= LEAST.unsigned_abs()).then_some(ahead)
    }
}

/// The epochs that were in force one after the other: which stamps belong to which stretch of the monotonic clock.
#[derive(Debug, Clone)]
pub struct Calendar {
    /// The start of each epoch, oldest first; never empty.
    epochs: Vec<(Instant, Epoch)>,
}

impl Calendar {
    /// So many are remembered, then the oldest goes.
    const MOST: usize = 64;

    /// One that begins with this epoch.
    #[must_use]
    pub fn new(epoch: Epoch) -> Self {
        Self {
            epochs: vec![(Instant::ZERO, epoch)],
        }
    }

    /// The machine's clock was set.
    pub fn set(&mut self, now: Instant, epoch: Epoch) {
        if self.epochs.len() >= Self::MOST {
            self.epochs.remove(0);
        }
        self.epochs.push((now, epoch));
    }

    /// The earliest stamp that anything since `from` can have. With a clock that was set back since then that is earlier
    /// than the stamp of `from`; nothing that happened since is before it.
    #[must_use]
    pub fn earliest_since(&self, from: Instant) -> WallTime {
        let ends = self.epochs.iter().skip(1).map(|(since, _)| *since);
        let ends = ends.chain(std::iter::once(Instant::NEVER));
        let in_force = self.epochs.iter().zip(ends).filter(|(_, end)| *end > from);
        in_force
            .map(|((since, epoch), _)| epoch.wall(from.max(*since)))
            .min()
            .unwrap_or_default()
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
        let epoch = Epoch(WallTime(1_000));
        assert_eq!(epoch.wall(Instant::from_millis(250)), WallTime(1_250));
    }

    #[test]
    fn a_clock_that_was_set_is_noticed_and_drift_is_not() {
        let epoch = Epoch(WallTime(10_000_000));
        let now = Instant::from_millis(5_000);
        assert_eq!(epoch.step(now, WallTime(10_005_999)), None);
        assert_eq!(epoch.step(now, WallTime(10_004_001)), None);
        assert_eq!(epoch.step(now, WallTime(13_605_000)), Some(3_600_000));
        assert_eq!(epoch.step(now, WallTime(6_405_000)), Some(-3_600_000));
        let set = Epoch::of(now, WallTime(13_605_000));
        assert_eq!(set.step(now, WallTime(13_605_000)), None);
        assert_eq!(set.wall(Instant::from_millis(6_000)), WallTime(13_606_000));
    }

    #[test]
    fn what_happened_since_is_found_on_both_sides_of_a_step() {
        let (at, hour) = (Instant::from_millis(10_000_000), 3_600_000);
        let before = Epoch(WallTime(100_000_000));
        for by in [hour, -hour] {
            let mut calendar = Calendar::new(before);
            let after = Epoch(WallTime(before.0.0.saturating_add_signed(by)));
            calendar.set(at, after);
            let from = Instant::from_millis(9_000_000);
            let bound = calendar.earliest_since(from);
            for moment in [from, at.before(Duration::from_millis(1))] {
                assert!(bound <= before.wall(moment));
            }
            assert!(bound <= after.wall(at));
            // A period entirely after the step is not affected by it.
            let late = Instant::from_millis(11_000_000);
            assert_eq!(calendar.earliest_since(late), after.wall(late));
        }
    }
}
