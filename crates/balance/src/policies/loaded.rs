//! Which of two servers is less loaded, when their weights differ.
//!
//! Servers are drawn by weight, so a comparison must not favour the heavier one again: it only corrects the draw.
//! Attempts in flight relative to the weight are compared without the attempt that is about to begin. An idle server is
//! then as good as any other idle one, and the draw decides. If the new attempt were counted, a server of weight 2 next
//! to one of weight 1 would get every request of a client that sends one request at a time.
//!
//! The margin is random. Suppose that one of two servers has an attempt in flight, which happens in proportion to its
//! weight, and is drawn again, which does too: the probabilities of these cases are as the squares of the weights. If
//! both gave way with equal probability, the heavy server would lose as many attempts as the light one wins, times that
//! square. A margin below x with the probability x² compensates for exactly that, so that shares match the weights with
//! few attempts in flight as well as with many.

use evenkeel_core::Random;

use crate::candidates::Candidates;

/// Attempts in flight by which the server that was drawn must be ahead, 0 to 1; below x with the chance x².
#[derive(Debug, Clone, Copy)]
pub(crate) struct Margin(f64);

impl Margin {
    pub(crate) fn draw(rng: &mut Random) -> Self {
        Self(rng.unit().max(rng.unit()))
    }

    pub(crate) const fn attempts(self) -> f64 {
        self.0
    }

    /// Whether the attempt goes to `other` instead of to `drawn`.
    pub(crate) fn prefers(self, candidates: &Candidates<'_>, other: u32, drawn: u32) -> bool {
        let busy = in_flight(candidates, drawn);
        busy > 0.0
            && (in_flight(candidates, other) + self.0) * weight(candidates, drawn)
                < busy * weight(candidates, other)
    }
}

/// Attempts in flight for the weight.
pub(crate) fn load(candidates: &Candidates<'_>, index: u32) -> f64 {
    in_flight(candidates, index) / weight(candidates, index)
}

pub(crate) fn in_flight(candidates: &Candidates<'_>, index: u32) -> f64 {
    f64::from(candidates.member(index).state.in_flight())
}

pub(crate) fn weight(candidates: &Candidates<'_>, index: u32) -> f64 {
    f64::from(candidates.member(index).weight())
}
