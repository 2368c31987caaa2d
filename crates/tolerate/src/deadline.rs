//! How long is left: the request's total timeout against the clock, and an attempt's timeout within it.
//!
//! Apart from retrying, because everything that waits asks it: connecting, attempts, back-offs, queues.

use std::time::Duration;

use evenkeel_core::Instant;

/// The moment at which a request gives up, fixed when the request starts and never moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    end: Instant,
}

impl Deadline {
    /// `total` after `start`.
    #[must_use]
    pub fn new(start: Instant, total: Duration) -> Self {
        Self { end: start + total }
    }

    /// A deadline that never comes.
    #[must_use]
    pub const fn never() -> Self {
        Self {
            end: Instant::NEVER,
        }
    }

    /// The moment itself.
    #[must_use]
    pub const fn end(self) -> Instant {
        self.end
    }

    /// What is left at `now`; zero once it has passed.
    #[must_use]
    pub const fn remaining(self, now: Instant) -> Duration {
        self.end.since(now)
    }

    /// Whether it has passed. At the moment itself it has.
    #[must_use]
    pub fn passed(self, now: Instant) -> bool {
        now >= self.end
    }

    /// When an attempt that begins at `now` and may take `attempt` has to end: never after the deadline.
    #[must_use]
    pub fn attempt_end(self, now: Instant, attempt: Duration) -> Instant {
        (now + attempt).min(self.end)
    }

    /// Whether something can still be begun after waiting `delay`.
    #[must_use]
    pub fn leaves_room_for(self, now: Instant, delay: Duration) -> bool {
        !self.passed(now + delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn an_attempt_ends_with_its_own_timeout_or_with_the_total_one() {
        let deadline = Deadline::new(Instant::from_millis(100), millis(1_000));
        assert_eq!(
            deadline.attempt_end(Instant::from_millis(100), millis(300)),
            Instant::from_millis(400)
        );
        assert_eq!(
            deadline.attempt_end(Instant::from_millis(900), millis(300)),
            Instant::from_millis(1_100)
        );
    }

    #[test]
    fn nothing_is_left_at_the_deadline_and_after_it() {
        let deadline = Deadline::new(Instant::ZERO, millis(10));
        assert_eq!(deadline.remaining(Instant::from_millis(4)), millis(6));
        assert_eq!(deadline.remaining(Instant::from_millis(10)), Duration::ZERO);
        assert_eq!(deadline.remaining(Instant::from_millis(99)), Duration::ZERO);
        assert!(!deadline.passed(Instant::from_millis(9)));
        assert!(deadline.passed(Instant::from_millis(10)));
        assert!(deadline.leaves_room_for(Instant::ZERO, millis(9)));
        assert!(!deadline.leaves_room_for(Instant::ZERO, millis(10)));
    }

    #[test]
    fn a_total_beyond_all_time_never_comes() {
        let deadline = Deadline::new(Instant::from_millis(5), Duration::MAX);
        assert_eq!(deadline, Deadline::never());
        assert!(!deadline.passed(Instant::from_millis(1 << 40)));
    }
}
