//! One after the other, each as often as its weight says and spread evenly: smooth weighted round robin, from nginx.
//!
//! Plain weighted round robin gives {5, 1, 1} as a a a a a b c, which is five requests in a row for one server. The smooth
//! one gives a a b a c a a. Each server's current weight grows by its weight, the largest one is picked and pays the sum.
//! The sequence repeats, so a group computes it once. The turns of members that are out are left out, which leaves the
//! others' shares as they should be. Where the sequence would be too long the walk is by strides, and where nearly all are out
//! it is online.

use evenkeel_core::Random;

use super::strides::Strides;
use crate::turn::Turn;

/// Turns in a row that servers which take only a part of their share may pass over.
const PASSES: u32 = 16;
/// Turns in a row of members that may not be picked, after which the walk is online.
const SKIPS: u32 = 64;

pub(crate) fn pick(
    turn: &Turn<'_>,
    (place, strides): (&mut usize, &mut Strides),
    current: &mut Vec<i64>,
    rng: &mut Random,
) -> u32 {
    let next = match &turn.group.schedule {
        Some(schedule) => in_turn(turn, rng, || schedule.next(place)),
        None => {
            strides.renew(turn.pool, turn.group, rng);
            in_turn(turn, rng, || strides.next(turn.pool))
        }
    };
    next.unwrap_or_else(|| online(turn, current, rng))
}

/// The next one whose turn it is and who may be picked; nothing if too many in a row may not.
fn in_turn(
    turn: &Turn<'_>,
    rng: &mut Random,
    mut next: impl FnMut() -> Option<u32>,
) -> Option<u32> {
    let all = turn.avoid.is_empty() && turn.list.len() == turn.group.members.len();
    let (mut skips, mut passes) = (0, 0);
    while skips < SKIPS && passes < PASSES {
        let index = next()?;
        if !all && !turn.is_open(index) {
            skips += 1;
        } else if turn.takes_part(index, rng) {
            return Some(index);
        } else {
            passes += 1;
        }
    }
    (skips < SKIPS).then(|| turn.by_share(rng))
}

fn online(turn: &Turn<'_>, current: &mut Vec<i64>, rng: &mut Random) -> u32 {
    if current.len() < turn.pool.members().len() {
        current.resize(turn.pool.members().len(), 0);
    }
    for _ in 0..PASSES {
        let index = step(turn, current);
        if turn.takes_part(index, rng) {
            return index;
        }
    }
    turn.by_share(rng)
}

fn step(turn: &Turn<'_>, current: &mut [i64]) -> u32 {
    let mut total = 0;
    let mut best: Option<u32> = None;
    for index in turn.open() {
        let weight = i64::from(turn.member(index).weight());
        total += weight;
        current[index as usize] += weight;
        if best.is_none_or(|best| current[index as usize] > current[best as usize]) {
            best = Some(index);
        }
    }
    let best = best.unwrap_or(turn.list[0]);
    current[best as usize] -= total;
    best
}
