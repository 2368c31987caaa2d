//! The server with the fewest attempts in flight for its weight, all compared, ties broken at random.
//!
//! The exact comparison suits pools of up to a hundred servers or so; the power of two choices comes close to it at a
//! cost that does not grow. Workers that see the same counts at the same moment would all pick the same server, were
//! ties not broken at random. Where weights differ, a server is drawn by weight and only a less loaded one goes before it
//! ([`super::loaded`]): the exact minimum would favour heavy servers while there is little load.

use std::cmp::Ordering;

use evenkeel_core::Random;

use super::loaded::{Margin, in_flight, load, weight};
use crate::turn::{Drawn, Turn};

pub(crate) fn pick(turn: &Turn<'_>, rng: &mut Random) -> u32 {
    if !turn.by_weight() {
        let least = least(turn, rng, |_| true, |_| 1.0, in_flight);
        return least.unwrap_or_else(|| turn.by_share(rng));
    }
    let mut drawn = Drawn::default();
    let Some(first) = turn.draw(&mut drawn, rng) else {
        let least = least(turn, rng, |_| true, |index| weight(turn, index), load);
        return least.unwrap_or_else(|| turn.by_share(rng));
    };
    let margin = Margin::draw(rng);
    let better = |index| margin.prefers(turn, index, first);
    least(turn, rng, better, |index| weight(turn, index), load).unwrap_or(first)
}

/// Of those that take part and for which `may` holds, the one with the least `cost`; of equal ones each by its `chance`.
fn least(
    turn: &Turn<'_>,
    rng: &mut Random,
    may: impl Fn(u32) -> bool,
    chance: impl Fn(u32) -> f64,
    cost: impl Fn(&Turn<'_>, u32) -> f64,
) -> Option<u32> {
    let mut best: Option<(u32, f64)> = None;
    let mut equals = 0.0;
    for index in turn.open() {
        if !may(index) || !turn.takes_part(index, rng) {
            continue;
        }
        let cost = cost(turn, index);
        let order = best.map_or(Ordering::Less, |(_, least)| cost.total_cmp(&least));
        match order {
            Ordering::Greater => continue,
            Ordering::Equal => equals += chance(index),
            Ordering::Less => equals = chance(index),
        }
        if order == Ordering::Less || rng.unit() * equals < chance(index) {
            best = Some((index, cost));
        }
    }
    best.map(|(index, _)| index)
}
