//! Any server, with chances by weight.

use evenkeel_core::Random;

use crate::turn::{Drawn, Turn};

/// Draws before looking at all.
const TRIES: u32 = 8;

pub(crate) fn pick(turn: &Turn<'_>, rng: &mut Random) -> u32 {
    let weight = |index: u32| f64::from(turn.member(index).weight());
    let mut drawn = Drawn::default();
    for _ in 0..TRIES {
        let index = match &turn.group.alias {
            // Draws of members that are out are thrown away, which leaves the others' chances as they should be.
            Some(alias) => alias.draw(rng),
            None => turn.by(rng, &drawn, weight),
        };
        if drawn.has(index) || !turn.is_open(index) {
            continue;
        }
        if turn.takes_part(index, rng) {
            return index;
        }
        drawn.push(index);
    }
    turn.by(rng, &Drawn::default(), |index| {
        weight(index) * turn.share(index)
    })
}
