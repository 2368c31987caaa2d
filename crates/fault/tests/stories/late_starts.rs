//! The next process of a server that has ended lives and is not ready in time: it is examined before it is started again, and what
//! a restart would not change is not restarted.

use evenkeel_core::{Random, ServerId};
use evenkeel_fault::contract::{Managed, OperatorOrder, ServerStatus};
use evenkeel_fault::incident::IncidentStatus;
use evenkeel_fault::maintenance::OrderTerms;
use evenkeel_fault::{FaultKind, Incident};

use super::kinds::{actions, evidence, kind};
use super::world::{Condition, World, ms, options};

/// Three servers, of which one has ended; its next process is like this.
fn world_of(seed: u64, next: Condition) -> World {
    let mut world = World::new(3, Managed::Child, options());
    world.random = Random::seeded(seed);
    world.every = ms(2 + seed % 10 * 20);
    world.run(5_000 + seed * 37);
    world.reborn(1, next);
    world.break_server(1, Condition::Dead);
    world
}

fn escalations(incident: &Incident) -> usize {
    let all = actions(incident).into_iter();
    all.filter(|action| *action == ("escalate", "done")).count()
}

/// The right version is there, and an operator restarts the server.
fn assert_mended(mut world: World) {
    world.reborn(1, Condition::Well);
    let terms = OrderTerms::default();
    world.order(OperatorOrder::Restart(ServerId::new(0, 1), terms));
    world.until(20_000, |world| world.state(1) == ServerStatus::Up);
    assert_eq!(world.only().status, IncidentStatus::Closed);
}

#[test]
fn one_that_listens_elsewhere_is_told_and_not_restarted() {
    for seed in 0..100 {
        let mut world = world_of(seed, Condition::Elsewhere);
        world.run(15_000);
        let incident = world.only();
        assert_eq!(kind(incident), FaultKind::NotListening, "seed {seed}");
        let evidence = evidence(incident);
        let place = "it listens at 127.0.0.1:9999";
        assert!(evidence.contains(place), "seed {seed}: {evidence}");
        assert_eq!(incident.status, IncidentStatus::Escalated, "seed {seed}");
        world.run(600_000);
        assert_eq!(world.restarts.len(), 1, "seed {seed}");
        assert_eq!(escalations(world.only()), 1, "seed {seed}");
        assert!(world.in_service(0) && world.in_service(2) && !world.in_service(1));
        assert_mended(world);
    }
}

#[test]
fn a_server_whose_port_is_taken_is_reported() {
    for seed in 0..100 {
        for next in [Condition::PortTaken, Condition::InBackground] {
            let mut world = world_of(seed, next);
            world.run(15_000);
            let incident = world.only();
            assert_eq!(kind(incident), FaultKind::PortTaken, "seed {seed} {next:?}");
            assert_eq!(incident.status, IncidentStatus::Escalated, "{next:?}");
            world.run(105_000);
            let tried = world.restarts.len();
            assert!(tried <= 7, "seed {seed} {next:?}: {tried}");
            assert_eq!(escalations(world.only()), 1, "seed {seed} {next:?}");
            assert_mended(world);
        }
    }
}

#[test]
fn one_whose_probe_is_answered_500_gets_more_time_at_each_start() {
    for seed in 0..100 {
        let mut world = world_of(seed, Condition::Unready);
        world.run(15_000);
        assert_eq!(kind(world.only()), FaultKind::ErrorBurst, "seed {seed}");
        assert_eq!(world.restarts.len(), 1, "seed {seed}: it may need longer");
        world.run(105_000);
        let tried = world.restarts.len();
        assert!(tried <= 4, "seed {seed}: {tried}");
        assert!(world.in_service(0) && world.in_service(2));
        // What it waited for has come.
        world.heal(1);
        world.until(60_000, |world| world.state(1) == ServerStatus::Up);
        assert_eq!(world.only().status, IncidentStatus::Closed, "seed {seed}");
    }
}

#[test]
fn one_that_becomes_ready_while_it_is_examined_is_not_restarted() {
    for seed in 0..100 {
        let mut world = World::new(3, Managed::Child, options());
        world.every = ms(2 + seed % 10 * 20);
        world.run(5_000 + seed * 37);
        world.starts_in(9_700 + seed * 6);
        world.break_server(1, Condition::Dead);
        world.run(5);
        world.until(30_000, |world| world.state(1) == ServerStatus::Up);
        assert_eq!(world.restarts.len(), 1, "seed {seed}");
        assert_eq!(world.only().status, IncidentStatus::Closed, "seed {seed}");
    }
}
