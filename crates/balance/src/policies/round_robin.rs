//! Round robin, in the order of the list.
//!
//! The cursor is a member and not a count, and the round covers only candidates: the successor of an ejected server
//! does not get that server's turns in addition to its own.

use evenkeel_core::Random;

use crate::candidates::Candidates;

pub(crate) fn pick(candidates: &Candidates<'_>, last: &mut u32, rng: &mut Random) -> u32 {
    let start = candidates.list.partition_point(|index| *index <= *last);
    let (before, after) = candidates.list.split_at(start);
    let mut round = after
        .iter()
        .chain(before)
        .copied()
        .filter(|index| !candidates.avoid.contains(index));
    let index = round
        .find(|&index| candidates.takes_part(index, rng))
        .unwrap_or_else(|| candidates.by_share(rng));
    *last = index;
    index
}
