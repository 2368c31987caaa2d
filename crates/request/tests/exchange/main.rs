//! The exchange in virtual time: two hundred clients, more than a hundred servers, faults and orders at random, and what must hold
//! after each step. Everything follows from a seed: `EVENKEEL_SEED=7 cargo test --test exchange` runs that one only.
//!
//! One test at a time, since the balancer counts changes for the whole process: another one beside it would change what is picked.

use std::sync::{Mutex, MutexGuard, PoisonError};

use evenkeel_core::Random;

mod plan;
mod routes;
mod world;
mod clients;
mod servers;
mod orders;
mod drive;
mod attempts;
mod host;
mod checks;
mod waiting;
mod scene;
mod turns;
mod unsettled;
mod effects;
mod totals;

use totals::Totals;
use world::{Plan, World};

const SEEDS: [u64; 4] = [2, 3, 4, 9];
const REQUESTS: u64 = 25_000;

/// While this lives, no other test does anything.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(seed: u64, requests: u64) -> Totals {
    let mut random = Random::seeded(seed);
    let routes = routes::routes();
    let plan = Plan {
        services: plan::services(&mut random),
        limiters: routes::limiters(&routes, &mut random),
        routes,
    };
    World::new(&plan, random, requests).run()
}

#[test]
fn whatever_happens_the_exchange_keeps_its_rules() {
    let _one = one_at_a_time();
    let only = std::env::var("EVENKEEL_SEED").ok();
    let seeds = match &only {
        Some(seed) => vec![seed.parse().expect("a seed is a number")],
        None => SEEDS.to_vec(),
    };
    let mut totals = Totals::default();
    for seed in seeds {
        println!("EVENKEEL_SEED={seed}");
        totals.add(run(seed, REQUESTS));
    }
    println!("{totals:?}");
    let is_everything = only.is_some() || totals.is_everything();
    assert!(is_everything, "something never happens");
    assert_eq!(run(1, 2_000), run(1, 2_000), "the seed does not say all");
}
