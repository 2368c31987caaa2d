//! The pick itself: determine the candidates, apply the policy, report the reason.

use std::time::Duration;

use evenkeel_core::{Instant, Random, duration_from_seconds};

use crate::Pool;
use crate::candidates::Candidates;
use crate::eligible::{EligibleGroup, EligibleSet};
use crate::key::{again, unit};
use crate::policies::{self, PolicyState};
use crate::typical::CachedMedian;

/// No more servers than this are avoided, the last ones tried.
const AVOIDED: usize = 64;
/// Sets the share of a key's tier apart from all else that is made of a key.
const GROUPS: u64 = 0x7469_6572;

/// The server of the next attempt, and the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    /// The member's place in the pool.
    pub index: u32,
    /// Why.
    pub reason: PickReason,
}

/// Why there is no server for an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoPick {
    /// None may be used: none there is, or all are ejected, draining or known to be down.
    NoServer,
    /// Each that may be used has as many attempts in flight as it may have.
    Full,
}

/// Why a server was picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PickReason {
    /// The policy chose it.
    Policy,
    /// A server of a backup tier, because the tiers before it are not enough.
    Tier,
    /// Too few servers are usable, so the suspected ones are used as well.
    Panic,
    /// All others were tried before.
    OnlyOneLeft,
    /// It was tried before, and so were all the others.
    Again,
    /// The client said that it belongs to this server.
    Sticky,
    /// A far server, because the near ones are not enough.
    Zone,
    /// For a second attempt the policy chose it of those that were not tried.
    Retry,
    /// The server that the policy would have picked was full.
    Overflow,
}

impl PickReason {
    /// The words for all reasons, each at the place of its reason.
    pub const WORDS: [&'static str; 9] = [
        "policy",
        "tier",
        "panic",
        "only-one-left",
        "again",
        "sticky",
        "zone",
        "retry",
        "overflow",
    ];

    /// Its place in [`Self::WORDS`], for tables by reason.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Policy => 0,
            Self::Tier => 1,
            Self::Panic => 2,
            Self::OnlyOneLeft => 3,
            Self::Again => 4,
            Self::Sticky => 5,
            Self::Zone => 6,
            Self::Retry => 7,
            Self::Overflow => 8,
        }
    }

    /// The word for it in metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        Self::WORDS[self.index()]
    }
}

/// Picks servers of one service for one worker.
#[derive(Debug)]
pub struct Picker {
    pub(crate) rng: Random,
    pub(crate) eligible: EligibleSet,
    pub(crate) typical: CachedMedian,
    pub(crate) policy_state: PolicyState,
}

impl Picker {
    /// A picker for `pool`. The seed decides its draws and where in the round it begins: give each worker another.
    #[must_use]
    pub fn new(pool: &Pool, seed: u64) -> Self {
        let mut rng = Random::seeded(seed);
        let policy_state = PolicyState::new(pool, &mut rng);
        let mut picker = Self {
            rng,
            eligible: EligibleSet::default(),
            typical: CachedMedian::default(),
            policy_state,
        };
        picker.renew(pool, Instant::ZERO);
        picker
    }

    fn renew(&mut self, pool: &Pool, now: Instant) {
        self.eligible.renew(pool, now);
        self.typical.renew(pool, self.eligible.candidates(), now);
    }

    /// The server for the next attempt, preferably none of `avoid` (tried before). Nothing if no server may be used, or all
    /// are full.
    pub fn pick(&mut self, pool: &Pool, now: Instant, avoid: &[u32]) -> Option<Pick> {
        self.pick_for(pool, now, avoid, None).ok()
    }

    /// The same for a request with this key ([`crate::key()`]): policies that hash send equal keys to the same server.
    /// Without one they take any.
    ///
    /// # Errors
    /// Why there is none.
    pub fn pick_for(
        &mut self,
        pool: &Pool,
        now: Instant,
        avoid: &[u32],
        key: Option<u64>,
    ) -> Result<Pick, NoPick> {
        self.renew(pool, now);
        let avoid = avoid
            .get(avoid.len().saturating_sub(AVOIDED)..)
            .unwrap_or_default();
        let hashes = pool.options().policy.hashes();
        let key = match key {
            None if hashes => self.rng.bits(),
            key => key.unwrap_or_default(),
        };
        let chosen = match self.eligible.only {
            Some(only) => only,
            // Decided by the key and not at random, so that equal keys stay together.
            None if hashes => self.eligible.choose(unit(again(key, GROUPS))),
            None => self.eligible.choose(self.rng.unit()),
        };
        let (slot, avoid, repeats) = self.eligible.slot(chosen, avoid).ok_or(NoPick::NoServer)?;
        let slice = &self.eligible.slices[slot];
        let candidates = Candidates {
            avoid,
            key,
            ..self.eligible.candidates_in(pool, slot, now)
        };
        let alone = match left(slice, avoid) {
            1 => candidates.open().next(),
            _ => None,
        };
        let typical = self.typical.seconds();
        let index = alone.unwrap_or_else(|| {
            policies::pick(&candidates, &mut self.policy_state, typical, &mut self.rng)
        });
        if candidates.is_full(index) {
            return self.overflow(pool, slot, avoid).ok_or(NoPick::Full);
        }
        let reason = if repeats {
            PickReason::Again
        } else if slice.panic {
            PickReason::Panic
        } else if candidates.group.tier > 0 {
            PickReason::Tier
        } else if candidates.group.far {
            PickReason::Zone
        } else if avoid.is_empty() {
            PickReason::Policy
        } else if alone.is_some() {
            PickReason::OnlyOneLeft
        } else {
            PickReason::Retry
        };
        Ok(Pick { index, reason })
    }

    /// At most `most` different servers (and at most 64) in the order in which attempts would be made, only of those
    /// that get traffic now: for callers that direct clients instead of forwarding requests, such as DNS.
    pub fn pick_several(
        &mut self,
        pool: &Pool,
        now: Instant,
        key: Option<u64>,
        most: usize,
    ) -> Vec<u32> {
        let mut picked: Vec<u32> = Vec::new();
        while picked.len() < most.min(AVOIDED) {
            let Ok(pick) = self.pick_for(pool, now, &picked, key) else {
                break;
            };
            if pick.reason == PickReason::Again || !self.eligible.is_used(pick.index) {
                break;
            }
            picked.push(pick.index);
        }
        picked
    }

    /// The server that a client belongs to, if it takes attempts and is not full.
    pub fn sticky_server(&mut self, pool: &Pool, now: Instant, index: u32) -> Option<Pick> {
        self.renew(pool, now);
        let member = pool.members().get(index as usize)?;
        let fits =
            self.eligible.has(index) && member.state.standing(now).is_usable() && !member.is_full();
        fits.then_some(Pick {
            index,
            reason: PickReason::Sticky,
        })
    }

    /// Any server that is not full: of the same slice if there is one, else of the next.
    fn overflow(&mut self, pool: &Pool, slot: usize, avoid: &[u32]) -> Option<Pick> {
        let slices = &self.eligible.slices;
        let (before, after) = slices.split_at(slot);
        for slice in after.iter().chain(before) {
            if slice.list.is_empty() {
                continue;
            }
            let (first, second) = slice.list.split_at(self.rng.below(slice.list.len()));
            let free = |index: &&u32| !pool.member(**index).is_full() && !avoid.contains(index);
            if let Some(&index) = second.iter().chain(first).find(free) {
                return Some(Pick {
                    index,
                    reason: PickReason::Overflow,
                });
            }
        }
        None
    }

    /// The pool's typical latency: the median of the servers' estimates, at most 100 ms old; zero without estimates.
    /// Pass it to [`crate::ServerState::end`].
    #[must_use]
    pub fn typical_latency(&self) -> Duration {
        duration_from_seconds(self.typical.seconds())
    }
}

impl EligibleSet {
    /// A pick from the slice at `slot`, which there is.
    pub(crate) fn candidates_in<'a>(
        &'a self,
        pool: &'a Pool,
        slot: usize,
        now: Instant,
    ) -> Candidates<'a> {
        Candidates {
            pool,
            list: &self.slices[slot].list,
            marks: &self.slices[slot].marks,
            avoid: &[],
            now,
            uneven: self.uneven,
            group: &pool.groups()[slot],
            slot,
            eligible: self.number(),
            key: 0,
        }
    }

    /// The slice to pick from, beginning with the one that was chosen, with the servers to avoid there, and whether all were
    /// tried before: then anyone but the last one.
    fn slot<'a>(&self, chosen: usize, avoid: &'a [u32]) -> Option<(usize, &'a [u32], bool)> {
        let has_left = |slot: &usize, avoid: &[u32]| {
            let slice = self.slices.get(*slot);
            slice.is_some_and(|slice| left(slice, avoid) > 0)
        };
        if avoid.is_empty() && has_left(&chosen, avoid) {
            return Some((chosen, avoid, false));
        }
        let last = avoid
            .get(avoid.len().saturating_sub(1)..)
            .unwrap_or_default();
        for (avoid, repeats) in [(avoid, false), (last, true), (&[][..], true)] {
            let others = || (0..self.slices.len()).filter(|&slot| slot != chosen);
            let used = others().filter(|&slot| self.slices[slot].share > 0.0);
            let spare = others().filter(|&slot| self.slices[slot].share <= 0.0);
            let mut slots = std::iter::once(chosen).chain(used).chain(spare);
            if let Some(slot) = slots.find(|slot| has_left(slot, avoid)) {
                return Some((slot, avoid, repeats));
            }
        }
        None
    }
}

/// How many of a slice are not in `avoid` (which may repeat itself).
fn left(slice: &EligibleGroup, avoid: &[u32]) -> usize {
    let news = |slot: usize, index: &u32| !avoid.iter().take(slot).any(|other| other == index);
    let avoided = avoid
        .iter()
        .enumerate()
        .filter(|&(slot, index)| news(slot, index) && slice.marks.has(*index));
    slice.list.len() - avoided.count()
}
