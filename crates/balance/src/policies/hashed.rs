//! What both hash policies share: their tables, one for each group, and what to do when a key's server may not be picked.
//!
//! A table is over all members of its group, also those that are out of service: then a server that goes away for a
//! while moves its own keys only, and gets the same ones back.

use super::maglev::Table;
use super::ring_hash::Ring;
use crate::turn::Turn;
use crate::{BalanceOptions, Policy};

/// A member as a hash policy sees it: its place, what tells it from others, its weight.
pub(crate) type Named<'a> = (u32, &'a str, u32);

/// The table of a policy that hashes.
#[derive(Debug)]
pub(crate) enum Hashed {
    Ring(Ring),
    Maglev(Table),
}

impl Hashed {
    /// The table for these members, if the policy has one.
    pub(crate) fn new(options: &BalanceOptions, members: &[Named<'_>]) -> Option<Self> {
        if members.is_empty() {
            return None;
        }
        match options.policy {
            Policy::RingHash => Some(Self::Ring(Ring::new(members, options.bounded_load))),
            Policy::Maglev => Some(Self::Maglev(Table::new(members, options.maglev_table))),
            Policy::Random
            | Policy::RoundRobin
            | Policy::WeightedRoundRobin
            | Policy::WeightedRandom
            | Policy::LeastRequests
            | Policy::PowerOfTwo
            | Policy::LeastResponseTime
            | Policy::Prequal => None,
        }
    }
}

pub(crate) fn pick(turn: &Turn<'_>) -> u32 {
    let found = match &turn.group.hashed {
        Some(Hashed::Ring(ring)) => ring.find(turn),
        Some(Hashed::Maglev(table)) => table.find(turn),
        None => None,
    };
    found.unwrap_or_else(|| scan(turn))
}

/// Whether the key's server takes it: always, unless the server takes only a part of its share. Told by the key and not
/// by lot, so that a server that comes back gets its keys one after the other and keeps those it has.
pub(crate) fn takes_part(turn: &Turn<'_>, index: u32) -> bool {
    if turn.is_full(index) {
        return false;
    }
    if !turn.uneven {
        return true;
    }
    let share = turn.share(index);
    share >= 1.0 || unit(again(turn.key, u64::from(index))) < share
}

/// Another key made of this one (the finalizer of `SplitMix64`, Steele 2014).
pub(crate) const fn again(key: u64, step: u64) -> u64 {
    let mut z = key.wrapping_add(step.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A number from 0 to below 1.
pub(crate) fn unit(key: u64) -> f64 {
    (key >> 11) as f64 / (1_u64 << 53) as f64
}

/// One of the servers that may be picked, always the same for a key while these are the same.
fn scan(turn: &Turn<'_>) -> u32 {
    let start = (turn.key % turn.list.len().max(1) as u64) as usize;
    let (before, after) = turn.list.split_at(start);
    let mut open = after
        .iter()
        .chain(before)
        .copied()
        .filter(|index| !turn.avoid.contains(index));
    let first = open.next();
    first
        .into_iter()
        .chain(open)
        .find(|&index| takes_part(turn, index))
        .or(first)
        .unwrap_or(turn.list[0])
}
