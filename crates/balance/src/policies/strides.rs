//! Weighted round robin where the sequence would be too long to precompute: stride scheduling (Waldspurger and Weihl
//! 1995; earliest deadline first in Envoy and gRPC). Each server has its next turn in virtual time, 1 / weight apart,
//! and the top of a heap has the earliest. Each pick costs one heap operation, whatever the weights are.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use evenkeel_core::Random;

use crate::group::Group;
use crate::pool::Pool;

/// The virtual time between two turns of a server of weight 1.
const STRIDE: u64 = 1 << 40;

/// The next turns of a group's servers, as one worker sees them.
#[derive(Debug, Default)]
pub(crate) struct Strides {
    pool: u64,
    turns: BinaryHeap<Reverse<(u64, u32)>>,
}

impl Strides {
    /// Makes the turns of another pool, each server somewhere in its stride, so that workers do not walk in step.
    pub(crate) fn renew(&mut self, pool: &Pool, group: &Group, rng: &mut Random) {
        if self.pool == pool.id() {
            return;
        }
        self.pool = pool.id();
        let first = |&index: &u32| {
            let stride = STRIDE / u64::from(pool.member(index).weight());
            Reverse(((rng.unit() * stride as f64) as u64, index))
        };
        self.turns = group.members.iter().map(first).collect();
    }

    /// The member whose turn it is.
    pub(crate) fn next(&mut self, pool: &Pool) -> Option<u32> {
        let mut first = self.turns.peek_mut()?;
        let Reverse((at, index)) = *first;
        let stride = STRIDE / u64::from(pool.member(index).weight());
        // It lasts for some 16 million turns of the lightest server; a wrap would give one of them a turn too early.
        *first = Reverse((at.wrapping_add(stride), index));
        Some(index)
    }
}
