//! How much time is left: the total timeout of a request, and an attempt's timeout within it.
//!
//! Separate from retries, because everything that waits uses it: connecting, attempts, back-offs, queues.

use std::time::Duration;

use evenkeel_core::Instant;

pub mod propagate;

pub use propagate::{EncodedTimeout, parse_grpc, parse_milliseconds};

/// How long each step of a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeoutOptions {
    /// Until a connection to a server is established.
    pub connect: Duration,
    /// From the request fully written to the response's head.
    pub attempt: Duration,
    /// The request with all its retries, until the head of a response is committed.
    pub total: Duration,
    /// Without a byte in either direction, in bodies and tunnels.
    pub idle: Duration,
}

/// When a request gives up: fixed when the request starts, and never moved.
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

    /// The time itself.
    #[must_use]
    pub const fn end(self) -> Instant {
        self.end
    }

    /// The time left at `now`; zero once it has passed.
    #[must_use]
    pub const fn remaining(self, now: Instant) -> Duration {
        self.end.since(now)
    }

    /// Whether it has passed. At the time itself it has.
    #[must_use]
    pub fn passed(self, now: Instant) -> bool {
        now >= self.end
    }

    /// When an attempt that starts at `now` with this timeout has to end: never after the deadline.
    #[must_use]
    pub fn attempt_end(self, now: Instant, attempt: Duration) -> Instant {
        (now + attempt).min(self.end)
    }

    /// The deadline of a request whose client says at `now` that it waits for `left`: a client can shorten a deadline and
    /// never extend it. `None`, no value or an invalid one, changes nothing.
    #[must_use]
    pub fn shortened_to(self, left: Option<Duration>, now: Instant) -> Self {
        match left.map(|left| Self::new(now, left)) {
            Some(theirs) if theirs.end < self.end => theirs,
            Some(_) | None => self,
        }
    }

    /// Whether there is time for anything after a wait of `delay`.
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
    fn a_peer_shortens_a_deadline_and_never_extends_it() {
        let now = Instant::from_millis(100);
        let own = Deadline::new(now, Duration::from_secs(2));
        assert_eq!(
            own.shortened_to(Some(Duration::from_secs(1)), now),
            Deadline::new(now, Duration::from_secs(1))
        );
        for left in [None, Some(Duration::from_secs(3)), Some(Duration::MAX)] {
            assert_eq!(own.shortened_to(left, now), own);
        }
        assert!(own.shortened_to(Some(Duration::ZERO), now).passed(now));
    }

    #[test]
    fn a_total_beyond_all_time_never_comes() {
        let deadline = Deadline::new(Instant::from_millis(5), Duration::MAX);
        assert_eq!(deadline, Deadline::never());
        assert!(!deadline.passed(Instant::from_millis(1 << 40)));
    }
}
