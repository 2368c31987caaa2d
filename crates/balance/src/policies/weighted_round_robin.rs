//! Smooth weighted round robin, as in nginx: each server as often as its weight says, spread evenly.
//!
//! Plain weighted round robin turns {5, 1, 1} into a a a a a b c, which sends five consecutive requests to one server.
//! The smooth variant yields a a b a c a a. Each server's current weight grows by its weight; the server with the
//! largest current weight is picked and pays the sum. The sequence repeats, so a group computes it once. The turns of
//! unavailable members are skipped, which leaves the others' shares correct. Where the sequence would be too long,
//! stride scheduling is used; where nearly all members are unavailable, the sequence is computed on the fly.

use evenkeel_core::Random;

use super::strides::Strides;
use crate::candidates::Candidates;

/// Turns in a row that servers which take only a part of their share may pass over.
const PASSES: u32 = 16;
/// Turns in a row of members that may not be picked, after which the walk is online.
const SKIPS: u32 = 64;

pub(crate) fn pick(
    candidates: &Candidates<'_>,
    (slot, strides): (&mut usize, &mut Strides),
    current: &mut Vec<i64>,
    rng: &mut Random,
) -> u32 {
    let next = match &candidates.group.schedule {
        Some(schedule) => in_turn(candidates, rng, || schedule.next(slot)),
        None => {
            strides.renew(candidates.pool, candidates.group, rng);
            in_turn(candidates, rng, || strides.next(candidates.pool))
        }
    };
    next.unwrap_or_else(|| online(candidates, current, rng))
}

/// The next one whose turn it is and who may be picked; nothing if too many in a row may not.
fn in_turn(
    candidates: &Candidates<'_>,
    rng: &mut Random,
    mut next: impl FnMut() -> Option<u32>,
) -> Option<u32> {
    let all =
        candidates.avoid.is_empty() && candidates.list.len() == candidates.group.members.len();
    let (mut skips, mut passes) = (0, 0);
    while skips < SKIPS && passes < PASSES {
        let index = next()?;
        if !all && !candidates.is_open(index) {
            skips += 1;
        } else if candidates.takes_part(index, rng) {
            return Some(index);
        } else {
            passes += 1;
        }
    }
    (skips < SKIPS).then(|| candidates.by_share(rng))
}

fn online(candidates: &Candidates<'_>, current: &mut Vec<i64>, rng: &mut Random) -> u32 {
    if current.len() < candidates.pool.members().len() {
        current.resize(candidates.pool.members().len(), 0);
    }
    for _ in 0..PASSES {
        let index = step(candidates, current);
        if candidates.takes_part(index, rng) {
            return index;
        }
    }
    candidates.by_share(rng)
}

fn step(candidates: &Candidates<'_>, current: &mut [i64]) -> u32 {
    let mut total = 0;
    let mut best: Option<u32> = None;
    for index in candidates.open() {
        let weight = i64::from(candidates.member(index).weight());
        total += weight;
        current[index as usize] += weight;
        if best.is_none_or(|best| current[index as usize] > current[best as usize]) {
            best = Some(index);
        }
    }
    let best = best.unwrap_or(candidates.list[0]);
    current[best as usize] -= total;
    best
}
