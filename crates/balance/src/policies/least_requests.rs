//! The server with the fewest attempts in flight relative to its weight, over all servers, ties broken at random.
//!
//! The exact minimum suits pools of up to about a hundred servers; power of two choices comes close to it at a constant
//! cost. Workers that see the same counts at the same moment would all pick the same server if ties were not broken at
//! random. With different weights, a server is drawn by weight and gives way only to a less loaded one
//! ([`super::loaded`]): the exact minimum would favour heavy servers at low load.

use std::cmp::Ordering;

use evenkeel_core::Random;

use super::loaded::{Margin, in_flight, load, weight};
use crate::candidates::{Candidates, DrawnMembers};

pub(crate) fn pick(candidates: &Candidates<'_>, rng: &mut Random) -> u32 {
    if !candidates.by_weight() {
        let least = least(candidates, rng, |_| true, |_| 1.0, in_flight);
        return least.unwrap_or_else(|| candidates.by_share(rng));
    }
    let mut drawn = DrawnMembers::default();
    let Some(first) = candidates.draw(&mut drawn, rng) else {
        let least = least(
            candidates,
            rng,
            |_| true,
            |index| weight(candidates, index),
            load,
        );
        return least.unwrap_or_else(|| candidates.by_share(rng));
    };
    let margin = Margin::draw(rng);
    let better = |index| margin.prefers(candidates, index, first);
    least(
        candidates,
        rng,
        better,
        |index| weight(candidates, index),
        load,
    )
    .unwrap_or(first)
}

/// Of those that take part and for which `may` holds, the one with the least `cost`; of equal ones each by its `chance`.
fn least(
    candidates: &Candidates<'_>,
    rng: &mut Random,
    may: impl Fn(u32) -> bool,
    chance: impl Fn(u32) -> f64,
    cost: impl Fn(&Candidates<'_>, u32) -> f64,
) -> Option<u32> {
    let mut best: Option<(u32, f64)> = None;
    let mut equals = 0.0;
    for index in candidates.open() {
        if !may(index) || !candidates.takes_part(index, rng) {
            continue;
        }
        let cost = cost(candidates, index);
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
