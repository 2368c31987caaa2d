//! The servers of a service as one immutable snapshot, with what a policy can compute once for all picks.

use std::sync::Arc;

use evenkeel_core::Instant;

use crate::policies::{Alias, Hashed, Schedule};
use crate::server::{ServerState, note_change};
use crate::{BalanceOptions, Policy};

/// A server as a member of a pool.
#[derive(Debug, Clone)]
pub struct Member {
    /// What tells it from every other server, the same wherever and whenever it is used: its address, commonly.
    pub identity: Arc<str>,
    /// Shared by all pools that this server is in.
    pub state: Arc<ServerState>,
    /// How much it takes compared with others; 0 counts as 1.
    pub weight: u32,
    /// 0 is used first, the next one when that is not enough.
    pub tier: u8,
}

impl Member {
    pub(crate) fn weight(&self) -> u32 {
        self.weight.max(1)
    }
}

/// An immutable snapshot of a service's servers and balancing options.
#[derive(Debug)]
pub struct Pool {
    id: u64,
    options: BalanceOptions,
    members: Vec<Member>,
    /// The members' places by tier, the lowest tier first.
    tiers: Vec<Vec<u32>>,
    pub(crate) schedule: Option<Schedule>,
    pub(crate) alias: Option<Alias>,
    /// For hash policies, one for the first tier, one for the first two, and so on.
    pub(crate) hashed: Vec<Hashed>,
}

impl Pool {
    /// A pool of `members`; a member's index is its place in this list.
    #[must_use]
    pub fn new(options: BalanceOptions, members: Vec<Member>) -> Self {
        Self::with_vacant(options, members, &[])
    }

    /// The same with places (ascending) at which nobody is at present: they are never picked, and count nowhere.
    #[must_use]
    pub fn with_vacant(options: BalanceOptions, members: Vec<Member>, vacant: &[u32]) -> Self {
        let is_there = |place: u32| vacant.binary_search(&place).is_err();
        let mut numbers: Vec<u8> = (0_u32..)
            .zip(&members)
            .filter(|(place, _)| is_there(*place))
            .map(|(_, member)| member.tier)
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        let tiers: Vec<Vec<u32>> = numbers
            .into_iter()
            .map(|tier| {
                (0_u32..)
                    .zip(&members)
                    .filter(|(place, member)| member.tier == tier && is_there(*place))
                    .map(|(i, _)| i)
                    .collect()
            })
            .collect();
        for member in &members {
            member.state.set_slow_start(options.slow_start);
        }
        let weights: Vec<(u32, u32)> = tiers.first().map_or_else(Vec::new, |tier| {
            tier.iter()
                .filter_map(|&index| Some((index, members.get(index as usize)?.weight())))
                .collect()
        });
        let schedule = (options.policy == Policy::WeightedRoundRobin)
            .then(|| Schedule::new(&weights))
            .flatten();
        let alias = (options.policy == Policy::WeightedRandom)
            .then(|| Alias::new(&weights))
            .flatten();
        let hashed = (0..tiers.len())
            .filter_map(|last| {
                let hashed = tiers[..=last].iter().flatten().map(|&index| {
                    let member = &members[index as usize];
                    (index, &*member.identity, member.weight())
                });
                Hashed::new(&options, &hashed.collect::<Vec<_>>())
            })
            .collect();
        Self {
            id: note_change(),
            options,
            members,
            tiers,
            schedule,
            alias,
            hashed,
        }
    }

    /// The members, in the order given.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The options.
    #[must_use]
    pub const fn options(&self) -> &BalanceOptions {
        &self.options
    }

    /// How many members take new attempts at `now`, all of their share or a part.
    #[must_use]
    pub fn in_service(&self, now: Instant) -> usize {
        self.tiers
            .iter()
            .flatten()
            .filter(|index| self.member(**index).state.standing(now).is_usable())
            .count()
    }

    /// Tells this snapshot from every other.
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn tiers(&self) -> &[Vec<u32>] {
        &self.tiers
    }

    pub(crate) fn member(&self, index: u32) -> &Member {
        &self.members[index as usize]
    }
}
