//! The policies, one file each, and one for both that hash. Each picks one of at least two servers that may be picked.

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

use crate::turn::Turn;
use crate::{Policy, Pool};
use prequal::{Heard, Probes, of_group};
use strides::Strides;

/// Where a worker is in its rounds.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Round robin: the member picked last.
    last: u32,
    /// Smooth weighted round robin: the place in each group's schedule.
    places: Vec<usize>,
    /// Smooth weighted round robin without a schedule: each member's current weight.
    current: Vec<i64>,
    /// Weighted round robin of a group without a schedule: whose turn it is.
    strides: Vec<Strides>,
    /// Prequal: what is remembered of the servers of each group.
    probes: Vec<Probes>,
    /// Prequal: what servers answered.
    pub(crate) heard: Heard,
}

impl Places {
    /// Somewhere in the round, so that workers do not walk in step.
    pub(crate) fn new(pool: &Pool, rng: &mut Random) -> Self {
        let members = pool.members().len();
        Self {
            last: rng.below(members.max(1)) as u32,
            places: pool
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
                pool.groups().iter().map(|_| Probes::default()).collect()
            } else {
                Vec::new()
            },
            heard: Heard::default(),
        }
    }
}

/// The server that the pool's policy picks. `typical` is the pool's latency in seconds, zero if not known.
pub(crate) fn pick(turn: &Turn<'_>, places: &mut Places, typical: f64, rng: &mut Random) -> u32 {
    match turn.pool.options().policy {
        Policy::Random => random::pick(turn, rng),
        Policy::RoundRobin => round_robin::pick(turn, &mut places.last, rng),
        Policy::WeightedRoundRobin => {
            if places.places.len() <= turn.place {
                places.places.resize(turn.place + 1, 0);
            }
            if places.strides.len() <= turn.place {
                places.strides.resize_with(turn.place + 1, Strides::default);
            }
            weighted_round_robin::pick(
                turn,
                (
                    &mut places.places[turn.place],
                    &mut places.strides[turn.place],
                ),
                &mut places.current,
                rng,
            )
        }
        Policy::WeightedRandom => weighted_random::pick(turn, rng),
        Policy::LeastRequests => least_requests::pick(turn, rng),
        Policy::PowerOfTwo => power_of_two::pick(turn, rng),
        Policy::LeastResponseTime => least_response_time::pick(turn, typical, rng),
        Policy::Prequal => match places.heard.pick(turn, rng) {
            Some(index) => index,
            None => of_group(&mut places.probes, turn).pick(turn, typical, rng),
        },
        Policy::RingHash | Policy::Maglev => hashed::pick(turn),
    }
}
