//! The second check: plans that the guards of the decision would have let through.

use evenkeel_fault::Incident;
use evenkeel_fault::contract::Managed;
use evenkeel_fault::incident::IncidentStatus;
use evenkeel_fault::outlook::WaitReason;
use evenkeel_fault::recover::Veto;

use super::kinds::actions;
use super::world::{Condition, World, options};

fn vetoes(world: &World) -> Vec<Veto> {
    world.keeper.vetoes().map(|(_, veto, _)| veto).collect()
}

/// How often the incident tells of a veto.
fn told(incident: &Incident) -> usize {
    let details = incident
        .actions
        .iter()
        .filter_map(|one| one.detail.as_ref());
    details
        .filter(|detail| detail.starts_with("second check:"))
        .count()
}

/// Whatever it answers, without it there would be nothing.
#[test]
fn the_last_server_that_answers_anything_is_not_ejected() {
    for seed in 0..20 {
        let mut world = World::new(1, Managed::Nothing, options());
        world.run(5_000 + seed * 37);
        world.break_server(0, Condition::Errors(100));
        for _ in 0..600 {
            world.run(100);
            assert!(world.in_service(0), "seed {seed}");
        }
        assert_eq!(vetoes(&world), [Veto::Capacity], "seed {seed}");
        assert_eq!(told(world.only()), 1, "seed {seed}: it is told once");
        world.heal(0);
        world.run(10_000);
        assert_eq!(world.only().status, IncidentStatus::Closed, "seed {seed}");
    }
}

/// The server that answers with errors gets all that it can carry.
#[test]
fn with_two_hung_the_third_stays_whatever_it_answers() {
    let mut world = World::new(3, Managed::Nothing, options());
    world.run(5_000);
    (0..2).for_each(|index| world.break_server(index, Condition::Blocked));
    world.run(20_000);
    world.break_server(2, Condition::Errors(100));
    for _ in 0..300 {
        world.run(100);
        assert!(world.in_service(2));
    }
}

/// A repair is another matter: it may help.
#[test]
fn the_only_server_is_restarted_where_it_stands() {
    let mut world = World::new(1, Managed::Child, options());
    world.run(5_000);
    world.break_server(0, Condition::Errors(100));
    world.until(30_000, |world| !world.restarts.is_empty());
    let done = actions(world.only());
    assert!(!done.contains(&("eject", "done")), "{done:?}");
    world.until(10_000, |world| {
        world.only().status == IncidentStatus::Closed
    });
}

#[test]
fn the_last_backup_is_not_restarted_while_no_primary_answers() {
    let mut spec = options();
    spec.recover.keep_serving = 0.0;
    let mut world = World::with_backups(2, 1, Managed::Child, spec);
    world.run(5_000);
    world.reborn(0, Condition::Unstartable);
    world.break_server(0, Condition::Dead);
    world.run(5_000);
    // What answers with nothing but errors might be restarted.
    world.break_server(1, Condition::Errors(15));
    world.run(60_000);
    assert!(
        world
            .restarts
            .iter()
            .all(|(_, server, _)| server.index == 0),
        "the backup"
    );
    assert_eq!(vetoes(&world), [Veto::Capacity]);
    let ahead = world.keeper.outlooks(world.now);
    let its = ahead.iter().find(|(_, server, _)| *server == Some(1));
    let its = its.map(|(_, _, outlook)| outlook).expect("it is not well");
    assert_eq!(its.waits, WaitReason::Veto);
    assert_eq!(its.detail, Veto::Capacity.words());
    let incident = world.incidents.values();
    let incident = incident.filter(|incident| incident.servers == ["two"]);
    for incident in incident {
        assert!(told(incident) <= 2, "{:#?}", incident.actions);
    }
    // The primary is back: now it may be done.
    world.reborn(0, Condition::Well);
    world.until(120_000, |world| {
        let mut restarts = world.restarts.iter();
        restarts.any(|(_, server, _)| server.index == 1)
    });
}
