//! When a queued request should no longer be served, by how long requests wait.
//!
//! Intuition: a queue that fills and empties again is good, it smooths a burst. A queue in which even the luckiest request
//! waits is only delay: everyone pays for it and nobody gains. The two are told apart by the *minimum* wait within an
//! interval, not by length or mean, so that a length need not be tuned to the speed of a server.
//!
//! Two rules for what happens then. [`Codel`] is RFC 8289: it drops one, then more and more often, until the wait is below
//! the target. That is made for senders which slow down when they notice a loss. Requests do not slow down; therefore the
//! default of queues here is [`MinimumDelay`], as in Facebook's folly: while overloaded, all that waited more than twice the
//! target are rejected at once, so that those which are served are still fresh.

use std::time::Duration;

use evenkeel_core::{Instant, duration_from_seconds};
use serde::{Deserialize, Serialize};

/// Target and interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct CodelOptions {
    /// A wait that is acceptable permanently. Default 5 ms (RFC 8289, folly).
    #[serde(with = "crate::serde_duration")]
    pub target: Duration,
    /// Waits must exceed the target for this long before anything is dropped. Default 100 ms (RFC 8289, folly).
    #[serde(with = "crate::serde_duration")]
    pub interval: Duration,
}

impl Default for CodelOptions {
    fn default() -> Self {
        Self {
            target: Duration::from_millis(5),
            interval: Duration::from_millis(100),
        }
    }
}

/// The rule of RFC 8289.
#[derive(Debug, Clone)]
pub struct Codel {
    options: CodelOptions,
    /// When waits will have exceeded the target for an interval.
    first_above: Option<Instant>,
    dropping: bool,
    drop_next: Instant,
    /// The last call dropped, and the next entry has not been looked at.
    dropped_last: bool,
    /// Drops since dropping began, and their number at its start.
    count: u32,
    last_count: u32,
}

impl Codel {
    /// Before the first entry.
    #[must_use]
    pub const fn new(options: CodelOptions) -> Self {
        Self {
            options,
            first_above: None,
            dropping: false,
            drop_next: Instant::ZERO,
            dropped_last: false,
            count: 0,
            last_count: 0,
        }
    }

    /// Replaces the target; the state stays.
    pub(crate) const fn set_target(&mut self, target: Duration) {
        self.options.target = target;
    }

    /// Whether to drop an entry that leaves the queue now, has `waited`, and leaves `behind` others. The last one is never
    /// dropped: that would only leave the server idle. After a drop, ask for the next one at once.
    pub fn should_drop(&mut self, now: Instant, waited: Duration, behind: usize) -> bool {
        let too_long = self.has_been_too_long(now, waited, behind);
        let after_a_drop = std::mem::take(&mut self.dropped_last);
        if !too_long {
            self.dropping = false;
            return false;
        }
        if !self.dropping {
            self.begin_dropping(now);
            return true;
        }
        if after_a_drop {
            self.drop_next = self.after(self.drop_next);
        }
        let drop = now >= self.drop_next;
        if drop {
            self.count = self.count.saturating_add(1);
            self.dropped_last = true;
        }
        drop
    }

    /// Whether it is dropping.
    #[must_use]
    pub const fn is_overloaded(&self) -> bool {
        self.dropping
    }

    fn has_been_too_long(&mut self, now: Instant, waited: Duration, behind: usize) -> bool {
        if waited < self.options.target || behind == 0 {
            self.first_above = None;
            return false;
        }
        let first_above = *self.first_above.get_or_insert(now + self.options.interval);
        now >= first_above
    }

    /// If it stopped not long ago, it continues at about the rate that was right then.
    fn begin_dropping(&mut self, now: Instant) {
        self.dropping = true;
        let more = self.count.saturating_sub(self.last_count);
        let recent = now.since(self.drop_next) < self.options.interval.saturating_mul(16);
        self.count = if more > 1 && recent { more } else { 1 };
        self.drop_next = self.after(now);
        self.last_count = self.count;
    }

    /// `t + interval / √count`.
    fn after(&self, at: Instant) -> Instant {
        let root = f64::from(self.count.max(1)).sqrt();
        at + duration_from_seconds(self.options.interval.as_secs_f64() / root)
    }
}

/// The rule of Facebook's folly.
#[derive(Debug, Clone)]
pub struct MinimumDelay {
    options: CodelOptions,
    /// The end of the interval.
    end: Instant,
    /// The minimum wait in it, if any entry has left the queue since it began.
    least: Option<Duration>,
    overloaded: bool,
}

impl MinimumDelay {
    /// Before the first entry.
    #[must_use]
    pub const fn new(options: CodelOptions) -> Self {
        Self {
            options,
            end: Instant::ZERO,
            least: None,
            overloaded: false,
        }
    }

    /// Replaces the target; the state stays.
    pub(crate) const fn set_target(&mut self, target: Duration) {
        self.options.target = target;
    }

    /// Whether to reject an entry that leaves the queue now and has `waited`. The first of an interval is never rejected.
    pub fn should_drop(&mut self, now: Instant, waited: Duration) -> bool {
        if now > self.end
            && let Some(least) = self.least.take()
        {
            self.end = now + self.options.interval;
            self.overloaded = least > self.options.target;
        }
        let Some(least) = &mut self.least else {
            self.least = Some(waited);
            return false;
        };
        *least = waited.min(*least);
        self.overloaded && waited > self.options.target.saturating_mul(2)
    }

    /// Whether the minimum wait of the last interval exceeded the target.
    #[must_use]
    pub const fn is_overloaded(&self) -> bool {
        self.overloaded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn codel() -> Codel {
        Codel::new(CodelOptions::default())
    }

    /// Times of drops, in ms, when something that waited 20 ms is taken every millisecond.
    fn drops(codel: &mut Codel, from: u64, to: u64) -> Vec<u64> {
        (from..to)
            .filter(|&millis| {
                let mut dropped = false;
                while codel.should_drop(at(millis), MS * 20, 100) {
                    dropped = true;
                }
                dropped
            })
            .collect()
    }

    #[test]
    fn drops_come_at_the_interval_over_the_root_of_their_number() {
        let mut expected = vec![100.0_f64];
        let mut next = 100.0;
        for count in 1..8 {
            next += 100.0 / f64::from(count).sqrt();
            expected.push(next);
        }
        let expected: Vec<u64> = expected.iter().map(|at| at.ceil() as u64).collect();
        assert_eq!(expected, [100, 200, 271, 329, 379, 424, 464, 502]);
        assert_eq!(drops(&mut codel(), 0, 503), expected);
    }

    #[test]
    fn a_wait_below_the_target_begins_the_interval_anew() {
        let mut codel = codel();
        assert!(drops(&mut codel, 0, 100).is_empty());
        assert!(!codel.should_drop(at(100), MS * 4, 100));
        assert!(drops(&mut codel, 101, 201).is_empty());
        assert_eq!(drops(&mut codel, 201, 203), [201]);
        assert!(codel.is_overloaded());
        assert!(!codel.should_drop(at(203), MS * 4, 100));
        assert!(!codel.is_overloaded());
    }

    #[test]
    fn the_last_in_the_queue_is_not_dropped() {
        let mut codel = codel();
        for millis in 0..1_000 {
            assert!(!codel.should_drop(at(millis), MS * 500, 0));
        }
        assert!(drops(&mut codel, 1_000, 1_100).is_empty());
        assert_eq!(drops(&mut codel, 1_100, 1_101), [1_100]);
    }

    #[test]
    fn soon_after_it_goes_on_where_it_was() {
        let again = |pause: u64| {
            let mut codel = codel();
            assert_eq!(drops(&mut codel, 0, 503).len(), 8);
            codel.should_drop(at(503), MS, 100);
            let begin = 503 + pause;
            let seen = drops(&mut codel, begin, begin + 202);
            (codel.last_count, seen)
        };
        // Eight drops, the first of them counted at the start: seven more. 100 / √7 = 37.8 ms, then 100 / √8.
        let (count, soon) = again(100);
        assert_eq!((count, soon), (7, vec![703, 741, 777]));
        // 16 intervals after the next drop would have been, it begins with one.
        let (count, late) = again(2_000);
        assert_eq!((count, late), (1, vec![2_603, 2_703]));
    }

    /// One thing taken per millisecond.
    fn refused(rule: &mut MinimumDelay, from: u64, waits: &[u64]) -> Vec<bool> {
        let of = |(n, wait): (u64, &u64)| rule.should_drop(at(from + n), MS * *wait as u32);
        (0..).zip(waits).map(of).collect()
    }

    #[test]
    fn overloaded_is_when_the_minimum_wait_is_too_long() {
        let mut rule = MinimumDelay::new(CodelOptions::default());
        // The first interval ends at once, as it began at no time; in the second all wait 6 ms or more.
        assert!(
            refused(&mut rule, 0, &[6; 101])
                .iter()
                .all(|refused| !refused)
        );
        assert!(!rule.is_overloaded() || rule.end <= at(101));
        assert_eq!(
            refused(&mut rule, 102, &[30, 30, 11, 10, 6]),
            [false, true, true, false, false],
            "the first is not refused; then what waited more than 10 ms"
        );
        assert!(rule.is_overloaded());
        // One lucky one, and the next interval is not overloaded.
        assert_eq!(refused(&mut rule, 150, &[5]), [false]);
        assert!(
            refused(&mut rule, 300, &[50, 50, 50])
                .iter()
                .all(|refused| !refused)
        );
        assert!(!rule.is_overloaded());
    }

    #[test]
    fn exactly_the_target_is_no_overload() {
        let mut rule = MinimumDelay::new(CodelOptions::default());
        assert!(
            refused(&mut rule, 0, &[5; 1_000])
                .iter()
                .all(|refused| !refused)
        );
        assert!(!rule.is_overloaded());
    }

    #[test]
    fn a_lasting_overload_refuses_all_but_the_first_of_each_interval() {
        let mut rule = MinimumDelay::new(CodelOptions::default());
        refused(&mut rule, 0, &[20; 500]);
        let refused = refused(&mut rule, 500, &[20; 1_010]);
        let passed = refused.iter().filter(|refused| !**refused).count();
        assert_eq!(passed, 10, "one per interval of 101 ms");
    }
}
