//! The policies, one file each. Each picks one of at least two servers that may be picked.

mod random;
mod round_robin;
mod weighted_round_robin;
mod weighted_random;
mod least_requests;
mod power_of_two;
mod least_response_time;
mod hashed;
mod ring_hash;
mod maglev;

pub(crate) use hashed::Hashed;
pub(crate) use weighted_random::Alias;
pub(crate) use weighted_round_robin::Schedule;

use evenkeel_core::Random;

use crate::turn::Turn;
use crate::{Policy, Pool};

/// Where a worker is in its rounds.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Round robin: the member picked last.
    last: u32,
    /// Smooth weighted round robin: the place in the schedule.
    place: usize,
    /// Smooth weighted round robin without a schedule: each member's current weight.
    current: Vec<i64>,
}

impl Places {
    /// Somewhere in the round, so that workers do not walk in step.
    pub(crate) fn new(pool: &Pool, rng: &mut Random) -> Self {
        let members = pool.members().len();
        Self {
            last: rng.below(members.max(1)) as u32,
            place: pool
                .schedule
                .as_ref()
                .map_or(0, |schedule| rng.below(schedule.len())),
            current: if pool.options().policy == Policy::WeightedRoundRobin {
                vec![0; members]
            } else {
                Vec::new()
            },
        }
    }
}

/// The server that the pool's policy picks. `typical` is the pool's latency in seconds, zero if not known.
pub(crate) fn pick(turn: &Turn<'_>, places: &mut Places, typical: f64, rng: &mut Random) -> u32 {
    match turn.pool.options().policy {
        Policy::Random => random::pick(turn, rng),
        Policy::RoundRobin => round_robin::pick(turn, &mut places.last, rng),
        Policy::WeightedRoundRobin => {
            weighted_round_robin::pick(turn, &mut places.place, &mut places.current, rng)
        }
        Policy::WeightedRandom => weighted_random::pick(turn, rng),
        Policy::LeastRequests => least_requests::pick(turn, rng),
        Policy::PowerOfTwo => power_of_two::pick(turn, rng),
        Policy::LeastResponseTime => least_response_time::pick(turn, typical, rng),
        Policy::RingHash | Policy::Maglev => hashed::pick(turn),
    }
}
