//! One after the other, each as often as its weight says and spread evenly: smooth weighted round robin, from nginx.
//!
//! Plain weighted round robin gives {5, 1, 1} as a a a a a b c, which is five requests in a row for one server. The smooth
//! one gives a a b a c a a. Each server's current weight grows by its weight, the largest one is picked and pays the sum.
//! The sequence repeats, so a group computes it once. The turns of members that are out are left out, which leaves the
//! others' shares as they should be. The walk is online where the sequence would be too long or too many are out.

use evenkeel_core::Random;

use crate::turn::Turn;

/// Longer sequences are not computed in advance.
const LONGEST: u64 = 8_192;
/// Neither are those that take more comparisons than this, some 50 ms of work.
const DEAREST: u64 = 20_000_000;
/// Turns in a row that servers which take only a part of their share may pass over.
const PASSES: u32 = 16;
/// Turns in a row of members that may not be picked, after which the walk is online.
const SKIPS: u32 = 64;

/// The sequence of a group.
#[derive(Debug)]
pub(crate) struct Schedule {
    order: Vec<u32>,
}

impl Schedule {
    /// The sequence for members with weights, unless it is empty or too long.
    pub(crate) fn new(weights: &[(u32, u32)]) -> Option<Self> {
        let divisor = weights
            .iter()
            .fold(0, |divisor, &(_, weight)| gcd(divisor, weight))
            .max(1);
        let sum: u64 = weights
            .iter()
            .map(|&(_, weight)| u64::from(weight / divisor))
            .sum();
        if sum == weights.len() as u64 {
            // All alike: simply one after the other.
            let order = weights.iter().map(|&(index, _)| index).collect();
            return Some(Self { order }).filter(|schedule| schedule.len() > 0);
        }
        if sum > LONGEST || sum * weights.len() as u64 > DEAREST {
            return None;
        }
        let mut current = vec![0_i64; weights.len()];
        let step = |_| {
            let mut best = 0;
            for (place, &(_, weight)) in weights.iter().enumerate() {
                current[place] += i64::from(weight / divisor);
                if current[place] > current[best] {
                    best = place;
                }
            }
            current[best] -= sum as i64;
            weights[best].0
        };
        Some(Self {
            order: (0..sum).map(step).collect(),
        })
    }

    pub(crate) const fn len(&self) -> usize {
        self.order.len()
    }
}

pub(crate) fn pick(
    turn: &Turn<'_>,
    place: &mut usize,
    current: &mut Vec<i64>,
    rng: &mut Random,
) -> u32 {
    let scheduled = turn
        .group
        .schedule
        .as_ref()
        .and_then(|schedule| scheduled(turn, schedule, place, rng));
    scheduled.unwrap_or_else(|| online(turn, current, rng))
}

fn scheduled(
    turn: &Turn<'_>,
    schedule: &Schedule,
    place: &mut usize,
    rng: &mut Random,
) -> Option<u32> {
    let all = turn.avoid.is_empty() && turn.list.len() == turn.group.members.len();
    let (mut skips, mut passes) = (0, 0);
    while skips < SKIPS && passes < PASSES {
        if *place >= schedule.len() {
            *place = 0;
        }
        let index = schedule.order[*place];
        *place += 1;
        if !all && !turn.is_open(index) {
            skips += 1;
        } else if turn.takes_part(index, rng) {
            return Some(index);
        } else {
            passes += 1;
        }
    }
    (skips < SKIPS).then(|| turn.by_share(rng))
}

fn online(turn: &Turn<'_>, current: &mut Vec<i64>, rng: &mut Random) -> u32 {
    if current.len() < turn.pool.members().len() {
        current.resize(turn.pool.members().len(), 0);
    }
    for _ in 0..PASSES {
        let index = step(turn, current);
        if turn.takes_part(index, rng) {
            return index;
        }
    }
    turn.by_share(rng)
}

fn step(turn: &Turn<'_>, current: &mut [i64]) -> u32 {
    let mut total = 0;
    let mut best: Option<u32> = None;
    for index in turn.open() {
        let weight = i64::from(turn.member(index).weight());
        total += weight;
        current[index as usize] += weight;
        if best.is_none_or(|best| current[index as usize] > current[best as usize]) {
            best = Some(index);
        }
    }
    let best = best.unwrap_or(turn.list[0]);
    current[best as usize] -= total;
    best
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
