//! Random, with probabilities proportional to the weights.

use evenkeel_core::Random;

use crate::candidates::{Candidates, DrawnMembers};

/// Draws before looking at all.
const TRIES: u32 = 8;

pub(crate) fn pick(candidates: &Candidates<'_>, rng: &mut Random) -> u32 {
    let weight = |index: u32| f64::from(candidates.member(index).weight());
    let mut drawn = DrawnMembers::default();
    for _ in 0..TRIES {
        let index = match &candidates.group.alias {
            // Draws of members that are out are thrown away, which leaves the others' chances as they should be.
            Some(alias) => alias.draw(rng),
            None => candidates.by(rng, &drawn, weight),
        };
        if drawn.has(index) || !candidates.is_open(index) {
            continue;
        }
        if candidates.takes_part(index, rng) {
            return index;
        }
        drawn.push(index);
    }
    candidates.by(rng, &DrawnMembers::default(), |index| {
        weight(index) * candidates.share(index)
    })
}
