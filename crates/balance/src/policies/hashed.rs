//! The server for a key, shared by both hashing policies: the next server on the ring, or the entry of the Maglev
//! table, and the alternative if that server may not be picked or has more than its bounded share of the load.

use crate::candidates::Candidates;
use crate::key::{again, unit};
use crate::tables::{HashTable, MaglevTable, Ring};

/// The number of ring points examined from a key on; then a scan takes over, so that a pick is bounded even if nearly
/// all servers are unavailable.
const STEPS: usize = 4_096;
/// Other places of a table that are tried when a key's server may not be picked.
const TRIES: u64 = 16;

pub(crate) fn pick(candidates: &Candidates<'_>) -> u32 {
    let found = match &candidates.group.hashed {
        Some(HashTable::Ring(ring)) => find_on_ring(ring, candidates),
        Some(HashTable::Maglev(table)) => find_in_table(table, candidates),
        None => None,
    };
    found.unwrap_or_else(|| scan(candidates))
}

/// Whether the key's server takes it: always, unless the server takes only a part of its share. Decided by the key and
/// not at random, so that a returning server gets its keys gradually and keeps those it has.
fn takes_part(candidates: &Candidates<'_>, index: u32) -> bool {
    if candidates.is_full(index) {
        return false;
    }
    if !candidates.uneven {
        return true;
    }
    let share = candidates.share(index);
    share >= 1.0 || unit(again(candidates.key, u64::from(index))) < share
}

/// The first server from the key's place on that may be picked and is not too busy; the first that may be picked if
/// all are too busy; nothing if none was found.
fn find_on_ring(ring: &Ring, candidates: &Candidates<'_>) -> Option<u32> {
    let (before, after) = ring.points.split_at(ring.slot(candidates.key));
    let limit = ring.bound.map(|factor| LoadBound::of(candidates, factor));
    let mut first = None;
    for &(_, index) in after.iter().chain(before).take(STEPS) {
        if !candidates.is_open(index) || !takes_part(candidates, index) {
            continue;
        }
        if limit
            .as_ref()
            .is_none_or(|limit| limit.allows(candidates, index))
        {
            return Some(index);
        }
        first = first.or(Some(index));
    }
    first
}

/// The key's server; if that may not be picked, the server of another key made of it, and so on.
fn find_in_table(table: &MaglevTable, candidates: &Candidates<'_>) -> Option<u32> {
    let first = std::iter::once(candidates.key);
    let more = (0..TRIES).map(|step| again(candidates.key, step));
    first
        .chain(more)
        .map(|key| table.at(key))
        .find(|&index| candidates.is_open(index) && takes_part(candidates, index))
}

/// How many attempts a server may have in flight: `ceil(factor × all × its part of the weights)`, the attempt that is
/// about to begin counted.
#[derive(Debug)]
struct LoadBound {
    each: f64,
}

impl LoadBound {
    fn of(candidates: &Candidates<'_>, factor: f64) -> Self {
        let (mut load, mut weights) = (1_u64, 0_u64);
        for &index in candidates.list {
            let member = candidates.member(index);
            load += u64::from(member.state.in_flight());
            weights += u64::from(member.weight());
        }
        Self::new(load, weights, factor)
    }

    fn new(load: u64, weights: u64, factor: f64) -> Self {
        Self {
            each: factor.max(1.0) * load as f64 / (weights.max(1)) as f64,
        }
    }

    /// The bound for a server of this weight.
    fn bound(&self, weight: u32) -> u64 {
        (self.each * f64::from(weight)).ceil() as u64
    }

    fn allows(&self, candidates: &Candidates<'_>, index: u32) -> bool {
        let member = candidates.member(index);
        u64::from(member.state.in_flight()) < self.bound(member.weight())
    }
}

/// One of the servers that may be picked, always the same for a key while these are the same.
fn scan(candidates: &Candidates<'_>) -> u32 {
    let start = (candidates.key % candidates.list.len().max(1) as u64) as usize;
    let (before, after) = candidates.list.split_at(start);
    let mut open = after
        .iter()
        .chain(before)
        .copied()
        .filter(|index| !candidates.avoid.contains(index));
    let first = open.next();
    first
        .into_iter()
        .chain(open)
        .find(|&index| takes_part(candidates, index))
        .or(first)
        .unwrap_or(candidates.list[0])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Somebody always may: not all can be above their part of the whole.
        #[test]
        fn the_bounds_leave_room_for_one_more(
            loads in prop::collection::vec((0_u32..1_000, 1_u32..100), 1..50),
            factor in 1.0_f64..3.0,
        ) {
            let load = 1 + loads.iter().map(|(load, _)| u64::from(*load)).sum::<u64>();
            let weights = loads.iter().map(|(_, weight)| u64::from(*weight)).sum();
            let limit = LoadBound::new(load, weights, factor);
            prop_assert!(loads.iter().any(|(load, weight)| u64::from(*load) < limit.bound(*weight)));
            for (_, weight) in &loads {
                let exact = factor * load as f64 * f64::from(*weight) / weights as f64;
                prop_assert!(limit.bound(*weight) as f64 >= exact - 1e-6 && (limit.bound(*weight) as f64) < exact + 1.0 + 1e-6);
            }
        }
    }
}
