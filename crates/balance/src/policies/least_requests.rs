//! The server with the fewest attempts in flight for its weight, all compared, ties broken at random.
//!
//! The exact comparison suits pools of up to a hundred servers or so; the power of two choices comes close to it at a
//! cost that does not grow. Workers that see the same counts at the same moment would all pick the same server, were
//! ties not broken at random.

use evenkeel_core::Random;

use crate::turn::Turn;

pub(crate) fn pick(turn: &Turn<'_>, rng: &mut Random) -> u32 {
    let mut best: Option<(u32, Cost)> = None;
    let mut equals = 1;
    for index in turn.open() {
        if !turn.takes_part(index, rng) {
            continue;
        }
        let cost = Cost::of(turn, index);
        match best {
            Some((_, least)) if least.is_below(cost) => {}
            Some((_, least)) if !cost.is_below(least) => {
                equals += 1;
                if rng.below(equals) == 0 {
                    best = Some((index, cost));
                }
            }
            _ => {
                equals = 1;
                best = Some((index, cost));
            }
        }
    }
    best.map_or_else(|| turn.by_share(rng), |(index, _)| index)
}

/// Attempts in flight for a weight, counting the one that is about to begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    attempts: u64,
    weight: u64,
}

impl Cost {
    pub(crate) fn of(turn: &Turn<'_>, index: u32) -> Self {
        let member = turn.member(index);
        Self {
            attempts: u64::from(member.state.in_flight()) + 1,
            weight: u64::from(member.weight()),
        }
    }

    /// Compares the quotients, exactly.
    pub(crate) const fn is_below(self, other: Self) -> bool {
        self.attempts * other.weight < other.attempts * self.weight
    }
}
