//! One after the other, in the order of the list.
//!
//! The cursor is a member and not a count, and the round goes over those that may be picked: the successor of an ejected
//! server does not get its turns on top of its own.

use evenkeel_core::Random;

use crate::turn::Turn;

pub(crate) fn pick(turn: &Turn<'_>, last: &mut u32, rng: &mut Random) -> u32 {
    let start = turn.list.partition_point(|index| *index <= *last);
    let (before, after) = turn.list.split_at(start);
    let mut round = after
        .iter()
        .chain(before)
        .copied()
        .filter(|index| !turn.avoid.contains(index));
    let index = round
        .find(|&index| turn.takes_part(index, rng))
        .unwrap_or_else(|| turn.by_share(rng));
    *last = index;
    index
}
