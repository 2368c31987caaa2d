//! Any server, all with equal chances.

use evenkeel_core::Random;

use crate::turn::Turn;

pub(crate) fn pick(turn: &Turn<'_>, rng: &mut Random) -> u32 {
    turn.one(rng)
}
