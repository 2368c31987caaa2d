//! The members of one tier that are equally near or far: the unit to which traffic is distributed before a server is
//! picked.
//!
//! Whatever a policy can precompute is computed for each group over all of its members, including those that are
//! currently out of service. A change of availability then needs no new tables, and moves no more traffic than
//! necessary.

use crate::key::again;
use crate::member::Member;
use crate::tables::{AliasTable, HashTable, Schedule};
use crate::{BalanceOptions, Policy};

/// The members of a tier that are near, or those that are far.
#[derive(Debug)]
pub(crate) struct Group {
    /// The place of its tier among the tiers, 0 for the first.
    pub(crate) tier: usize,
    /// Whether it is the far part of a tier that has a near part.
    pub(crate) far: bool,
    /// Their places in the pool, ascending.
    pub(crate) members: Vec<u32>,
    pub(crate) schedule: Option<Schedule>,
    pub(crate) alias: Option<AliasTable>,
    pub(crate) hashed: Option<HashTable>,
    /// With subsets: each member's score, in the order of `members`.
    pub(crate) scores: Vec<u64>,
}

impl Group {
    fn new(
        options: &BalanceOptions,
        all: &[Member],
        tier: usize,
        far: bool,
        members: Vec<u32>,
    ) -> Self {
        let of = |index: u32| &all[index as usize];
        let weights: Vec<(u32, u32)> = members
            .iter()
            .map(|&index| (index, of(index).weight()))
            .collect();
        let named: Vec<_> = members
            .iter()
            .map(|&index| (index, &*of(index).identity, of(index).weight()))
            .collect();
        let score = |key: u64| {
            let hashed = members
                .iter()
                .map(|&index| again(crate::key(of(index).identity.as_bytes()), key));
            hashed.collect()
        };
        Self {
            tier,
            far,
            schedule: (options.policy == Policy::WeightedRoundRobin)
                .then(|| Schedule::new(&weights))
                .flatten(),
            alias: draws_by_weight(options.policy, &weights)
                .then(|| AliasTable::new(&weights))
                .flatten(),
            hashed: HashTable::new(options, &named),
            scores: options
                .subset
                .map_or_else(Vec::new, |subset| score(subset.key)),
            members,
        }
    }
}

/// Whether servers are drawn by their weights. The policies that compare draws do so as well: of ten servers, five of them with a
/// hundredth of the others' weight, two even draws are both light in a quarter of all cases; and of idle servers, which are all
/// alike, each has to get its share.
fn draws_by_weight(policy: Policy, weights: &[(u32, u32)]) -> bool {
    let uneven = weights.windows(2).any(|pair| pair[0].1 != pair[1].1);
    match policy {
        Policy::WeightedRandom => true,
        Policy::LeastRequests
        | Policy::PowerOfTwo
        | Policy::LeastResponseTime
        | Policy::Prequal => uneven,
        Policy::Random
        | Policy::RoundRobin
        | Policy::WeightedRoundRobin
        | Policy::RingHash
        | Policy::Maglev => false,
    }
}

/// All members in groups, the first tier first, of each tier the near ones first. Nobody is at the places `vacant`.
pub(crate) fn groups(options: &BalanceOptions, members: &[Member], vacant: &[u32]) -> Vec<Group> {
    let there = || {
        let all = (0_u32..).zip(members);
        all.filter(|(slot, _)| vacant.binary_search(slot).is_err())
    };
    let mut tiers: Vec<u8> = there().map(|(_, member)| member.tier).collect();
    tiers.sort_unstable();
    tiers.dedup();
    let mut groups = Vec::new();
    for (slot, &tier) in tiers.iter().enumerate() {
        let (near, far): (Vec<u32>, Vec<u32>) = there()
            .filter(|(_, member)| member.tier == tier)
            .map(|(index, _)| index)
            .partition(|&index| members[index as usize].near);
        let split = !near.is_empty();
        for (is_far, list) in [(false, near), (split, far)] {
            if !list.is_empty() {
                groups.push(Group::new(options, members, slot, is_far, list));
            }
        }
    }
    groups
}
