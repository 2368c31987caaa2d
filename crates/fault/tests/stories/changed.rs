//! Servers that have ended, and whose program was changed since they were started: one of them is started with it first.

use evenkeel_core::{Instant, ProgramChange, Random};
use evenkeel_fault::contract::{Managed, ServerStatus};
use evenkeel_fault::incident::IncidentStatus;

use super::world::{Condition, World, ms, options};

/// Three servers that run; the next starts take 30 ms to 2 s, by the seed.
fn world_of(seed: u64, changed: bool) -> World {
    let mut world = World::new(3, Managed::Child, options());
    world.random = Random::seeded(seed);
    world.every = ms(2 + seed % 10);
    world.run(5_000 + seed * 37);
    world.starts_in(30 + seed * 20);
    world.changed = changed.then(|| ProgramChange {
        path: "shop.py".to_owned(),
        modified_millis: 1_764_000_000_000,
    });
    world
}

/// All end within the time that a start takes.
fn all_end(world: &mut World, seed: u64) {
    for index in 0..3 {
        world.break_server((index + seed as usize) % 3, Condition::Dead);
        world.run(seed % 4 * 10);
    }
}

fn assert_all_back(world: &mut World, seed: u64) {
    world.until(20_000, |world| {
        let closed = |one: &evenkeel_fault::Incident| one.status == IncidentStatus::Closed;
        (0..3).all(|index| world.in_service(index)) && world.incidents.values().all(closed)
    });
    assert_eq!(world.restarts.len(), 3, "seed {seed}");
}

#[test]
fn after_a_change_one_is_started_first_and_the_others_when_it_holds() {
    for seed in 0..100 {
        let mut world = world_of(seed, true);
        all_end(&mut world, seed);
        world.run(5);
        world.until(20_000, |world| (0..3).any(|index| world.in_service(index)));
        assert_eq!(world.restarts.len(), 1, "seed {seed}");
        let first = world.restarts[0].1.index;
        assert!(world.in_service(first as usize), "seed {seed}");
        let waits = "its start waits: shop.py was changed";
        let told = world.incidents.values();
        let told = told.filter(|one| one.timeline.iter().any(|entry| entry.text.contains(waits)));
        assert_eq!(told.count(), 2, "seed {seed}");
        // A trickle of requests, and the others.
        world.until(1_500, |world| world.restarts.len() == 3);
        assert_all_back(&mut world, seed);
    }
}

#[test]
fn without_a_change_all_are_started_at_once() {
    for seed in 0..100 {
        let mut world = world_of(seed, false);
        all_end(&mut world, seed);
        world.run(50);
        assert_eq!(world.restarts.len(), 3, "seed {seed}");
        assert_all_back(&mut world, seed);
    }
}

#[test]
fn what_one_server_runs_well_with_holds_for_the_others() {
    for seed in 0..100 {
        let mut world = world_of(seed, true);
        world.break_server(0, Condition::Dead);
        world.run(5);
        world.until(20_000, |world| world.state(0) == ServerStatus::Up);
        (1..3).for_each(|index| world.break_server(index, Condition::Dead));
        world.run(50);
        assert_eq!(world.restarts.len(), 3, "seed {seed}");
        assert_all_back(&mut world, seed);
    }
}

#[test]
fn one_in_its_back_off_holds_up_none_that_may_be_started() {
    for seed in 0..100 {
        let mut world = World::new(3, Managed::Child, options());
        world.run(5_000 + seed * 37);
        // It ends again and again with the version that there is.
        world.reborn(0, Condition::Doomed(300));
        world.break_server(0, Condition::Dead);
        world.run(4_000 + seed * 10);
        world.reborn(0, Condition::Well);
        world.changed = Some(ProgramChange {
            path: "shop.py".to_owned(),
            modified_millis: 1_764_000_000_000,
        });
        let began: Instant = world.now;
        (1..3).for_each(|index| world.break_server(index, Condition::Dead));
        world.run(5);
        world.until(6_000, |world| (1..3).any(|index| world.in_service(index)));
        assert!(world.now - began < ms(1_500), "seed {seed}");
        world.until(60_000, |world| (0..3).all(|index| world.in_service(index)));
    }
}
