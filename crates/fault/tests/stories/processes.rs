//! Slow starts, restarts by others, a guardian that dies, a foreign process on the port.

use evenkeel_core::ServerId;
use evenkeel_fault::contract::{Managed, OperatorOrder, ServerStatus};
use evenkeel_fault::incident::IncidentStatus;
use evenkeel_fault::kind::FaultKind;
use evenkeel_fault::maintenance::OrderTerms;

use super::world::{Condition, World, options};

const BY_COMMAND: Managed = Managed::Commands {
    restart: true,
    stop: false,
};

#[test]
fn an_ordered_restart_of_a_slow_starter_is_one_restart_and_no_incident() {
    for managed in [Managed::Child, BY_COMMAND] {
        for millis in [1_000, 3_000, 8_000] {
            let mut world = World::new(3, managed, options());
            world.run(2_000);
            world.starts_in(millis);
            let failed = world.totals.failed;
            world.order(OperatorOrder::Restart(
                ServerId::new(0, 1),
                OrderTerms::default(),
            ));
            world.run(millis / 2);
            assert!(!world.in_service(1));
            world.run(millis / 2 + 5_000);
            assert_eq!(world.restarts.len(), 1, "{managed:?} {millis}");
            assert!(world.incidents.is_empty(), "{:?}", world.incidents);
            assert_eq!(world.state(1), ServerStatus::Up);
            assert_eq!(world.totals.failed, failed);
        }
    }
}

#[test]
fn a_repair_of_a_slow_starter_is_one_restart_and_one_incident() {
    for millis in [1_000, 3_000, 8_000] {
        let mut world = World::new(3, Managed::Child, options());
        world.run(2_000);
        world.starts_in(millis);
        world.break_server(1, Condition::Dead);
        world.run(millis + 5_000);
        assert_eq!(world.restarts.len(), 1, "{millis}");
        assert_eq!(world.only().status, IncidentStatus::Closed);
        assert_eq!(world.state(1), ServerStatus::Up);
    }
}

#[test]
fn a_start_that_takes_longer_than_allowed_gets_more_time_with_each_try() {
    let mut world = World::new(3, Managed::Child, options());
    world.run(2_000);
    world.starts_in(25_000);
    world.order(OperatorOrder::Restart(
        ServerId::new(0, 1),
        OrderTerms::default(),
    ));
    world.run(120_000);
    assert_eq!(world.state(1), ServerStatus::Up);
    assert!(world.restarts.len() <= 3, "{}", world.restarts.len());
    // Learnt: the next one is one restart.
    let before = world.restarts.len();
    world.order(OperatorOrder::Restart(
        ServerId::new(0, 1),
        OrderTerms::default(),
    ));
    world.run(60_000);
    assert_eq!(world.restarts.len(), before + 1);
    assert_eq!(world.state(1), ServerStatus::Up);
}

#[test]
fn a_server_that_somebody_else_restarts_is_not_started_a_second_time() {
    let mut world = World::new(3, BY_COMMAND, options());
    world.run(2_000);
    for index in 0..3 {
        world.break_server(index, Condition::Deaf);
        world.run(2_500);
        world.heal(index);
        world.run(6_000);
        assert_eq!(world.restarts.len(), 0);
        assert_eq!(world.state(u32::try_from(index).unwrap()), ServerStatus::Up);
    }
    assert_eq!(world.totals.failed, 0);
}

#[test]
fn a_server_that_does_not_come_back_by_itself_is_restarted_by_its_command() {
    let mut world = World::new(3, BY_COMMAND, options());
    world.run(2_000);
    world.break_server(1, Condition::Deaf);
    world.run(15_000);
    assert_eq!(world.restarts.len(), 1);
    assert_eq!(world.state(1), ServerStatus::Up);
    assert_eq!(world.only().status, IncidentStatus::Closed);
}

#[test]
fn the_death_of_the_guardian_is_one_incident_and_all_servers_come_back() {
    let mut world = World::new(3, Managed::Child, options());
    world.run(2_000);
    world.guardian_dies();
    world.run(5_000);
    let incident = world.only();
    assert_eq!(incident.servers.len(), 3, "{:?}", incident.servers);
    assert!(
        incident.diagnosis[0].evidence[0].contains("the guardian"),
        "{:?}",
        incident.diagnosis
    );
    assert_eq!(incident.status, IncidentStatus::Closed);
    assert_eq!(world.restarts.len(), 3);
    for index in 0..3 {
        assert_eq!(world.state(index), ServerStatus::Up);
    }
    // It is no sign of a crash loop.
    world.guardian_dies();
    world.run(5_000);
    assert_eq!(world.incidents.len(), 2);
}

#[test]
fn another_process_on_the_port_is_reported_and_gets_no_traffic() {
    let mut world = World::new(3, Managed::Child, options());
    world.run(2_000);
    world.reborn(1, Condition::PortTaken);
    world.break_server(1, Condition::PortTaken);
    world.run(10_000);
    let incident = world.only();
    assert_eq!(incident.diagnosis[0].fault, FaultKind::PortTaken);
    assert_eq!(incident.status, IncidentStatus::Escalated);
    assert!(!world.in_service(1));
    let sent = world.sent(1);
    world.run(10_000);
    assert_eq!(world.sent(1), sent);
    // It goes: the next start has the port.
    world.reborn(1, Condition::Well);
    world.run(200_000);
    assert_eq!(world.only().status, IncidentStatus::Closed);
    assert_eq!(world.state(1), ServerStatus::Up);
}
