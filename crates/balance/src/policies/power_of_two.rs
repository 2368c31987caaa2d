//! The better of two random servers by attempts in flight for their weight (Mitzenmacher 1996).
//!
//! Two looks shorten the longest queue exponentially, a third adds little; and unlike the exact minimum, which all
//! workers would chase at once, random pairs do not herd.

use evenkeel_core::Random;

use super::loaded::{Margin, in_flight};
use crate::turn::Turn;

pub(crate) fn pick(turn: &Turn<'_>, rng: &mut Random) -> u32 {
    let (first, second) = turn.two(rng);
    let Some(second) = second else { return first };
    let goes_to_second = if turn.by_weight() {
        Margin::draw(rng).prefers(turn, second, first)
    } else {
        in_flight(turn, second) < in_flight(turn, first)
    };
    if goes_to_second { second } else { first }
}
