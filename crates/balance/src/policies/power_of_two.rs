//! The better of two random servers by attempts in flight for their weight (Mitzenmacher 1996).
//!
//! Two looks shorten the longest queue exponentially, a third adds little; and unlike the exact minimum, which all
//! workers would chase at once, random pairs do not herd.

use evenkeel_core::Random;

use super::least_requests::Cost;
use crate::turn::Turn;

pub(crate) fn pick(turn: &Turn<'_>, rng: &mut Random) -> u32 {
    match turn.two(rng) {
        (first, Some(second)) if Cost::of(turn, second).is_below(Cost::of(turn, first)) => second,
        (first, _) => first,
    }
}
