//! Shares follow weights with few requests at a time as well as with many, for every policy that uses weights.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use common::{ALL, at, weighted};
use evenkeel_balance::{Picker, Policy, Pool};
use evenkeel_core::{Outcome, Random};

const PICKS: usize = 20_000;

/// The share of attempts per server, for a client that always has `concurrency` of them in flight. All servers are
/// equal: an attempt takes 9 to 11 ms.
fn parts(pool: &Pool, concurrency: usize) -> Vec<f64> {
    let mut picker = Picker::new(pool, 7);
    let mut random = Random::seeded(11);
    let mut ends: BinaryHeap<Reverse<(u64, u32, u64)>> = BinaryHeap::new();
    let mut counts = vec![0_u32; pool.members().len()];
    let mut micros = 0;
    for n in 0..PICKS as u64 {
        if ends.len() >= concurrency {
            let Reverse((end, index, took)) = ends.pop().unwrap();
            micros = end;
            let now = at(0) + Duration::from_micros(micros);
            let state = &pool.members()[index as usize].state;
            let took = Duration::from_micros(took);
            state.end(now, Outcome::Answered(200), took, picker.typical_latency());
        }
        let now = at(0) + Duration::from_micros(micros);
        // Another key for each, for policies that hash.
        let key = Some(n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let index = picker.pick_for(pool, now, &[], key).unwrap().index;
        pool.members()[index as usize].state.begin();
        counts[index as usize] += 1;
        let took = 9_000 + random.below(2_000) as u64;
        ends.push(Reverse((micros + took, index, took)));
    }
    let part = |count| f64::from(count) / PICKS as f64;
    counts.into_iter().map(part).collect()
}

#[test]
fn shares_honour_weights_at_any_concurrency() {
    let mut wrong = Vec::new();
    let heeding = ALL.into_iter().filter(|policy| policy.uses_weights());
    for policy in heeding {
        // Prequal uses samples that are a few picks old.
        let within = if policy == Policy::Prequal { 0.1 } else { 0.06 };
        for weights in [&[2, 1][..], &[1, 4], &[3, 1, 1], &[5, 5, 1, 1, 1, 1]] {
            let sum = f64::from(weights.iter().sum::<u32>());
            for concurrency in [1, 2, 3, 5, 16, 100] {
                let found = parts(&weighted(policy, weights), concurrency);
                for (part, weight) in found.iter().zip(weights) {
                    let share = f64::from(*weight) / sum;
                    if (part - share).abs() > within {
                        wrong.push(format!(
                            "{policy:?} {weights:?}, {concurrency} at a time: {found:.3?}"
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Weights are shares among equals, and no order to use a slow server.
#[test]
fn a_slow_server_gets_less_than_its_weight() {
    let pool = weighted(Policy::LeastResponseTime, &[2, 1]);
    let mut picker = Picker::new(&pool, 3);
    let mut counts = [0, 0];
    for n in 0..2_000 {
        let now = at(n * 10);
        let index = picker.pick(&pool, now, &[]).unwrap().index;
        let state = &pool.members()[index as usize].state;
        state.begin();
        let took = Duration::from_millis([50, 10][index as usize]);
        state.end(now, Outcome::Answered(200), took, picker.typical_latency());
        counts[index as usize] += 1;
    }
    assert!(counts[0] < 400, "{counts:?}");
}
