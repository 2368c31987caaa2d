//! The set of eligible members, and the distribution of traffic to tiers and to near and far servers. Computed once,
//! not per pick.
//!
//! It is recomputed only when a directive was applied to any server, when the availability of a server expires, or when
//! the pool was replaced. In between, a pick costs two comparisons regardless of the size of the pool, and never uses
//! outdated information.

use evenkeel_core::{EjectionReason, Instant};

use crate::group::Group;
use crate::member_bits::MemberBits;
use crate::server::{Availability, changes};
use crate::{FAILED_OVER_SHARE, Pool};

/// 0.55 of 20 is 11, whatever the last bit says.
const ROUNDING: f64 = 1e-6;

/// The members of one group that may be picked.
#[derive(Debug, Default)]
pub(crate) struct EligibleGroup {
    /// By place, ascending.
    pub(crate) list: Vec<u32>,
    /// The same, for looking one up.
    pub(crate) marks: MemberBits,
    /// The part of all traffic that the group gets. With none it is there for attempts that all others have failed.
    pub(crate) share: f64,
    /// Whether suspected members are among them.
    pub(crate) panic: bool,
    usable: usize,
}

/// The members that may be picked, at the moment of the survey and until something changes.
#[derive(Debug, Default)]
pub(crate) struct EligibleSet {
    pool: u64,
    changes: u64,
    from: Instant,
    until: Instant,
    /// One for each group of the pool.
    pub(crate) slices: Vec<EligibleGroup>,
    /// The slice that gets everything, if one does.
    pub(crate) only: Option<usize>,
    /// Whether some take only a part of their share.
    pub(crate) uneven: bool,
    looks: u64,
}

impl EligibleSet {
    /// Tells what was found from what was found before: the pool, and how many looks there were.
    pub(crate) const fn number(&self) -> (u64, u64) {
        (self.pool, self.looks)
    }

    /// Looks again if anything may have changed. Allocates only when the pool has grown.
    pub(crate) fn renew(&mut self, pool: &Pool, now: Instant) {
        let changes = changes();
        let holds = self.changes == changes
            && self.pool == pool.id()
            && now >= self.from
            && now < self.until;
        if !holds {
            // The counter was read before the standings: a directive in between is seen by the next pick.
            (self.changes, self.pool, self.from) = (changes, pool.id(), now);
            self.look(pool, now);
        }
    }

    /// The slice for a pick, by a number from 0 to below 1.
    pub(crate) fn choose(&self, at: f64) -> usize {
        let mut left = at;
        let mut last = 0;
        for (slot, slice) in self.slices.iter().enumerate() {
            if slice.share > 0.0 {
                last = slot;
                left -= slice.share;
                if left < 0.0 {
                    break;
                }
            }
        }
        last
    }

    /// All members that may be picked without being spares.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = u32> {
        let used = self.slices.iter().filter(|slice| slice.share > 0.0);
        used.flat_map(|slice| slice.list.iter().copied())
    }

    /// Whether a member may be picked at all, also as a spare.
    pub(crate) fn has(&self, index: u32) -> bool {
        let mut slices = self.slices.iter();
        slices.any(|slice| slice.marks.has(index))
    }

    /// Whether a member gets traffic.
    pub(crate) fn is_used(&self, index: u32) -> bool {
        let mut used = self.slices.iter().filter(|slice| slice.share > 0.0);
        used.any(|slice| slice.marks.has(index))
    }

    fn look(&mut self, pool: &Pool, now: Instant) {
        (self.uneven, self.until) = (false, Instant::NEVER);
        self.looks += 1;
        self.slices
            .resize_with(pool.groups().len(), EligibleGroup::default);
        for (group, slot) in pool.groups().iter().zip(0..) {
            self.look_at(pool, group, slot, now);
        }
        self.share_out(pool, now);
        if let Some(subset) = pool.options().subset {
            for (slice, group) in self.slices.iter_mut().zip(pool.groups()) {
                slice.keep_best(group, subset.size as usize);
            }
        }
        for slice in &mut self.slices {
            slice.marks.set(&slice.list);
        }
        let mut used = (0..self.slices.len()).filter(|&slot| self.slices[slot].share > 0.0);
        let first = used.next();
        self.only = first.filter(|_| used.next().is_none());
    }

    fn look_at(&mut self, pool: &Pool, group: &Group, slot: usize, now: Instant) {
        let slice = &mut self.slices[slot];
        slice.list.clear();
        slice.list.reserve(group.members.len());
        (slice.share, slice.panic) = (0.0, false);
        for &index in &group.members {
            let state = &pool.member(index).state;
            let standing = state.standing(now);
            self.until = self.until.min(state.next_change(now));
            self.uneven |= matches!(
                standing,
                Availability::Trial | Availability::Relieved | Availability::Warming
            ) || state.load_share() < 1.0;
            if standing.is_usable() {
                slice.list.push(index);
            }
        }
        slice.usable = slice.list.len();
    }

    /// Each tier carries as much as it can, the first one first, unless the service fails over. If all together cannot carry everything
    /// and each has too few usable members, the suspected ones are used as well (panic). Hung ones are used only where no other is
    /// left: they cost each request its time limit. Known-down and draining ones never are.
    fn share_out(&mut self, pool: &Pool, now: Instant) {
        let factor = pool.options().overprovisioning.max(1.0);
        let tiers = pool.groups().last().map_or(0, |group| group.tier + 1);
        let of_tier = |tier: usize| {
            let groups = pool.groups().iter().enumerate();
            groups.filter(move |(_, group)| group.tier == tier)
        };
        let healths = |slices: &[EligibleGroup], tier: usize| {
            let (mut usable, mut all) = (0, 0);
            for (slot, group) in of_tier(tier) {
                usable += slices[slot].list.len();
                all += group.members.len();
            }
            (usable as f64 / all.max(1) as f64, usable)
        };
        let carried = |(part, _): (f64, usize)| (factor * part).min(1.0);
        let total: f64 = (0..tiers)
            .map(|tier| carried(healths(&self.slices, tier)))
            .sum();
        let least = pool.options().panic_below;
        let is_enough = |(part, usable): (f64, usize)| usable > 0 && part + ROUNDING >= least;
        let panics = least > 0.0
            && total < 1.0 - ROUNDING
            && !(0..tiers).any(|tier| is_enough(healths(&self.slices, tier)));
        if panics {
            self.panic(pool, EjectionReason::Suspected, now);
            if self.slices.iter().all(|slice| slice.list.is_empty()) {
                self.panic(pool, EjectionReason::Hung, now);
            }
        }
        let behind: f64 = (1..tiers)
            .map(|tier| carried(healths(&self.slices, tier)))
            .sum();
        let mut most = if pool.fails_over() {
            FAILED_OVER_SHARE.max(1.0 - behind)
        } else {
            1.0
        };
        let mut left = 1.0_f64;
        for tier in 0..tiers {
            let carries = carried(healths(&self.slices, tier)).min(left).min(most);
            most = 1.0;
            left -= carries;
            if left < ROUNDING {
                left = 0.0;
            }
            self.share_tier(pool, tier, carries, factor);
        }
        let given: f64 = self.slices.iter().map(|slice| slice.share).sum();
        if given > 0.0 {
            for slice in &mut self.slices {
                slice.share /= given;
            }
        }
    }

    fn panic(&mut self, pool: &Pool, verdict: EjectionReason, now: Instant) {
        for (slice, group) in self.slices.iter_mut().zip(pool.groups()) {
            slice.panic(pool, group, verdict, now);
        }
    }

    /// Within a tier: near members carry as much as they can.
    fn share_tier(&mut self, pool: &Pool, tier: usize, share: f64, factor: f64) {
        let places = |far: bool| {
            let mut groups = pool.groups().iter();
            groups.position(|group| group.tier == tier && group.far == far)
        };
        let (Some(near), far) = (places(false), places(true)) else {
            return;
        };
        let far_serves = far.is_some_and(|far| !self.slices[far].list.is_empty());
        let part = if far_serves {
            let all = pool.groups()[near].members.len().max(1);
            let carries = factor * self.slices[near].list.len() as f64 / all as f64;
            if carries > 1.0 - ROUNDING {
                1.0
            } else {
                carries
            }
        } else {
            1.0
        };
        self.slices[near].share = share * part;
        if let Some(far) = far {
            self.slices[far].share = share * (1.0 - part);
        }
    }
}

impl EligibleGroup {
    fn panic(&mut self, pool: &Pool, group: &Group, verdict: EjectionReason, now: Instant) {
        let standing = Availability::Ejected { verdict };
        let is_so = |index: &&u32| pool.member(**index).state.standing(now) == standing;
        self.list.extend(group.members.iter().filter(is_so));
        self.panic = self.list.len() > self.usable;
        self.list.sort_unstable();
    }

    /// Only the members with the highest scores stay.
    fn keep_best(&mut self, group: &Group, size: usize) {
        let size = size.max(1);
        if self.list.len() <= size || group.scores.len() != group.members.len() {
            return;
        }
        let score = |index: &u32| {
            let slot = group.members.binary_search(index).unwrap_or_default();
            std::cmp::Reverse(group.scores[slot])
        };
        self.list.select_nth_unstable_by_key(size - 1, score);
        self.list.truncate(size);
        self.list.sort_unstable();
    }
}
