//! Whatever an operator takes out of service is left alone until it is restored, and is verified then.

use evenkeel_core::{ServerId, ServiceId};
use evenkeel_fault::PersistedState;
use evenkeel_fault::contract::{Managed, OperatorOrder, ServerStatus};
use evenkeel_fault::incident::{CloseReason, IncidentStatus};
use evenkeel_fault::maintenance::OrderTerms;
use evenkeel_fault::policy::Mode;

use super::world::{Condition, World, ms, options};

const TWO: ServerId = ServerId {
    service: ServiceId(0),
    index: 1,
};
const SHOP: ServiceId = ServiceId(0);

fn world() -> World {
    let mut world = World::new(3, Managed::Child, options());
    world.run(5_000);
    world
}

fn lasting(millis: u64) -> OrderTerms {
    OrderTerms {
        lasts: Some(ms(millis)),
        ..OrderTerms::default()
    }
}

fn forced() -> OrderTerms {
    OrderTerms {
        force: true,
        ..OrderTerms::default()
    }
}

/// The operator of a server in maintenance may stop it: nothing is restarted, and there is no incident.
#[test]
fn a_server_that_is_held_and_then_stopped_is_left_alone() {
    let terms = OrderTerms::default;
    for order in [
        OperatorOrder::Drain(TWO, terms()),
        OperatorOrder::Eject(TWO, terms()),
    ] {
        for managed in [Managed::Child, Managed::Nothing] {
            let mut world = World::new(3, managed, options());
            world.run(5_000);
            world.order(order.clone());
            assert_eq!(world.answers(), ["done"]);
            world.break_server(1, Condition::Dead);
            world.run(120_000);
            assert_eq!(world.state(1), ServerStatus::Maintenance);
            assert!(!world.in_service(1));
            assert!(world.restarts.is_empty() && world.incidents.is_empty());
        }
    }
}

#[test]
fn a_restore_verifies_the_server_before_it_serves() {
    let mut world = world();
    world.order(OperatorOrder::Drain(TWO, OrderTerms::default()));
    world.run(20_000);
    let sent = world.sent(1);
    world.order(OperatorOrder::Restore(TWO));
    assert_eq!(world.answers(), ["accepted"]);
    assert_eq!(world.state(1), ServerStatus::Verifying);
    assert!(!world.in_service(1), "no request before a probe has passed");
    world.until(5_000, |world| world.answers().len() == 2);
    assert_eq!(world.answers(), ["accepted", "done"]);
    assert_eq!(world.state(1), ServerStatus::Up);
    world.run(1_000);
    assert!(world.sent(1) > sent);
    assert!(world.incidents.is_empty() && world.kept().is_empty());
}

#[test]
fn a_server_that_was_stopped_in_maintenance_is_started_by_the_restore() {
    let mut world = world();
    world.order(OperatorOrder::Eject(TWO, OrderTerms::default()));
    world.break_server(1, Condition::Dead);
    world.run(5_000);
    world.order(OperatorOrder::Restore(TWO));
    world.until(5_000, |world| world.answers().len() == 2);
    assert_eq!(world.answers(), ["accepted", "done"]);
    assert_eq!(world.restarts.len(), 1);
    assert!(world.in_service(1) && world.incidents.is_empty());
}

#[test]
fn a_server_that_is_ill_when_it_is_given_back_becomes_an_incident() {
    let mut world = World::new(3, Managed::Nothing, options());
    world.run(5_000);
    world.order(OperatorOrder::Drain(TWO, OrderTerms::default()));
    world.break_server(1, Condition::Deaf);
    world.run(30_000);
    world.order(OperatorOrder::Restore(TWO));
    world.until(30_000, |world| world.answers().len() == 2);
    assert_eq!(world.answers(), ["accepted", "failed"]);
    assert!(!world.in_service(1));
    assert_ne!(world.only().status, IncidentStatus::Closed);
    world.heal(1);
    world.until(20_000, |world| {
        world.only().status == IncidentStatus::Closed
    });
    assert!(world.in_service(1), "its maintenance ended");
}

#[test]
fn an_open_incident_is_handed_over_and_is_in_no_mean() {
    let mut options = options();
    options.recover.mode = Mode::Ask;
    let mut world = World::new(3, Managed::Child, options);
    world.run(5_000);
    world.break_server(1, Condition::Hung);
    world.run(10_000);
    world.order(OperatorOrder::Drain(TWO, OrderTerms::default()));
    let incident = world.only().clone();
    assert_eq!(incident.status, IncidentStatus::Closed);
    assert_eq!(incident.end, Some(CloseReason::Maintenance));
    assert_eq!(incident.durations_ms.time_to_restore(), None);
    world.run(60_000);
    assert_eq!(world.only(), &incident, "nothing more is said of it");
}

#[test]
fn maintenance_with_a_time_ends_by_itself_with_a_verification() {
    let mut world = world();
    world.order(OperatorOrder::Eject(TWO, lasting(30_000)));
    world.run(29_900);
    assert_eq!(world.state(1), ServerStatus::Maintenance);
    world.run(150);
    assert_eq!(world.state(1), ServerStatus::Verifying);
    world.run(3_000);
    assert_eq!(world.state(1), ServerStatus::Up);
    assert!(world.kept().is_empty());
}

#[test]
fn maintenance_goes_on_when_the_program_starts_again() {
    let mut before = world();
    before.order(OperatorOrder::Drain(TWO, lasting(60_000)));
    before.order(OperatorOrder::MaintenanceOn(SHOP, OrderTerms::default()));
    let kept = before.kept();
    assert_eq!(kept.len(), 2);
    let memory = PersistedState {
        maintenance: kept,
        ..PersistedState::default()
    };
    // The clock of the second run begins at the same time of the calendar: 65 s are left.
    let mut after = World::with_memory(3, Managed::Child, options(), memory);
    assert!(!after.gate);
    assert!(!after.in_service(1));
    after.run(64_000);
    assert_eq!(after.state(1), ServerStatus::Maintenance);
    assert!(!after.gate && after.incidents.is_empty());
    after.run(4_000);
    assert_eq!(after.state(1), ServerStatus::Up, "its time was over");
    after.order(OperatorOrder::MaintenanceOff(SHOP, OrderTerms::default()));
    after.until(5_000, |world| world.gate);
}

#[test]
fn what_would_leave_nothing_in_service_is_refused_unless_forced() {
    let mut world = world();
    let others = [ServerId::new(0, 0), ServerId::new(0, 2)];
    for server in others {
        world.order(OperatorOrder::Drain(server, OrderTerms::default()));
        assert_eq!(world.answers(), ["done"]);
    }
    for order in [
        OperatorOrder::Drain(TWO, OrderTerms::default()),
        OperatorOrder::Eject(TWO, OrderTerms::default()),
        OperatorOrder::Restart(TWO, OrderTerms::default()),
    ] {
        world.order(order);
        assert_eq!(world.answers(), ["refused"]);
        assert_eq!(world.state(1), ServerStatus::Up);
    }
    world.order(OperatorOrder::Drain(TWO, forced()));
    assert_eq!(world.answers(), ["done"]);
    assert!(!world.in_service(1));
}

#[test]
fn a_restart_in_maintenance_leaves_the_server_there() {
    let mut world = world();
    world.order(OperatorOrder::Drain(TWO, OrderTerms::default()));
    world.order(OperatorOrder::Restart(TWO, OrderTerms::default()));
    world.run(5_000);
    assert_eq!(world.answers(), ["accepted", "done"]);
    assert_eq!(world.restarts.len(), 1);
    assert_eq!(world.state(1), ServerStatus::Maintenance);
    assert!(!world.in_service(1));
}

/// Servers keep running and are probed, and nothing is repaired; the end waits for a healthy one.
#[test]
fn a_service_in_maintenance_is_left_alone_until_one_server_is_verified() {
    let mut world = world();
    world.order(OperatorOrder::MaintenanceOn(SHOP, OrderTerms::default()));
    assert_eq!(world.answers(), ["done"]);
    assert!(!world.gate);
    for index in 0..3 {
        world.reborn(index, Condition::Deaf);
        world.break_server(
            index,
            if index == 0 {
                Condition::Dead
            } else {
                Condition::Deaf
            },
        );
    }
    world.run(60_000);
    assert!(world.restarts.is_empty() && world.incidents.is_empty());
    world.order(OperatorOrder::MaintenanceOff(SHOP, OrderTerms::default()));
    world.run(20_000);
    assert_eq!(world.answers(), ["accepted"]);
    assert!(!world.gate, "no server is well yet");
    assert!(
        !world.incidents.is_empty(),
        "what is wrong is repaired from now on"
    );
    for index in 0..3 {
        world.heal(index);
    }
    world.until(90_000, |world| world.gate);
    assert_eq!(world.answers(), ["accepted", "done"]);
}

#[test]
fn a_well_service_comes_back_within_a_few_probes() {
    let mut world = world();
    world.order(OperatorOrder::MaintenanceOn(SHOP, lasting(30_000)));
    world.run(29_990);
    assert!(!world.gate);
    let took = world.until(2_000, |world| world.gate);
    assert!(took < ms(1_000), "{took:?}");
    world.run(5_000);
    assert!((0..3).all(|index| world.state(index) == ServerStatus::Up));
    assert!(world.incidents.is_empty());
    world.order(OperatorOrder::MaintenanceOff(SHOP, OrderTerms::default()));
    assert_eq!(world.answers(), ["refused"], "it is over already");
}
