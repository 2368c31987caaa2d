//! The better of two random servers by attempts in flight relative to their weights (Mitzenmacher 1996).
//!
//! Two choices shorten the longest queue exponentially, a third adds little. Unlike the exact minimum, which all
//! workers would pick at once, random pairs do not cause herding.

use evenkeel_core::Random;

use super::loaded::{Margin, in_flight};
use crate::candidates::Candidates;

pub(crate) fn pick(candidates: &Candidates<'_>, rng: &mut Random) -> u32 {
    let (first, second) = candidates.two(rng);
    let Some(second) = second else { return first };
    let overflows_to_next = if candidates.by_weight() {
        Margin::draw(rng).prefers(candidates, second, first)
    } else {
        in_flight(candidates, second) < in_flight(candidates, first)
    };
    if overflows_to_next { second } else { first }
}
