//! Client-side throttling: sending less to a service that rejects most requests.
//!
//! Intuition: rejecting costs a server work too, and enough of it is an outage of its own. A client knows how many of its
//! requests were accepted; when that falls below a share, it rejects a part of its own requests at once, without sending
//! them. The part is random and never all: what still gets through finds out that the server has recovered. Unlike a breaker
//! there is no state that flips, so nothing flaps.
//!
//! The formulas alone are not safe. After an outage that fills the window they reject for minutes more, because their own
//! rejections count as requests; and after five failures of a program that has just started they reject nearly everything.
//! So nothing is rejected before enough attempts have ended, a share of the requests and one per second always get through,
//! and of the whole window and the last two seconds the one that rejects less decides: a server that accepts what still
//! comes is sent `k` times as much every two seconds, until nothing is rejected. Under a lasting overload both say the same.
//!
//! Two rules: [`ThrottleOptions::Sre`] counts its own rejections as requests, so a client learns from what it wanted to
//! send; [`ThrottleOptions::Admission`] (Envoy's filter) counts only what was sent, and has an upper bound.
//!
//! Attempts under way are not counted before they have ended: otherwise a program that starts with a hundred concurrent
//! requests would reject most of them, since none of them has been accepted yet.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_core::{Instant, Random};
use serde::{Deserialize, Serialize};

/// The rule and its options.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ThrottleOptions {
    /// That of Google's SRE book. The default.
    Sre(SreOptions),
    /// That of Envoy's admission control.
    Admission(AdmissionControlOptions),
}

impl Default for ThrottleOptions {
    fn default() -> Self {
        Self::Sre(SreOptions::default())
    }
}

/// Rejects with the probability `max(0, (requests − k · accepts) / (requests + 1))`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct SreOptions {
    /// Requests that may be sent for each accepted one, from 1. Default 2 (SRE book): rejecting begins when less than half
    /// is accepted, and a server gets at most twice what it accepts.
    pub k: f64,
    /// The window. Default 2 min (SRE book).
    #[serde(with = "crate::serde_duration")]
    pub window: Duration,
    /// Nothing is rejected while fewer attempts than this have ended in the window. Default 20, as for breakers (Hystrix).
    pub minimum_attempts: u64,
    /// The highest probability, 0 to 1. Default 0.95: what gets through of 20 requests per second finds within seconds that
    /// the server has recovered, and a server that accepts nothing is spared nearly all.
    pub max: f64,
}

impl Default for SreOptions {
    fn default() -> Self {
        Self {
            k: 2.0,
            window: Duration::from_secs(120),
            minimum_attempts: 20,
            max: 0.95,
        }
    }
}

/// Rejects with the probability `min(max, ((requests − accepts / threshold) / (requests + 1))^(1 / aggression))`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct AdmissionControlOptions {
    /// Rejecting begins when a smaller share than this is accepted, above 0 to 1. Default 0.95 (Envoy).
    pub threshold: f64,
    /// A higher value rejects more as soon as it begins, from 1. Default 1 (Envoy).
    pub aggression: f64,
    /// The highest probability. Default 0.8 (Envoy).
    pub max: f64,
    /// With fewer requests per second than this nothing is rejected. Default 0 (Envoy).
    pub per_second: f64,
    /// The window. Default 30 s (Envoy).
    #[serde(with = "crate::serde_duration")]
    pub window: Duration,
    /// Nothing is rejected while fewer attempts than this have ended in the window. Default 20, as for breakers (Hystrix).
    pub minimum_attempts: u64,
}

impl Default for AdmissionControlOptions {
    fn default() -> Self {
        Self {
            threshold: 0.95,
            aggression: 1.0,
            max: 0.8,
            per_second: 0.0,
            window: Duration::from_secs(30),
            minimum_attempts: 20,
        }
    }
}

impl SreOptions {
    /// The probability of a rejection after `requests`, of which `accepts` were accepted, by the formula alone.
    #[must_use]
    pub fn refuse(&self, requests: f64, accepts: f64) -> f64 {
        ((requests - self.k.max(1.0) * accepts) / (requests + 1.0)).max(0.0)
    }
}

impl AdmissionControlOptions {
    /// The probability of a rejection after `requests`, of which `accepts` were accepted.
    #[must_use]
    pub fn refuse(&self, requests: f64, accepts: f64) -> f64 {
        let per_second = requests / self.window.as_secs_f64().max(1e-9);
        if per_second < self.per_second {
            return 0.0;
        }
        let expected = accepts / self.threshold.clamp(1e-9, 1.0);
        let part = ((requests - expected) / (requests + 1.0)).max(0.0);
        part.powf(1.0 / self.aggression.max(1.0)).min(self.max)
    }
}

/// State and counts of a throttle, for metrics and status.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ThrottleSnapshot {
    /// Requests in the window, as the rule counts them.
    pub requests: u64,
    /// Accepted requests in the window.
    pub accepts: u64,
    /// The present probability of a rejection, 0 to 1.
    pub refusing: f64,
    /// Rejected requests, since it was made.
    pub refused: u64,
}

/// Shared by all workers that call the same server or service. No locks.
#[derive(Debug)]
pub struct Throttle {
    options: ThrottleOptions,
    /// Requests and accepts of the window.
    window: WindowCounts,
    /// The same of the last two seconds.
    recent: WindowCounts,
    /// Attempts that have ended in the window.
    ended: WindowCounts,
    /// When a request was allowed last, in nanoseconds; zero: never.
    allowed_at: AtomicU64,
    refused: AtomicU64,
}

/// The window that shows a recovery, which a long one would hide.
const RECENT: Duration = Duration::from_secs(2);
/// One request per this time is allowed whatever the counts say: with few requests a share of them would be too few to
/// notice a recovery.
const ALWAYS_ONE_IN: Duration = Duration::from_secs(1);

impl Throttle {
    /// Without counts.
    #[must_use]
    pub fn new(options: ThrottleOptions) -> Self {
        let window = match options {
            ThrottleOptions::Sre(options) => options.window,
            ThrottleOptions::Admission(options) => options.window,
        };
        Self {
            options,
            window: WindowCounts::new(window),
            recent: WindowCounts::new(window.min(RECENT)),
            ended: WindowCounts::new(window),
            allowed_at: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// The same counts under new options. Attempts under way are noted in the old one.
    #[must_use]
    pub fn continued(&self, options: ThrottleOptions, now: Instant) -> Self {
        let next = Self::new(options);
        // Only one of the rules counts its own rejections.
        let window = match options {
            ThrottleOptions::Sre(_) => &self.window,
            ThrottleOptions::Admission(_) => &self.ended,
        };
        for (from, to) in [
            (window, &next.window),
            (&self.recent, &next.recent),
            (&self.ended, &next.ended),
        ] {
            let (requests, accepts) = from.sum(now);
            to.add(now, requests.min(COUNT_MASK), accepts.min(COUNT_MASK));
        }
        for (from, to) in [
            (&self.allowed_at, &next.allowed_at),
            (&self.refused, &next.refused),
        ] {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        next
    }

    /// Its options.
    #[cfg(feature = "policy")]
    pub(crate) const fn options(&self) -> &ThrottleOptions {
        &self.options
    }

    /// Whether to send a request. Asked once for each, before it is sent; a retry is a request. An allowed one is counted by
    /// [`Throttle::note`], unless it is not sent after all.
    pub fn allow(&self, now: Instant, rng: &mut Random) -> bool {
        let part = self.refusing(now);
        if part <= 0.0 {
            return true;
        }
        let allow = rng.unit() >= part || self.is_first_in_a_while(now);
        if allow {
            self.allowed_at.store(now.as_nanos(), Ordering::Relaxed);
        } else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            if matches!(self.options, ThrottleOptions::Sre(_)) {
                self.window.add(now, 1, 0);
                self.recent.add(now, 1, 0);
            }
        }
        allow
    }

    /// Whether nothing was allowed for a second; true for one of concurrent callers.
    fn is_first_in_a_while(&self, now: Instant) -> bool {
        let last = self.allowed_at.load(Ordering::Relaxed);
        now.since(Instant::from_nanos(last)) >= ALWAYS_ONE_IN
            && (self.allowed_at)
                .compare_exchange(last, now.as_nanos(), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// An allowed request ended. Not accepted: the server rejected it for overload or did not answer; a response that says
    /// that the request is wrong is accepted. Requests that were not sent, because a breaker is open for example, are not to
    /// be noted.
    pub fn note(&self, now: Instant, accepted: bool) {
        let accepts = u64::from(accepted);
        self.window.add(now, 1, accepts);
        self.recent.add(now, 1, accepts);
        self.ended.add(now, 1, accepts);
    }

    /// The present probability of a rejection, 0 to 1.
    #[must_use]
    pub fn refusing(&self, now: Instant) -> f64 {
        let counts = self.window.sum(now);
        self.part(now, counts)
    }

    /// Its state and counts.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> ThrottleSnapshot {
        let counts = self.window.sum(now);
        ThrottleSnapshot {
            requests: counts.0,
            accepts: counts.1,
            refusing: self.part(now, counts),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    fn part(&self, now: Instant, counts: (u64, u64)) -> f64 {
        let in_window = self.formula(counts);
        if in_window <= 0.0 || self.ended.sum(now).0 < self.minimum_attempts() {
            return 0.0;
        }
        match (&self.options, self.recent.sum(now)) {
            // It never rejects more than its `max`, and counts only what it sent: its window forgets soon enough.
            (ThrottleOptions::Admission(_), _) | (_, (0, _)) => in_window,
            (ThrottleOptions::Sre(_), recent) => in_window.min(self.formula(recent)),
        }
    }

    fn formula(&self, (requests, accepts): (u64, u64)) -> f64 {
        let (requests, accepts) = (requests as f64, accepts as f64);
        match &self.options {
            ThrottleOptions::Sre(options) => options.refuse(requests, accepts).min(options.max),
            ThrottleOptions::Admission(options) => options.refuse(requests, accepts),
        }
    }

    const fn minimum_attempts(&self) -> u64 {
        match &self.options {
            ThrottleOptions::Sre(options) => options.minimum_attempts,
            ThrottleOptions::Admission(options) => options.minimum_attempts,
        }
    }
}

/// Slots of a window; it is exact to one of them.
const SLOTS: u64 = 30;
const COUNT_BITS: u32 = 22;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
/// The number of a slot's time, in the remaining bits of its word: it repeats after 2²⁰ slots, twelve days of slots of a
/// second.
const TIME_MASK: u64 = (1 << (64 - 2 * COUNT_BITS)) - 1;

/// Two counts over a sliding window. A slot is one word, time and both counts, so that it is never half updated.
#[derive(Debug)]
struct WindowCounts {
    slots: [AtomicU64; SLOTS as usize],
    slot_nanos: u64,
}

impl WindowCounts {
    fn new(window: Duration) -> Self {
        let nanos = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        Self {
            // The time of an empty slot: `time_of` begins with one window.
            slots: [const { AtomicU64::new(0) }; SLOTS as usize],
            slot_nanos: (nanos / SLOTS).max(1),
        }
    }

    /// Times begin late enough that an empty slot is outside of the window.
    const fn time_of(&self, now: Instant) -> u64 {
        (now.as_nanos() / self.slot_nanos).wrapping_add(SLOTS)
    }

    fn add(&self, now: Instant, requests: u64, accepts: u64) {
        let time = self.time_of(now);
        let index = (time % SLOTS) as usize;
        let time = time & TIME_MASK;
        let add = |word: u64| {
            let (of, mut both) = (
                word >> (2 * COUNT_BITS),
                word & !(TIME_MASK << (2 * COUNT_BITS)),
            );
            if of != time {
                both = 0;
            }
            // A full slot counts no more: neither count, so that their ratio stays.
            if both & COUNT_MASK < COUNT_MASK && both >> COUNT_BITS < COUNT_MASK {
                both += (requests << COUNT_BITS) + accepts;
            }
            Some((time << (2 * COUNT_BITS)) | both)
        };
        // The closure never declines, so this cannot fail.
        let _: Result<u64, u64> =
            self.slots[index].fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    fn sum(&self, now: Instant) -> (u64, u64) {
        let now = self.time_of(now) & TIME_MASK;
        self.slots.iter().fold((0, 0), |(requests, accepts), slot| {
            let word = slot.load(Ordering::Relaxed);
            let age = now.wrapping_sub(word >> (2 * COUNT_BITS)) & TIME_MASK;
            if age >= SLOTS {
                return (requests, accepts);
            }
            (
                requests + ((word >> COUNT_BITS) & COUNT_MASK),
                accepts + (word & COUNT_MASK),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1_000)
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 5e-7
    }

    /// Points computed from the formula of the SRE book.
    #[test]
    fn points_of_the_sre_book() {
        for (requests, accepts, k, expected) in [
            (100.0, 50.0, 2.0, 0.0),
            (100.0, 40.0, 2.0, 0.198_020),
            (100.0, 0.0, 2.0, 0.990_099),
            (1_000.0, 500.0, 1.1, 0.449_550),
        ] {
            let options = SreOptions {
                k,
                ..SreOptions::default()
            };
            let part = options.refuse(requests, accepts);
            assert!(close(part, expected), "{requests} {accepts}: {part}");
        }
    }

    /// Points computed from the formula of Envoy's documentation.
    #[test]
    fn points_of_admission_control() {
        for (requests, accepts, aggression, expected) in [
            (100.0, 95.0, 1.0, 0.0),
            (100.0, 90.0, 1.0, 0.052_110),
            (100.0, 50.0, 1.0, 0.468_994),
            (100.0, 50.0, 2.0, 0.684_832),
            (100.0, 0.0, 1.0, 0.8),
            (1_000.0, 800.0, 1.0, 0.157_737),
        ] {
            let options = AdmissionControlOptions {
                aggression,
                ..AdmissionControlOptions::default()
            };
            let part = options.refuse(requests, accepts);
            assert!(close(part, expected), "{requests} {accepts}: {part}");
        }
        let quiet = AdmissionControlOptions {
            per_second: 10.0,
            ..AdmissionControlOptions::default()
        };
        assert!(close(quiet.refuse(299.0, 0.0), 0.0), "below 10/s in 30 s");
        assert!(close(quiet.refuse(300.0, 0.0), 0.8));
    }

    #[test]
    fn a_server_that_accepts_all_is_asked_all() {
        let mut rng = Random::seeded(1);
        for options in [
            ThrottleOptions::default(),
            ThrottleOptions::Admission(AdmissionControlOptions::default()),
        ] {
            let throttle = Throttle::new(options);
            for n in 0..10_000 {
                let now = Instant::from_millis(n * 3);
                let asked = throttle.allow(now, &mut rng);
                assert!(asked || n < 2, "the first answer is awaited at most");
                if asked {
                    throttle.note(now, true);
                }
            }
        }
    }

    /// 1,000 requests a second to a server that accepts 100: it is asked about `k` times what it accepts.
    #[test]
    fn a_server_that_is_overloaded_is_asked_twice_what_it_accepts() {
        let throttle = Throttle::new(ThrottleOptions::default());
        let mut rng = Random::seeded(1);
        let mut asked = 0;
        for second in 0..600 {
            let mut accepted = 0;
            for n in 0..1_000 {
                let now = at(second) + Duration::from_millis(n);
                if throttle.allow(now, &mut rng) {
                    asked += u32::from(second >= 300);
                    accepted += 1;
                    throttle.note(now, accepted <= 100);
                }
            }
        }
        let per_second = f64::from(asked) / 300.0;
        assert!((190.0..210.0).contains(&per_second), "{per_second}");
        let snapshot = throttle.snapshot(at(600));
        assert!((0.78..0.82).contains(&snapshot.refusing), "{snapshot:?}");
        assert!(snapshot.refused > 400_000);
    }

    #[test]
    fn a_server_that_has_recovered_is_asked_again() {
        let options = AdmissionControlOptions::default();
        let throttle = Throttle::new(ThrottleOptions::Admission(options));
        let mut rng = Random::seeded(1);
        for second in 0..100_u64 {
            let well = !(10..40).contains(&second);
            let mut allowed = 0;
            for n in 0..100 {
                let now = at(second) + Duration::from_millis(n * 10);
                if throttle.allow(now, &mut rng) {
                    allowed += 1;
                    throttle.note(now, well);
                }
            }
            match second {
                0..10 | 75.. => assert_eq!(allowed, 100, "{second}"),
                39 => assert!((5..40).contains(&allowed), "{allowed}"),
                _ => {}
            }
        }
    }

    #[test]
    fn old_counts_leave_even_when_nothing_comes() {
        let counts = WindowCounts::new(Duration::from_secs(30));
        assert_eq!(counts.sum(Instant::ZERO), (0, 0));
        counts.add(at(0), 5, 3);
        counts.add(at(20), 2, 1);
        assert_eq!(counts.sum(at(29)), (7, 4));
        assert_eq!(counts.sum(at(30)), (2, 1));
        assert_eq!(counts.sum(at(1_000_000)), (0, 0));
        counts.add(at(60), 1, 1);
        assert_eq!(counts.sum(at(60)), (1, 1), "its slot was used at 0 s");
    }

    #[test]
    fn what_has_not_ended_says_nothing() {
        let throttle = Throttle::new(ThrottleOptions::default());
        let mut rng = Random::seeded(1);
        for n in 0..1_000 {
            assert!(throttle.allow(at(n / 100), &mut rng), "{n}");
        }
        assert_eq!(throttle.snapshot(at(10)).requests, 0);
    }

    #[test]
    fn a_full_slot_keeps_its_ratio() {
        let counts = WindowCounts::new(Duration::from_secs(30));
        counts.add(at(1), COUNT_MASK, COUNT_MASK / 2);
        counts.add(at(1), 1, 1);
        assert_eq!(counts.sum(at(1)), (COUNT_MASK, COUNT_MASK / 2));
    }

    #[test]
    fn workers_together_count_all() {
        let counts = Arc::new(WindowCounts::new(Duration::from_secs(30)));
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let counts = Arc::clone(&counts);
                thread::spawn(move || {
                    for n in 0..10_000_u64 {
                        counts.add(Instant::from_millis(n), 1, n % 2);
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().expect("no panic");
        }
        assert_eq!(counts.sum(at(10)), (40_000, 20_000));
    }

    proptest! {
        #[test]
        fn a_part_is_a_part(requests in 0.0..1e6_f64, share in 0.0..1.0_f64, k in 0.0..10.0_f64, aggression in 0.0..10.0_f64) {
            let accepts = requests * share;
            let sre = SreOptions { k, ..SreOptions::default() }.refuse(requests, accepts);
            prop_assert!((0.0..1.0).contains(&sre));
            let options = AdmissionControlOptions { aggression, ..AdmissionControlOptions::default() };
            prop_assert!((0.0..=0.8).contains(&options.refuse(requests, accepts)));
        }
    }
}
