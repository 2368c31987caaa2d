//! The server of a key, for both policies that hash: the next one on the ring, or that of a place in the Maglev table; and what
//! to do when it may not be picked, or has more than its bounded part of the load.

use crate::key::{again, unit};
use crate::tables::{Hashed, Ring, Table};
use crate::turn::Turn;

/// Points of a ring looked at from a key's place on; then a scan does, so that a pick has a bound even if nearly all are out.
const STEPS: usize = 4_096;
/// Other places of a table that are tried when a key's server may not be picked.
const TRIES: u64 = 16;

pub(crate) fn pick(turn: &Turn<'_>) -> u32 {
    let found = match &turn.group.hashed {
        Some(Hashed::Ring(ring)) => find_on_ring(ring, turn),
        Some(Hashed::Maglev(table)) => find_in_table(table, turn),
        None => None,
    };
    found.unwrap_or_else(|| scan(turn))
}

/// Whether the key's server takes it: always, unless the server takes only a part of its share. Told by the key and not
/// by lot, so that a server that comes back gets its keys one after the other and keeps those it has.
fn takes_part(turn: &Turn<'_>, index: u32) -> bool {
    if turn.is_full(index) {
        return false;
    }
    if !turn.uneven {
        return true;
    }
    let share = turn.share(index);
    share >= 1.0 || unit(again(turn.key, u64::from(index))) < share
}

/// The first server from the key's place on that may be picked and is not too busy; the first that may be picked if
/// all are too busy; nothing if none was found.
fn find_on_ring(ring: &Ring, turn: &Turn<'_>) -> Option<u32> {
    let (before, after) = ring.points.split_at(ring.place(turn.key));
    let limit = ring.bound.map(|factor| Limit::of(turn, factor));
    let mut first = None;
    for &(_, index) in after.iter().chain(before).take(STEPS) {
        if !turn.is_open(index) || !takes_part(turn, index) {
            continue;
        }
        if limit.as_ref().is_none_or(|limit| limit.allows(turn, index)) {
            return Some(index);
        }
        first = first.or(Some(index));
    }
    first
}

/// The key's server; if that may not be picked, the server of another key made of it, and so on.
fn find_in_table(table: &Table, turn: &Turn<'_>) -> Option<u32> {
    let first = std::iter::once(turn.key);
    let more = (0..TRIES).map(|step| again(turn.key, step));
    first
        .chain(more)
        .map(|key| table.at(key))
        .find(|&index| turn.is_open(index) && takes_part(turn, index))
}

/// How many attempts a server may have in flight: `ceil(factor × all × its part of the weights)`, the attempt that is
/// about to begin counted.
#[derive(Debug)]
struct Limit {
    each: f64,
}

impl Limit {
    fn of(turn: &Turn<'_>, factor: f64) -> Self {
        let (mut load, mut weights) = (1_u64, 0_u64);
        for &index in turn.list {
            let member = turn.member(index);
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

    fn allows(&self, turn: &Turn<'_>, index: u32) -> bool {
        let member = turn.member(index);
        u64::from(member.state.in_flight()) < self.bound(member.weight())
    }
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
            let limit = Limit::new(load, weights, factor);
            prop_assert!(loads.iter().any(|(load, weight)| u64::from(*load) < limit.bound(*weight)));
            for (_, weight) in &loads {
                let exact = factor * load as f64 * f64::from(*weight) / weights as f64;
                prop_assert!(limit.bound(*weight) as f64 >= exact - 1e-6 && (limit.bound(*weight) as f64) < exact + 1.0 + 1e-6);
            }
        }
    }
}
