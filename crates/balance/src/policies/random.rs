//! Uniformly random.

use evenkeel_core::Random;

use crate::candidates::Candidates;

pub(crate) fn pick(candidates: &Candidates<'_>, rng: &mut Random) -> u32 {
    candidates.one(rng)
}
