//! Which of two servers is less loaded, where their weights differ.
//!
//! Servers are drawn by weight, so a comparison must not favour the heavy one again: it only corrects the draw. Attempts in flight for
//! the weight are compared without the one that is about to begin; a server that is idle is then as good as any other idle one, and the
//! draw decides. With the attempt counted, one server of weight 2 beside one of weight 1 would get every request of a client that
//! makes one at a time.
//!
//! The margin is random. Let one of two servers have an attempt in flight, which happens in proportion to its weight, and be drawn again,
//! which does too: these cases are as the squares of the weights. If both gave way with equal chances, the heavy one would lose as many
//! attempts as the light one wins, times the square. A margin below x with the chance x² makes up for exactly that, so shares are those of
//! the weights with few attempts in flight as with many.

use evenkeel_core::Random;

use crate::turn::Turn;

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
    pub(crate) fn prefers(self, turn: &Turn<'_>, other: u32, drawn: u32) -> bool {
        let busy = in_flight(turn, drawn);
        busy > 0.0
            && (in_flight(turn, other) + self.0) * weight(turn, drawn) < busy * weight(turn, other)
    }
}

/// Attempts in flight for the weight.
pub(crate) fn load(turn: &Turn<'_>, index: u32) -> f64 {
    in_flight(turn, index) / weight(turn, index)
}

pub(crate) fn in_flight(turn: &Turn<'_>, index: u32) -> f64 {
    f64::from(turn.member(index).state.in_flight())
}

pub(crate) fn weight(turn: &Turn<'_>, index: u32) -> f64 {
    f64::from(turn.member(index).weight())
}
