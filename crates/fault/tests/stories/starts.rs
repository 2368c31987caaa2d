//! Servers that cannot start for one cause: one incident, one canary, and all come back once it starts.

use evenkeel_core::{ProgramChange, Random, ServerId};
use evenkeel_fault::FaultKind;
use evenkeel_fault::contract::{Managed, OperatorOrder};
use evenkeel_fault::incident::{CloseReason, IncidentStatus};
use evenkeel_fault::maintenance::OrderTerms;
use evenkeel_fault::policy::Mode;

use super::kinds::{evidence, kind};
use super::world::{Condition, World, ms, options};

const CANNOT: [Condition; 2] = [Condition::Stillborn, Condition::Unstartable];

/// Three servers that have run well, and whose next processes cannot start.
fn world_of(seed: u64, changed: bool) -> World {
    let mut world = World::new(3, Managed::Child, options());
    world.random = Random::seeded(seed);
    world.every = ms(2 + seed % 10);
    world.changed = changed.then(|| ProgramChange {
        path: "shop.py".to_owned(),
        modified_millis: 1_764_000_000_000,
    });
    world.run(5_000 + seed * 37);
    for index in 0..3 {
        world.reborn(index, CANNOT[seed as usize % 2]);
    }
    world
}

fn open(world: &World) -> usize {
    let all = world.incidents.values();
    all.filter(|incident| incident.status != IncidentStatus::Closed)
        .count()
}

#[test]
fn a_version_that_cannot_start_is_one_incident_and_one_server_is_tried() {
    for seed in 0..100 {
        let mut world = world_of(seed, seed % 3 > 0);
        for index in 0..3 {
            world.break_server(index, Condition::Dead);
            world.run(seed % 5 * 300);
        }
        world.run(60_000);
        world.assert_both_ids_are_told();
        let not_merged = world.incidents.values();
        let incident = not_merged
            .filter(|incident| incident.end != Some(CloseReason::Merged))
            .collect::<Vec<_>>();
        let [incident] = incident.as_slice() else {
            panic!("seed {seed}: {:#?}", world.incidents);
        };
        assert_eq!(kind(incident), FaultKind::BadDeploy, "seed {seed}");
        assert_eq!(incident.servers.len(), 3, "seed {seed}");
        let names_change = evidence(incident).contains("shop.py was changed at 2025-11-24T16:00");
        assert_eq!(names_change, seed % 3 > 0, "seed {seed}");
        let first = world.restarts[0].1;
        let tried = world
            .restarts
            .iter()
            .filter(|(_, server, _)| *server == first);
        let others = world.restarts.len() - tried.count();
        // After a change the others wait from the beginning; without one each is started once.
        let most = if names_change { 0 } else { 2 };
        assert!(others <= most, "seed {seed}: {others}");
        assert!(
            world.restarts.len() <= 8,
            "seed {seed}: {}",
            world.restarts.len()
        );

        // The old version is back.
        (0..3).for_each(|index| world.reborn(index, Condition::Well));
        world.until(120_000, |world| (0..3).all(|index| world.in_service(index)));
        assert_eq!(open(&world), 0, "seed {seed}");
        assert_eq!(world.incidents.len(), 3, "seed {seed}");
    }
}

#[test]
fn those_that_wait_are_judged_by_themselves_if_the_incident_ends_otherwise() {
    let mut world = world_of(0, true);
    (0..3).for_each(|index| world.break_server(index, Condition::Dead));
    world.run(10_000);
    let mut all = world.incidents.values();
    let id = all
        .find(|incident| incident.status != IncidentStatus::Closed)
        .map(|incident| incident.id.clone())
        .expect("an open incident");
    world.order(OperatorOrder::Close(id));
    world.run(5_000);
    assert_eq!(open(&world), 1, "{:#?}", world.incidents);
    (0..3).for_each(|index| world.reborn(index, Condition::Well));
    world.until(200_000, |world| (1..3).all(|index| world.in_service(index)));
}

#[test]
fn one_server_that_cannot_start_after_a_change_is_a_bad_deploy_and_alone_without_one_it_is_not() {
    for (changed, expected) in [
        (true, FaultKind::BadDeploy),
        (false, FaultKind::CannotStart),
    ] {
        let mut world = world_of(2, changed);
        world.break_server(1, Condition::Dead);
        world.run(10_000);
        assert_eq!(kind(world.only()), expected);
    }
}

fn restart(server: u32, force: bool) -> OperatorOrder {
    let terms = OrderTerms {
        force,
        ..OrderTerms::default()
    };
    OperatorOrder::Restart(ServerId::new(0, server), terms)
}

#[test]
fn a_rolling_restart_stops_at_the_first_server_that_does_not_start() {
    for seed in 0..100 {
        let mut world = world_of(seed, true);
        world.order(restart(0, false));
        world.run(5_000);
        world.order(restart(1, false));
        world.run(100);
        assert_eq!(world.answers().last(), Some(&"refused"), "seed {seed}");
        assert!(world.in_service(1) && world.in_service(2), "seed {seed}");
        world.order(restart(1, true));
        world.run(100);
        assert_ne!(world.answers().last(), Some(&"refused"), "seed {seed}");
    }
}

/// A script that does not wait for one restart before it orders the next.
#[test]
fn servers_that_run_are_not_restarted_at_once_without_force() {
    for seed in 0..100 {
        let mut world = world_of(seed, true);
        world.order(restart(0, false));
        world.run(seed % 20);
        for other in [1, 2] {
            world.order(restart(other, false));
            assert_eq!(world.answers().last(), Some(&"refused"), "seed {seed}");
        }
        world.run(60_000);
        assert!(world.in_service(1) && world.in_service(2), "seed {seed}");
    }
}

#[test]
fn while_a_person_is_asked_nothing_is_started_unasked() {
    let mut spec = options();
    spec.recover.mode = Mode::Ask;
    let mut world = World::new(3, Managed::Child, spec);
    world.run(5_000);
    for index in 0..3 {
        world.reborn(index, Condition::Stillborn);
        world.break_server(index, Condition::Dead);
    }
    world.run(60_000);
    assert!(world.restarts.is_empty());
}

/// A person restarts one server after the other with a version that cannot start, at whatever moment of the work on the first: no second one
/// is restarted, also not while a process of the first lives that is about to end.
#[test]
fn no_second_server_is_restarted_while_the_first_is_tried_again() {
    for moment in 0..100 {
        let mut world = World::new(3, Managed::Child, options());
        world.run(5_000);
        for index in 0..3 {
            world.reborn(index, Condition::Stillborn);
        }
        world.stillborn_after(200);
        let restart = |index| {
            let server = ServerId::new(0, index);
            OperatorOrder::Restart(server, OrderTerms::default())
        };
        world.order(restart(0));
        world.run(100 + moment * 97);
        world.order(restart(1));
        world.run(5_000);
        let mut restarted = world.restarts.iter().map(|(_, server, _)| server.index);
        assert!(
            restarted.all(|index| index == 0),
            "{moment}: {:?}",
            world.restarts
        );
    }
}

/// Killed and started again it would never be up.
#[test]
fn a_start_that_is_alive_gets_more_time_before_it_is_begun_again() {
    for (seed, (millis, restarts)) in (0..100).zip(
        [(12_000, 1), (18_000, 1), (25_000, 2), (60_000, 3)]
            .into_iter()
            .cycle(),
    ) {
        let mut world = World::new(3, Managed::Child, options());
        world.run(2_000 + seed * 37);
        world.starts_in(millis);
        world.break_server(1, Condition::Dead);
        world.run(200_000);
        assert!(world.in_service(1), "seed {seed} {millis}");
        assert!(
            world.restarts.len() <= restarts,
            "seed {seed} {millis}: {}",
            world.restarts.len()
        );
        let text = format!("{:?}", world.only().timeline);
        assert!(text.contains("recover.verify.within"), "{text}");
    }
}

#[test]
fn a_restart_that_takes_too_long_is_a_slow_start_and_says_what_to_set() {
    let mut world = World::new(3, Managed::Child, options());
    world.run(2_000);
    world.starts_in(14_000);
    world.order(OperatorOrder::Restart(
        ServerId::new(0, 1),
        OrderTerms::default(),
    ));
    world.run(60_000);
    assert!(world.in_service(1));
    assert_eq!(world.restarts.len(), 1);
    let incident = world.only();
    assert_eq!(kind(incident), FaultKind::CannotStart);
    assert!(evidence(incident).contains("recover.verify.within"));
    assert_eq!(incident.status, IncidentStatus::Closed);
}

/// Its queue of connections is empty: they do not get to it, and a restart would not change that.
#[test]
fn a_process_that_connections_do_not_reach_is_not_restarted() {
    let mut world = World::new(3, Managed::Child, options());
    world.run(5_000);
    world.break_server(1, Condition::Unreachable);
    world.run(60_000);
    assert!(world.restarts.is_empty());
    assert_eq!(kind(world.only()), FaultKind::Unreachable);
    assert!(!world.in_service(1));
    world.heal(1);
    world.run(60_000);
    assert!(world.in_service(1));
    assert_eq!(world.only().status, IncidentStatus::Closed);
}

/// The same of all: it is the way to them, and no server's fault.
#[test]
fn processes_that_connections_do_not_reach_are_one_incident_and_none_is_restarted() {
    for seed in 0..100 {
        let mut world = World::new(3, Managed::Child, options());
        world.every = ms(2 + seed % 20);
        world.run(5_000 + seed * 37);
        (0..3).for_each(|index| world.break_server(index, Condition::Unreachable));
        world.run(20_000);
        let open = world.incidents.values().filter(|one| one.end.is_none());
        let open: Vec<_> = open.collect();
        assert_eq!(open.len(), 1, "seed {seed}: {open:#?}");
        assert_eq!(kind(open[0]), FaultKind::Unreachable, "seed {seed}");
        assert_eq!(open[0].servers.len(), 3, "seed {seed}");
        (0..3).for_each(|index| world.heal(index));
        world.run(60_000);
        assert!(world.restarts.is_empty(), "seed {seed}");
        assert!((0..3).all(|index| world.in_service(index)), "seed {seed}");
        let mut all = world.incidents.values();
        assert!(
            all.all(|one| one.status == IncidentStatus::Closed),
            "seed {seed}"
        );
    }
}
