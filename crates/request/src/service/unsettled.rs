//! Attempts whose connection broke a moment ago, and of which it is not known yet whether their server's process has ended.
//!
//! The exit of a process is known some milliseconds after its connections have broken, on a busy machine some hundred. Who sends a
//! request that ends its servers again within that time would find the next server. So a request is held back while two servers (of one
//! that is watched for having ended a process before: one) broke off exactly that request and their fate is not known: at most for
//! [`FATE`]. Nothing else waits, nor does the retry of a request after its first attempt broke.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evenkeel_core::{ExactShape, Instant};

/// If the exit of its process is not known so long after a connection broke, the process lives.
pub(crate) const FATE: Duration = Duration::from_millis(250);
/// After the end of a process is known, what is ordered about its requests comes within this time.
const ORDERS: Duration = Duration::from_millis(20);
/// A process that has ended counts for so long beside another one whose fate is not known yet.
const VICTIM: Duration = Duration::from_secs(1);
/// So many broken attempts are remembered, the latest.
const KEPT: usize = 64;

/// An attempt that broke.
#[derive(Debug, Clone, Copy)]
struct UnsettledBreak {
    /// Exactly this request: its [`ExactShape::target`].
    target: u64,
    server: u32,
    /// It is watched: it has had a victim before.
    is_watched: bool,
    /// When its server's fate is known at the latest, and orders have come.
    until: Instant,
    /// Until when it counts beside others.
    counts_until: Instant,
}

/// The attempts of one service that broke a moment ago.
#[derive(Debug, Default)]
pub(crate) struct UnsettledBreaks {
    /// Until when requests may have to be held back, in nanoseconds; in the past if none has.
    until: AtomicU64,
    all: Mutex<Vec<UnsettledBreak>>,
}

impl UnsettledBreaks {
    /// An attempt of this shape broke.
    pub(crate) fn note(&self, shape: ExactShape, server: u32, is_watched: bool, now: Instant) {
        let mut all = self.lock();
        all.retain(|one| now < one.counts_until);
        if all.len() == KEPT {
            all.remove(0);
        }
        let until = now + FATE;
        all.push(UnsettledBreak {
            target: shape.target,
            server,
            is_watched,
            until,
            counts_until: until,
        });
        if holds(&all, shape.target, now).is_some() {
            self.until.fetch_max(until.as_nanos(), Ordering::Release);
        }
    }

    /// Whether any request may have to be held back.
    pub(crate) fn is_on(&self, now: Instant) -> bool {
        now.as_nanos() < self.until.load(Ordering::Acquire)
    }

    /// Until when a request of this shape is held back at most, if it is.
    pub(crate) fn holds(&self, shape: ExactShape, now: Instant) -> Option<Instant> {
        holds(&self.lock(), shape.target, now)
    }

    /// A server has answered a request of this shape: it does not end processes.
    pub(crate) fn answered(&self, shape: ExactShape, now: Instant) {
        let mut all = self.lock();
        let before = all.len();
        all.retain(|one| one.target != shape.target);
        let is_held = |one: &UnsettledBreak| holds(&all, one.target, now).is_some();
        if all.len() < before && !all.iter().any(is_held) {
            // Under the lock, as all that is written there.
            self.until.store(0, Ordering::Release);
        }
    }

    /// The process of a server has ended.
    pub(super) fn ended(&self, server: u32, now: Instant) {
        if !self.is_on(now) {
            return;
        }
        for one in &mut *self.lock() {
            if one.server == server {
                one.until = one.until.min(now + ORDERS);
                one.counts_until = now + VICTIM;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<UnsettledBreak>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn holds(all: &[UnsettledBreak], target: u64, now: Instant) -> Option<Instant> {
    let is_it = |one: &&UnsettledBreak| one.target == target && now < one.counts_until;
    let of_it = all.iter().filter(is_it);
    let first = of_it.clone().next()?;
    let is_enough = |one: &UnsettledBreak| one.is_watched || one.server != first.server;
    let is_held = of_it.clone().any(is_enough);
    let until = of_it.map(|one| one.until).max()?;
    (is_held && now < until).then_some(until)
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasherDefault, DefaultHasher};

    use super::*;

    type Keys = BuildHasherDefault<DefaultHasher>;

    fn shape(target: &str) -> ExactShape {
        ExactShape::of(&Keys::default(), b"GET", target.as_bytes())
    }

    fn at(millis: u64) -> Instant {
        Instant::from_millis(1_000 + millis)
    }

    #[test]
    fn what_two_servers_broke_off_is_held_back_until_their_fate_is_known() {
        let breaks = UnsettledBreaks::default();
        let crash = shape("/crash");
        breaks.note(crash, 0, false, at(0));
        breaks.note(crash, 0, false, at(1));
        assert!(!breaks.is_on(at(1)), "one server only");
        breaks.note(shape("/crash?x"), 1, false, at(2));
        assert!(!breaks.is_on(at(2)), "another request");
        breaks.note(crash, 1, false, at(3));
        assert!(breaks.is_on(at(3)));
        assert_eq!(breaks.holds(crash, at(3)), Some(at(3) + FATE));
        assert_eq!(breaks.holds(shape("/crash?x"), at(3)), None);
        assert_eq!(breaks.holds(shape("/"), at(3)), None);
        // The fate of the first is known after 250 ms: it lives.
        assert_eq!(breaks.holds(crash, at(251)), None);
        assert!(!breaks.is_on(at(253)));
    }

    #[test]
    fn of_what_is_watched_one_is_enough() {
        let breaks = UnsettledBreaks::default();
        breaks.note(shape("/crash"), 2, true, at(0));
        assert_eq!(breaks.holds(shape("/crash"), at(1)), Some(at(250)));
    }

    #[test]
    fn an_answer_says_that_it_is_harmless_and_an_exit_that_orders_follow() {
        let breaks = UnsettledBreaks::default();
        let [crash, root] = ["/crash", "/"].map(shape);
        for (shape, server) in [(crash, 0), (root, 0), (crash, 1), (root, 1)] {
            breaks.note(shape, server, false, at(0));
        }
        breaks.answered(root, at(1));
        assert_eq!(breaks.holds(root, at(1)), None);
        assert_eq!(breaks.holds(crash, at(1)), Some(at(250)));
        breaks.ended(0, at(5));
        assert_eq!(breaks.holds(crash, at(6)), Some(at(250)));
        assert_eq!(breaks.holds(crash, at(100)), Some(at(250)), "of the other");
        breaks.ended(1, at(108));
        assert_eq!(breaks.holds(crash, at(109)), Some(at(128)));
        assert_eq!(breaks.holds(crash, at(128)), None);
        assert!(breaks.is_on(at(128)));
        breaks.answered(crash, at(128));
        assert!(!breaks.is_on(at(128)), "nothing is left");
    }

    #[test]
    fn the_latest_are_remembered() {
        let breaks = UnsettledBreaks::default();
        for number in 0..1_000 {
            breaks.note(shape(&format!("/{number}")), 0, false, at(0));
        }
        breaks.note(shape("/999"), 1, false, at(0));
        assert!(breaks.holds(shape("/999"), at(1)).is_some());
        breaks.note(shape("/1"), 1, false, at(0));
        assert!(breaks.holds(shape("/1"), at(1)).is_none());
        assert_eq!(breaks.lock().len(), KEPT);
    }
}
