//! The policies, one file each, and one for both hashing policies. Each picks one of at least two candidates.

mod random;
mod round_robin;
mod weighted_round_robin;
mod strides;
mod weighted_random;
mod least_requests;
mod power_of_two;
mod loaded;
mod least_response_time;
mod prequal;
mod hashed;

use evenkeel_core::Random;

use crate::candidates::Candidates;
use crate::{Policy, Pool};
use prequal::{ProbePool, ProbePools, of_group};
use strides::Strides;

/// A worker's state of all policies.
#[derive(Debug, Default)]
pub(crate) struct PolicyState {
    /// Round robin: the member picked last.
    last: u32,
    /// Smooth weighted round robin: the place in each group's schedule.
    turns: Vec<usize>,
    /// Smooth weighted round robin without a schedule: each member's current weight.
    current: Vec<i64>,
    /// Weighted round robin of a group without a schedule: whose turn it is.
    strides: Vec<Strides>,
    /// Prequal: what is remembered of the servers of each group.
    probes: Vec<ProbePool>,
    /// Prequal: what servers answered.
    pub(crate) heard: ProbePools,
}

impl PolicyState {
    /// Somewhere in the round, so that workers do not walk in step.
    pub(crate) fn new(pool: &Pool, rng: &mut Random) -> Self {
        let members = pool.members().len();
        Self {
            last: rng.below(members.max(1)) as u32,
            turns: pool
                .groups()
                .iter()
                .map(|group| {
                    group
                        .schedule
                        .as_ref()
                        .map_or(0, |order| rng.below(order.len()))
                })
                .collect(),
            current: if pool.options().policy == Policy::WeightedRoundRobin {
                vec![0; members]
            } else {
                Vec::new()
            },
            strides: pool.groups().iter().map(|_| Strides::default()).collect(),
            probes: if pool.options().policy == Policy::Prequal {
                pool.groups().iter().map(|_| ProbePool::default()).collect()
            } else {
                Vec::new()
            },
            heard: ProbePools::default(),
        }
    }
}

/// The server that the pool's policy picks. `typical` is the pool's latency in seconds, zero if not known.
pub(crate) fn pick(
    candidates: &Candidates<'_>,
    state: &mut PolicyState,
    typical: f64,
    rng: &mut Random,
) -> u32 {
    match candidates.pool.options().policy {
        Policy::Random => random::pick(candidates, rng),
        Policy::RoundRobin => round_robin::pick(candidates, &mut state.last, rng),
        Policy::WeightedRoundRobin => {
            if state.turns.len() <= candidates.slot {
                state.turns.resize(candidates.slot + 1, 0);
            }
            if state.strides.len() <= candidates.slot {
                state
                    .strides
                    .resize_with(candidates.slot + 1, Strides::default);
            }
            weighted_round_robin::pick(
                candidates,
                (
                    &mut state.turns[candidates.slot],
                    &mut state.strides[candidates.slot],
                ),
                &mut state.current,
                rng,
            )
        }
        Policy::WeightedRandom => weighted_random::pick(candidates, rng),
        Policy::LeastRequests => least_requests::pick(candidates, rng),
        Policy::PowerOfTwo => power_of_two::pick(candidates, rng),
        Policy::LeastResponseTime => least_response_time::pick(candidates, typical, rng),
        Policy::Prequal => match state.heard.pick(candidates, rng) {
            Some(index) => index,
            None => of_group(&mut state.probes, candidates).pick(candidates, typical, rng),
        },
        Policy::RingHash | Policy::Maglev => hashed::pick(candidates),
    }
}
