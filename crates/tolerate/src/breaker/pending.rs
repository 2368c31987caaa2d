//! Ends of attempts that came while another thread held the breaker's lock: left here, and counted by that thread when it is
//! done, or else with the next end. So no end is lost and no thread waits for another.
//!
//! One word: four counts, and the era of the breaker that they belong to. Ends that come at the same time have no order
//! among themselves.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bits of each count.
const BITS: u32 = 12;
const MASK: u64 = (1 << BITS) - 1;
/// Where the era begins.
const ERA_SHIFT: u32 = 4 * BITS;

#[derive(Debug, Default)]
pub(super) struct PendingOutcomes(AtomicU64);

/// Ends of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutcomeCount {
    pub(super) is_bad: bool,
    pub(super) is_slow: bool,
    pub(super) count: u64,
}

impl PendingOutcomes {
    /// Leaves an end that belongs to this era. False if its count is full.
    pub(super) fn add(&self, era: u64, is_bad: bool, is_slow: bool) -> bool {
        let tag = tag(era);
        let one = 1 << (BITS * place(is_bad, is_slow));
        let add = |word: u64| {
            let of = word >> ERA_SHIFT;
            if of == tag {
                return (word & (MASK * one) < MASK * one).then_some(word + one);
            }
            // Of two eras the later one counts; the numbers wrap.
            let is_later = (tag.wrapping_sub(of) & u64::from(u16::MAX)) < u64::from(u16::MAX / 2);
            let is_empty = word << (u64::BITS - ERA_SHIFT) == 0;
            Some(if is_later || is_empty {
                (tag << ERA_SHIFT) | one
            } else {
                word
            })
        };
        self.0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, add)
            .is_ok()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.load(Ordering::SeqCst) << (u64::BITS - ERA_SHIFT) == 0
    }

    /// Takes the ends of this era; those of an earlier one decide nothing.
    pub(super) fn take(&self, era: u64) -> impl Iterator<Item = OutcomeCount> + use<> {
        ends(self.0.swap(0, Ordering::SeqCst), era)
    }

    /// Reads the ends of this era.
    pub(super) fn peek(&self, era: u64) -> impl Iterator<Item = OutcomeCount> + use<> {
        ends(self.0.load(Ordering::SeqCst), era)
    }
}

/// Failures first: a success among them shows that they were not consecutive.
fn ends(word: u64, era: u64) -> impl Iterator<Item = OutcomeCount> {
    let kinds = [(true, true), (true, false), (false, true), (false, false)];
    let belongs = word >> ERA_SHIFT == tag(era);
    let all = kinds
        .into_iter()
        .map(move |(is_bad, is_slow)| OutcomeCount {
            is_bad,
            is_slow,
            count: (word >> (BITS * place(is_bad, is_slow))) & MASK,
        });
    all.filter(move |ends| belongs && ends.count > 0)
}

const fn tag(era: u64) -> u64 {
    era & u16::MAX as u64
}

const fn place(is_bad: bool, is_slow: bool) -> u32 {
    is_bad as u32 * 2 + is_slow as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(pending: &PendingOutcomes, era: u64) -> u64 {
        pending.take(era).map(|ends| ends.count).sum()
    }

    #[test]
    fn kinds_are_separate_and_failures_come_first() {
        let pending = PendingOutcomes::default();
        assert!(pending.is_empty());
        for (is_bad, is_slow) in [(false, false), (true, false), (false, true), (true, false)] {
            assert!(pending.add(7, is_bad, is_slow));
        }
        let found: Vec<_> = pending
            .take(7)
            .map(|ends| (ends.is_bad, ends.is_slow, ends.count))
            .collect();
        let all = [(true, false, 2), (false, true, 1), (false, false, 1)];
        assert_eq!(found, all);
        assert!(pending.is_empty());
    }

    #[test]
    fn what_belongs_to_an_earlier_state_decides_nothing() {
        let pending = PendingOutcomes::default();
        assert!(pending.add(1, true, false));
        assert!(pending.add(2, true, false), "it replaces that of before");
        assert!(pending.add(1, true, false), "too late");
        assert_eq!(total(&pending, 2), 1);
        assert!(pending.add(u64::from(u16::MAX), false, false));
        assert!(pending.add(u64::from(u16::MAX) + 1, false, false));
        assert_eq!(total(&pending, u64::from(u16::MAX) + 1), 1);
        assert!(pending.add(3, false, false));
        assert_eq!(total(&pending, 4), 0);
    }

    #[test]
    fn a_count_that_is_full_takes_no_more() {
        let pending = PendingOutcomes::default();
        let left = (0..5_000).filter(|_| pending.add(0, true, true)).count();
        assert_eq!(left as u64, MASK);
        assert!(pending.add(0, false, false));
        assert_eq!(total(&pending, 0), MASK + 1);
    }
}
