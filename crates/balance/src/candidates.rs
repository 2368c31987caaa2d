//! One pick as a policy sees it: the candidates, and fair random draws among them.
//!
//! Draws are without replacement: two draws never return the same server, because a pair that may consist of one server
//! picks the busier of two in a quarter of all cases. For a server that takes only a part of its share, one draw per
//! pick decides whether it takes part, with that part as its probability. If no server takes part, one is picked with
//! probabilities proportional to those parts. A server whose attempts in flight have reached their limit takes no part
//! either.

use evenkeel_core::{Instant, Random};

use crate::group::Group;
use crate::member::Member;
use crate::member_bits::MemberBits;
use crate::pool::Pool;

/// Draws at random before looking at all.
const TRIES: u32 = 8;

/// The candidates of one pick. At least one of `list` is not in `avoid`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidates<'a> {
    pub(crate) pool: &'a Pool,
    /// Ascending.
    pub(crate) list: &'a [u32],
    /// The same, for looking one up.
    pub(crate) marks: &'a MemberBits,
    pub(crate) avoid: &'a [u32],
    pub(crate) now: Instant,
    /// Whether some take only a part of their share.
    pub(crate) uneven: bool,
    /// The group that `list` is of.
    pub(crate) group: &'a Group,
    /// The group's place among the pool's groups.
    pub(crate) slot: usize,
    /// Tells the survey that `list` is of from others: its pool, and its number.
    pub(crate) eligible: (u64, u64),
    /// The hash key of the request, for hashing policies.
    pub(crate) key: u64,
}

/// The members already drawn in this pick: a few at most, without allocation.
#[derive(Debug, Default)]
pub(crate) struct DrawnMembers {
    list: [u32; 8],
    len: usize,
}

impl DrawnMembers {
    pub(crate) fn push(&mut self, index: u32) {
        if let Some(slot) = self.list.get_mut(self.len) {
            *slot = index;
            self.len += 1;
        }
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.len == self.list.len()
    }

    pub(crate) fn has(&self, index: u32) -> bool {
        self.list.iter().take(self.len).any(|&other| other == index)
    }
}

impl<'a> Candidates<'a> {
    pub(crate) fn member(&self, index: u32) -> &'a Member {
        self.pool.member(index)
    }

    /// Whether weights differ, so that servers are drawn by weight.
    pub(crate) const fn by_weight(&self) -> bool {
        self.group.alias.is_some()
    }

    /// The members that may be picked.
    pub(crate) fn open(&self) -> impl Iterator<Item = u32> + use<'a> {
        let avoid = self.avoid;
        self.list
            .iter()
            .copied()
            .filter(move |index| !avoid.contains(index))
    }

    /// Whether a server takes part in this pick: always, unless it takes only a part of its share.
    pub(crate) fn takes_part(&self, index: u32, rng: &mut Random) -> bool {
        if self.is_full(index) {
            return false;
        }
        if !self.uneven {
            return true;
        }
        let share = self.share(index);
        share >= 1.0 || rng.unit() < share
    }

    /// Whether it has as many attempts in flight as it may have.
    pub(crate) fn is_full(&self, index: u32) -> bool {
        self.pool.limited() && self.member(index).is_full()
    }

    /// Whether `index` may be picked.
    pub(crate) fn is_open(&self, index: u32) -> bool {
        self.marks.has(index) && !self.avoid.contains(&index)
    }

    /// Two different servers that take part, or one if there are no two.
    pub(crate) fn two(&self, rng: &mut Random) -> (u32, Option<u32>) {
        let mut drawn = DrawnMembers::default();
        match self.draw(&mut drawn, rng) {
            Some(first) => (first, self.draw(&mut drawn, rng)),
            None => (self.by_share(rng), None),
        }
    }

    /// One server that takes part, all with equal chances.
    pub(crate) fn one(&self, rng: &mut Random) -> u32 {
        let mut drawn = DrawnMembers::default();
        self.draw(&mut drawn, rng)
            .unwrap_or_else(|| self.by_share(rng))
    }

    /// A random server, with probabilities proportional to the parts of their shares that they take: for the case that
    /// none took part.
    pub(crate) fn by_share(&self, rng: &mut Random) -> u32 {
        self.by(rng, &DrawnMembers::default(), |index| self.share(index))
    }

    /// A random server that is not in `drawn`, with probabilities proportional to `weigh`; the last one if all weights
    /// are zero.
    pub(crate) fn by(
        &self,
        rng: &mut Random,
        drawn: &DrawnMembers,
        weigh: impl Fn(u32) -> f64,
    ) -> u32 {
        let open = || self.open().filter(|&index| !drawn.has(index));
        let mut left = open().map(&weigh).sum::<f64>() * rng.unit();
        let mut chosen = self.list[0];
        for index in open() {
            chosen = index;
            left -= weigh(index);
            if left < 0.0 {
                break;
            }
        }
        chosen
    }

    /// The part of its share that a server takes. A suspected one is here because of panic, with all of its share.
    pub(crate) fn share(&self, index: u32) -> f64 {
        let state = &self.member(index).state;
        if state.standing(self.now).is_usable() {
            state.share(self.now)
        } else {
            1.0
        }
    }

    /// A server that was not drawn before and takes part.
    pub(crate) fn draw(&self, drawn: &mut DrawnMembers, rng: &mut Random) -> Option<u32> {
        while !drawn.is_full() {
            let index = self.any(drawn, rng)?;
            drawn.push(index);
            if self.takes_part(index, rng) {
                return Some(index);
            }
        }
        None
    }

    /// Any server that was not drawn before, with equal chances or by weight, as the policy has it: at random at first, by
    /// counting if that fails.
    pub(crate) fn any(&self, drawn: &DrawnMembers, rng: &mut Random) -> Option<u32> {
        for _ in 0..TRIES {
            let (index, may) = match &self.group.alias {
                Some(alias) => {
                    let index = alias.draw(rng);
                    (index, self.is_open(index))
                }
                None => {
                    let index = self.list[rng.below(self.list.len())];
                    (index, !self.avoid.contains(&index))
                }
            };
            if may && !drawn.has(index) {
                return Some(index);
            }
        }
        let open = || self.open().filter(|&index| !drawn.has(index));
        match open().count() {
            0 => None,
            _ if self.group.alias.is_some() => {
                let weight = |index: u32| f64::from(self.member(index).weight());
                Some(self.by(rng, drawn, weight))
            }
            count => open().nth(rng.below(count)),
        }
    }
}
