//! The guarantees of each policy, with fixed seeds.

mod common;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use common::*;
use evenkeel_balance::{Picker, Policy, Pool};
use evenkeel_core::{EjectionReason, Instant, Outcome, Random};

fn next(picker: &mut Picker, pool: &Pool, now: Instant) -> u32 {
    picker
        .pick(pool, now, &[])
        .expect("somebody is usable")
        .index
}

/// The next `length` picks as letters, from whichever rotation begins the round.
fn letters(picker: &mut Picker, pool: &Pool, length: usize) -> String {
    (0..length)
        .map(|_| char::from(b'a' + next(picker, pool, at(1)) as u8))
        .collect()
}

fn is_rotation_of(text: &str, round: &str) -> bool {
    text.len() == round.len() && round.repeat(2).contains(text)
}

#[test]
fn random_is_uniform_also_among_what_is_left() {
    let pool = pool(Policy::Random, 5);
    let mut picker = Picker::new(&pool, 11);
    assert_close(&shares(&mut picker, &pool, at(1), &[]), &[0.2; 5], 0.01);
    assert_close(
        &shares(&mut picker, &pool, at(1), &[1, 3, 1]),
        &[1.0 / 3.0, 0.0, 1.0 / 3.0, 0.0, 1.0 / 3.0],
        0.01,
    );
    eject(&pool, 0, EjectionReason::Known, 100);
    assert_close(
        &shares(&mut picker, &pool, at(1), &[]),
        &[0.0, 0.25, 0.25, 0.25, 0.25],
        0.01,
    );
}

#[test]
fn draws_stay_uniform_when_nearly_all_were_tried() {
    let pool = pool(Policy::Random, 40);
    let avoid: Vec<u32> = (0..38).collect();
    let measured = shares(&mut Picker::new(&pool, 3), &pool, at(1), &avoid);
    assert_close(&measured[38..], &[0.5, 0.5], 0.01);
}

#[test]
fn round_robin_rotates_and_shares_the_turns_of_an_ejected_server() {
    let pool = pool(Policy::RoundRobin, 3);
    let starts: Vec<u32> = (0..30)
        .map(|seed| {
            Picker::new(&pool, seed)
                .pick(&pool, at(1), &[])
                .unwrap()
                .index
        })
        .collect();
    assert!(
        (0..3).all(|index| starts.contains(&index)),
        "workers begin at different places"
    );
    let mut picker = Picker::new(&pool, 2);
    assert!(is_rotation_of(&letters(&mut picker, &pool, 3), "abc"));
    eject(&pool, 0, EjectionReason::Known, 100);
    drain(&pool, 0);
    assert_eq!(counts(&mut picker, &pool, at(1), &[], 100), [0, 50, 50]);
}

/// The vectors of smooth weighted round robin; the first is nginx's own.
#[test]
fn weighted_round_robin_is_smooth() {
    for (weights, round) in [
        (&[5, 1, 1][..], "aabacaa"),
        (&[4, 2, 1], "abacaba"),
        (&[3, 2, 1], "abacba"),
        (&[3, 1], "aaba"),
        (&[5, 3, 2], "abcaabacba"),
        (&[7, 2, 1], "aabaacaaba"),
        (&[500, 100, 100], "aabacaa"),
        (&[1, 1, 1], "abc"),
    ] {
        let pool = weighted(Policy::WeightedRoundRobin, weights);
        for seed in 0..5 {
            let mut picker = Picker::new(&pool, seed);
            let first = letters(&mut picker, &pool, round.len());
            assert!(is_rotation_of(&first, round), "{weights:?} gives {first}");
            assert_eq!(letters(&mut picker, &pool, round.len()), first);
        }
    }
}

/// The turns of a member that is out are left out: the others keep their order and their shares.
#[test]
fn weighted_round_robin_without_a_member_keeps_the_others_in_order() {
    let pool = weighted(Policy::WeightedRoundRobin, &[5, 1, 1, 1]);
    drain(&pool, 3);
    let mut picker = Picker::new(&pool, 1);
    let round = letters(&mut picker, &pool, 7);
    assert!(is_rotation_of(&round, "aabacaa"), "{round}");
    assert_eq!(letters(&mut picker, &pool, 7), round);
}

/// Where nearly all are out the walk is online; it begins with the round's first.
#[test]
fn weighted_round_robin_is_the_same_online() {
    let mut weights = vec![1; 200];
    (weights[0], weights[1], weights[2]) = (5, 1, 1);
    let pool = weighted(Policy::WeightedRoundRobin, &weights);
    (3..200).for_each(|index| drain(&pool, index));
    let mut picker = Picker::new(&pool, 1);
    let picks = counts(&mut picker, &pool, at(1), &[], 700);
    assert!(picks[0].abs_diff(500) < 12, "{:?}", &picks[..3]);
    let beyond = weighted(Policy::WeightedRoundRobin, &[50_000, 10_000, 10_001]);
    let round = letters(&mut Picker::new(&beyond, 1), &beyond, 7);
    assert_eq!(round.matches('a').count(), 5, "{round}");
}

#[test]
fn weights_beyond_any_schedule_are_kept_as_well() {
    let weights = [8_191, 4_099, 1];
    let pool = weighted(Policy::WeightedRoundRobin, &weights);
    assert_eq!(
        counts(&mut Picker::new(&pool, 1), &pool, at(1), &[], 12_291),
        [8_191, 4_099, 1]
    );
}

#[test]
fn weighted_random_follows_the_weights() {
    let weights = [5, 1, 3, 1];
    let pool = weighted(Policy::WeightedRandom, &weights);
    let mut picker = Picker::new(&pool, 4);
    assert_close(
        &shares(&mut picker, &pool, at(1), &[]),
        &[0.5, 0.1, 0.3, 0.1],
        0.01,
    );
    assert_close(
        &shares(&mut picker, &pool, at(1), &[0]),
        &[0.0, 0.2, 0.6, 0.2],
        0.01,
    );
    eject(&pool, 2, EjectionReason::Known, 100);
    assert_close(
        &shares(&mut picker, &pool, at(1), &[]),
        &[5.0 / 7.0, 1.0 / 7.0, 0.0, 1.0 / 7.0],
        0.01,
    );
}

#[test]
fn an_alias_table_of_many_weights_is_exact() {
    let weights: Vec<u32> = (1..=100).collect();
    let pool = weighted(Policy::WeightedRandom, &weights);
    let counts = counts(&mut Picker::new(&pool, 4), &pool, at(1), &[], 505_000);
    for (count, weight) in counts.iter().zip(weights) {
        let expected = f64::from(weight) * 100.0;
        assert!(
            (*count as f64 - expected).abs() < 6.0 * expected.sqrt(),
            "weight {weight}: {count}"
        );
    }
}

#[test]
fn least_requests_takes_the_least_for_its_weight() {
    let pool = weighted(Policy::LeastRequests, &[1, 1, 4]);
    let state = |index: usize| &pool.members()[index].state;
    let mut picker = Picker::new(&pool, 1);
    let mut next = || picker.pick(&pool, at(1), &[]).unwrap().index;
    // All are idle: each by its weight.
    let heavy = (0..600).filter(|_| next() == 2).count();
    assert!((330..470).contains(&heavy), "{heavy}");
    for _ in 0..4 {
        state(2).begin();
    }
    // 0/1, 0/1, 4/4: a tie of the first two.
    let ties: Vec<u32> = (0..100).map(|_| next()).collect();
    assert!(
        (30..70).contains(&ties.iter().filter(|&&index| index == 0).count()) && !ties.contains(&2)
    );
    for index in [0, 0, 1, 1] {
        state(index).begin();
    }
    // 2/1, 2/1, 4/4, and one more would not make it the busiest.
    assert!((0..100).all(|_| next() == 2));
}

/// The two draws are never the same server: of two servers the busier one is never picked. With replacement it would be in
/// a quarter of the picks.
#[test]
fn power_of_two_draws_without_replacement() {
    for policy in [Policy::PowerOfTwo, Policy::LeastResponseTime] {
        let pool = pool(policy, 2);
        pool.members()[0].state.begin();
        assert_eq!(
            counts(&mut Picker::new(&pool, 1), &pool, at(1), &[], 1_000),
            [0, 1_000],
            "{policy:?}"
        );
    }
    let pool = pool(Policy::PowerOfTwo, 3);
    pool.members()[0].state.begin();
    let measured = shares(&mut Picker::new(&pool, 1), &pool, at(1), &[]);
    assert_close(&measured, &[0.0, 0.5, 0.5], 0.01);
    let even = common::pool(Policy::PowerOfTwo, 4);
    assert_close(
        &shares(&mut Picker::new(&even, 1), &even, at(1), &[]),
        &[0.25; 4],
        0.01,
    );
}

/// Mean time in system with exponential service of mean 1, measured by simulating the queues.
fn time_in_system(policy: Policy, load: f64, arrivals: u32) -> f64 {
    const SERVERS: usize = 100;
    let pool = pool(policy, SERVERS);
    let mut picker = Picker::new(&pool, 17);
    let mut rng = Random::seeded(20_260_823);
    let mut free_at = [0_u64; SERVERS];
    let mut departures = BinaryHeap::new();
    let exponential = |rng: &mut Random, mean: f64| (-(1.0 - rng.unit()).ln() * mean * 1e9) as u64;
    let (mut now, mut total, mut counted) = (0, 0.0, 0);
    for arrival in 0..arrivals {
        now += exponential(&mut rng, 1.0 / (load * SERVERS as f64));
        while let Some(&Reverse((at, index))) = departures.peek() {
            if at > now {
                break;
            }
            departures.pop();
            let moment = Instant::from_nanos(at);
            pool.members()[index as usize].state.end(
                moment,
                Outcome::Cancelled,
                Duration::ZERO,
                Duration::ZERO,
            );
        }
        let index = next(&mut picker, &pool, Instant::from_nanos(now));
        pool.members()[index as usize].state.begin();
        let end = free_at[index as usize].max(now) + exponential(&mut rng, 1.0);
        free_at[index as usize] = end;
        departures.push(Reverse((end, index)));
        if arrival > arrivals / 5 {
            total += (end - now) as f64 / 1e9;
            counted += 1;
        }
    }
    total / f64::from(counted)
}

/// The supermarket model's T_d(l) for many servers: 1/(1-l) for one choice, 1.2657 and 2.6141 for two at .5 and .9.
#[test]
fn power_of_two_queues_as_the_theory_says() {
    for (policy, load, expected, within) in [
        (Policy::PowerOfTwo, 0.5, 1.2657, 0.03),
        (Policy::PowerOfTwo, 0.9, 2.6141, 0.06),
        (Policy::LeastResponseTime, 0.9, 2.6141, 0.06),
        (Policy::Random, 0.5, 2.0, 0.05),
    ] {
        let measured = time_in_system(policy, load, 200_000);
        assert!(
            (measured / expected - 1.0).abs() < within,
            "{policy:?} at {load}: {measured}, not {expected}"
        );
    }
    assert!(time_in_system(Policy::LeastRequests, 0.9, 100_000) < 2.0);
}
