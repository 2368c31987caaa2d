//! The distribution of picks for every policy: with 1, 2, 3, 10 and 1,000 servers, with weights 1 and 100, and while
//! servers come and go. Fixed seeds; bounds from the standard deviation of the draws, or from the policy's guarantee.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::collections::VecDeque;

use common::*;
use evenkeel_balance::{Member, Picker, Policy, Pool};
use evenkeel_core::{EjectionReason, Instant, Outcome};

const SIZES: [usize; 5] = [1, 2, 3, 10, 1_000];
/// What each attempt takes, on every server.
const TOOK: u64 = 10;

/// A simulation in which attempts end in the order in which they began, with a constant number in flight.
struct World {
    picker: Picker,
    in_flight: VecDeque<u32>,
    most: usize,
    picks: u64,
    /// Picks in a millisecond, so that an attempt takes [`TOOK`].
    rate: u64,
    counts: Vec<u64>,
}

impl World {
    fn new(pool: &Pool, most: usize, seed: u64) -> Self {
        Self {
            picker: Picker::new(pool, seed),
            in_flight: VecDeque::new(),
            most,
            picks: 0,
            rate: (most as u64 / TOOK).max(1),
            counts: vec![0; pool.members().len()],
        }
    }

    fn run(&mut self, pool: &Pool, picks: usize) {
        for _ in 0..picks {
            self.picks += 1;
            let now: Instant = at(1 + self.picks / self.rate);
            let key = evenkeel_balance::key(&self.picks.to_le_bytes());
            let pick = self.picker.pick_for(pool, now, &[], Some(key)).unwrap();
            pool.members()[pick.index as usize].state.begin();
            self.in_flight.push_back(pick.index);
            self.counts[pick.index as usize] += 1;
            if self.in_flight.len() > self.most
                && let Some(first) = self.in_flight.pop_front()
            {
                let state = &pool.members()[first as usize].state;
                let took = std::time::Duration::from_millis(TOOK);
                state.end(
                    now,
                    Outcome::Answered(200),
                    took,
                    self.picker.typical_latency(),
                );
            }
        }
    }

    /// Each server's part of the picks since the last look.
    fn parts(&mut self) -> Vec<f64> {
        let sum: u64 = self.counts.iter().sum();
        let parts = self.counts.iter().map(|&count| count as f64 / sum as f64);
        let parts = parts.collect();
        self.counts.iter_mut().for_each(|count| *count = 0);
        parts
    }
}

/// By how much a part may differ from `expected`, as a part of it, after `picks`.
fn bound(policy: Policy, expected: f64, picks: usize) -> f64 {
    let deviation = (1.0 / (expected * picks as f64)).sqrt();
    match policy {
        // In turn, except for turns in progress.
        Policy::RoundRobin | Policy::WeightedRoundRobin => 2.5 / (expected * picks as f64) + 0.02,
        // The ring's arcs differ by 1 / √160 for a server of the usual weight, and by more where it has few points.
        Policy::RingHash => 5.0 * (deviation + 1.0 / 160.0_f64.sqrt()),
        // A hundredth of the table's places, at least.
        Policy::Maglev => 5.0 * deviation + 0.1,
        // Which of some draws is better holds them closer together than lots would.
        Policy::Random
        | Policy::WeightedRandom
        | Policy::LeastRequests
        | Policy::PowerOfTwo
        | Policy::LeastResponseTime
        | Policy::Prequal => 5.0 * deviation + 0.02,
    }
}

fn assert_spread(policy: Policy, parts: &[f64], weights: &[f64], picks: usize, what: &str) {
    let sum: f64 = weights.iter().sum();
    for (index, (part, weight)) in parts.iter().zip(weights).enumerate() {
        let expected = weight / sum;
        if expected == 0.0 {
            assert!(*part == 0.0, "{policy:?}, {what}: {index} gets {part}");
            continue;
        }
        let bound = bound(policy, expected, picks);
        assert!(
            (part / expected - 1.0).abs() <= bound,
            "{policy:?}, {what}: {index} gets {part:.5} instead of {expected:.5}, bound {bound:.2}"
        );
    }
}

fn picks_for(policy: Policy, servers: usize) -> usize {
    match (policy, servers) {
        // All are compared for each pick.
        (Policy::LeastRequests, 1_000) => 30_000,
        (_, 1_000) => 200_000,
        _ => 40_000,
    }
}

#[test]
fn equal_servers_get_equal_parts() {
    for policy in ALL {
        for servers in SIZES {
            let pool = pool(policy, servers);
            let picks = picks_for(policy, servers);
            let mut world = World::new(&pool, 4 * servers, 11);
            world.run(&pool, picks);
            let what = format!("{servers} servers");
            assert_spread(policy, &world.parts(), &vec![1.0; servers], picks, &what);
        }
    }
}

/// Random and round robin promise equal parts, the others parts by weight.
fn promised(policy: Policy, weights: &[u32]) -> Vec<f64> {
    let even = matches!(policy, Policy::Random | Policy::RoundRobin);
    let one = |&weight: &u32| if even { 1.0 } else { f64::from(weight) };
    weights.iter().map(one).collect()
}

#[test]
fn weights_of_one_and_a_hundred_are_kept() {
    for policy in ALL {
        for servers in [2, 3, 10, 1_000] {
            let weights: Vec<u32> = (0..servers)
                .map(|n| if n % 2 == 0 { 100 } else { 1 })
                .collect();
            let pool = weighted(policy, &weights);
            let picks = 5 * picks_for(policy, servers);
            let most = 4 * weights.iter().sum::<u32>() as usize;
            let mut world = World::new(&pool, most, 12);
            world.run(&pool, most);
            world.parts();
            world.run(&pool, picks);
            let parts = world.parts();
            // Of a thousand, only both halves: a light one expects too few picks to be judged alone.
            let promised = promised(policy, &weights);
            let halves = |list: &[f64]| {
                let half = |rest| -> f64 { list.iter().skip(rest).step_by(2).sum() };
                vec![half(0), half(1)]
            };
            let what = format!("{servers} servers of weights 100 and 1");
            let (parts, promised) = match servers {
                1_000 => (halves(&parts), halves(&promised)),
                _ => (parts, promised),
            };
            let light = promised[1] / promised.iter().sum::<f64>();
            let compares = match policy {
                Policy::PowerOfTwo | Policy::LeastResponseTime | Policy::Prequal => true,
                Policy::LeastRequests => servers == 1_000,
                _ => false,
            };
            if compares {
                // A light server gets at most its part, and less while it holds few: an attempt more is as much for it as a
                // hundred for a heavy one.
                assert!(parts[1] <= light * 1.3, "{policy:?}, {what}: {parts:?}");
                assert!(parts[1] >= light * 0.3, "{policy:?}, {what}: {parts:?}");
            } else if policy == Policy::RingHash || policy == Policy::Maglev {
                assert!(
                    (0.3..3.0).contains(&(parts[1] / light)),
                    "{policy:?}, {what}: {parts:?}"
                );
            } else {
                assert_spread(policy, &parts, &promised, picks, &what);
            }
        }
    }
}

/// Ten servers. One after the other goes and comes back, and at the end all get the same again.
#[test]
fn servers_that_come_and_go_take_their_part_with_them() {
    for policy in ALL {
        let pool = pool(policy, 10);
        let mut world = World::new(&pool, 40, 13);
        for gone in 0..10 {
            eject(&pool, gone, EjectionReason::Known, 1 << 40);
            world.run(&pool, 500);
            world.parts();
            world.run(&pool, 20_000);
            let mut weights = vec![1.0; 10];
            weights[gone] = 0.0;
            let what = format!("without {gone}");
            assert_spread(policy, &world.parts(), &weights, 20_000, &what);
            restore(&pool, gone, false, 0);
        }
        world.run(&pool, 500);
        world.parts();
        world.run(&pool, 20_000);
        assert_spread(policy, &world.parts(), &[1.0; 10], 20_000, "all back");
    }
}

/// What the hashes are for: a server more or less moves its own part of the keys, and hardly any others.
#[test]
fn a_server_less_for_ever_moves_few_keys_of_others() {
    for (policy, most) in [(Policy::RingHash, 0.0), (Policy::Maglev, 0.02)] {
        let members: Vec<Member> = (0..100).map(|_| member(1, 0)).collect();
        let of = |members: Vec<Member>| {
            let names: Vec<_> = members.iter().map(|one| one.identity.clone()).collect();
            let pool = Pool::new(options(policy), members);
            let mut picker = Picker::new(&pool, 1);
            let pick = |n: u64| {
                let key = evenkeel_balance::key(&n.to_le_bytes());
                let pick = picker.pick_for(&pool, at(1), &[], Some(key)).unwrap();
                names[pick.index as usize].clone()
            };
            (0..50_000).map(pick).collect::<Vec<_>>()
        };
        let all = of(members.clone());
        let gone = members[42].identity.clone();
        let left = members.into_iter().filter(|one| one.identity != gone);
        let without = of(left.collect());
        let pairs = || all.iter().zip(&without);
        let own = pairs().filter(|(before, _)| **before == gone).count() as f64 / 50_000.0;
        let others = pairs().filter(|(before, after)| **before != gone && before != after);
        let others = others.count() as f64 / 50_000.0;
        assert!((own - 0.01).abs() < 0.005, "{policy:?}: {own}");
        assert!(others <= most, "{policy:?}: {others}");
    }
}
