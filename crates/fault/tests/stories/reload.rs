//! A reload changes the configuration while the keeper is at work: what is unchanged keeps everything, what is removed ends.

use evenkeel_core::{Directive, ServerId, ServiceId};
use evenkeel_fault::contract::{Managed, OperatorOrder, ServerSpec, ServerStatus};
use evenkeel_fault::incident::{CloseReason, IncidentStatus};
use evenkeel_fault::maintenance::OrderTerms;
use evenkeel_fault::policy::Mode;
use evenkeel_fault::{FaultKind, Output};

use super::world::{Condition, World, options};

const TWO: ServerId = ServerId {
    service: ServiceId(0),
    index: 1,
};

fn world() -> World {
    let mut world = World::new(3, Managed::Child, options());
    world.run(5_000);
    world
}

/// How often an incident was recorded as closed.
fn closings(world: &World) -> usize {
    let records = world.outputs.iter().filter(|(_, output)| {
        matches!(output, Output::Record(incident) if incident.status == IncidentStatus::Closed)
    });
    records.count()
}

fn remove_two(world: &mut World) {
    world.reload(|service| service.servers[1] = ServerSpec::vacant(), &[]);
}

/// In each phase of an incident: its server is removed, and the incident is closed once, with that reason.
#[test]
fn a_removed_server_takes_its_incident_with_it_in_each_phase() {
    // Hung: detected and examined, out and waited for, restarted, verified.
    let mut seen = std::collections::BTreeSet::new();
    for after in (0..30).map(|step| 250 + step * 487) {
        let mut world = world();
        world.break_server(1, Condition::Hung);
        world.starts_in(1_500);
        world.run(after);
        let Some(open) = world.incidents.values().next().cloned() else {
            continue;
        };
        seen.insert(format!("{:?} {:?}", open.status, world.state(1)));
        let was_open = open.status != IncidentStatus::Closed;
        remove_two(&mut world);
        assert_eq!(world.state(1), ServerStatus::Absent);
        let incident = world.only();
        assert_eq!(incident.status, IncidentStatus::Closed);
        if was_open {
            assert_eq!(incident.end, Some(CloseReason::Removed), "{after}");
            let mut told = incident.timeline.iter();
            assert!(told.any(|entry| entry.text.contains("removed from the configuration")));
        }
        world.run(60_000);
        assert_eq!((closings(&world), world.incidents.len()), (1, 1), "{after}");
        assert_eq!(world.state(1), ServerStatus::Absent);
        assert!(world.in_service(0) && world.in_service(2));
    }
    assert!(seen.len() >= 4, "these phases were seen: {seen:?}");
}

#[test]
fn an_incident_that_is_not_proven_to_be_over_is_closed_with_its_server() {
    let mut world = World::new(3, Managed::Nothing, options());
    world.run(5_000);
    world.break_server(1, Condition::Errors(60));
    world.until(20_000, |world| !world.in_service(1));
    world.heal(1);
    // Hardly any requests: it cannot be proven.
    world.ask_every(5_000);
    let is_unproven = |world: &World| {
        let open = world.incidents.values().next();
        world.in_service(1) && open.is_some_and(|one| one.status == IncidentStatus::Verifying)
    };
    world.until(60_000, is_unproven);
    remove_two(&mut world);
    assert_eq!(world.only().end, Some(CloseReason::Removed));
    world.run(60_000);
    assert_eq!(closings(&world), 1);
}

/// What is not named by the change keeps its incident, its maintenance and its state.
#[test]
fn what_is_unchanged_keeps_everything() {
    let mut world = world();
    world.break_server(1, Condition::Blocked);
    world.until(20_000, |world| !world.in_service(1));
    world.order(OperatorOrder::Drain(
        ServerId::new(0, 2),
        OrderTerms {
            force: true,
            ..OrderTerms::default()
        },
    ));
    let id = world.only().id.clone();
    let four = world.another("four");
    world.reload(|service| service.servers.push(four), &[]);
    assert_eq!(world.state(3), ServerStatus::Starting);
    assert!(!world.in_service(3), "no request before a probe has passed");
    assert_eq!(world.state(2), ServerStatus::Maintenance);
    assert_eq!(world.only().id, id);
    assert_ne!(world.only().status, IncidentStatus::Closed);
    world.until(5_000, |world| world.state(3) == ServerStatus::Up);
    world.until(40_000, |world| {
        world.only().status == IncidentStatus::Closed
    });
    assert_eq!(world.only().end, Some(CloseReason::Recovered));
    let sent = world.sent(3);
    world.run(1_000);
    assert!(world.sent(3) > sent);
    assert_eq!(world.state(2), ServerStatus::Maintenance);
}

/// The request path keeps a new child out by itself until the keeper says more about it. To put it in service and take it out again would
/// send it requests for a moment.
#[test]
fn a_new_child_is_not_put_in_service_before_it_is_ready() {
    for (managed, is_in_service) in [(Managed::Child, false), (Managed::Nothing, true)] {
        let mut world = World::new(3, managed, options());
        world.run(5_000);
        let (before, four) = (world.outputs.len(), world.another("four"));
        world.reload(|service| service.servers.push(four), &[]);
        let is_restored = world.outputs[before..].iter().any(|(_, output)| {
            matches!(output, Output::Directive(Directive::Restore { server, .. }) if server.index == 3)
        });
        assert_eq!(is_restored, is_in_service);
        assert_eq!(world.in_service(3), is_in_service);
        world.until(5_000, |world| world.in_service(3));
        let mut restored = world.outputs.iter().filter_map(|(_, output)| match output {
            Output::Directive(Directive::Restore { server, slowly }) => {
                (server.index == 3).then_some(*slowly)
            }
            _ => None,
        });
        assert_eq!(restored.next(), Some(true), "beside those that serve");
        assert_eq!(restored.next(), None);
    }
}

/// What an operator has taken out is not put in service for a moment when its address changes.
#[test]
fn a_server_in_maintenance_is_not_put_in_service_by_another_address() {
    let mut world = World::new(3, Managed::Nothing, options());
    world.run(5_000);
    world.order(OperatorOrder::Drain(TWO, OrderTerms::default()));
    let before = world.outputs.len();
    world.reload(
        |service| service.servers[1].address = Some("127.0.0.1:9201".to_owned()),
        &[],
    );
    let directives = world.outputs[before..]
        .iter()
        .filter_map(|(_, output)| match output {
            Output::Directive(directive) if directive.server() == TWO => Some(*directive),
            _ => None,
        });
    let directives: Vec<Directive> = directives.collect();
    assert_eq!(directives, [Directive::Drain { server: TWO }]);
}

#[test]
fn a_slot_that_is_taken_again_has_a_server_without_a_past() {
    let mut world = world();
    world.break_server(1, Condition::Dead);
    world.reborn(1, Condition::Stillborn);
    world.run(10_000);
    remove_two(&mut world);
    let another = world.another("other");
    world.reload(|service| service.servers[1] = another, &[]);
    world.until(5_000, |world| world.state(1) == ServerStatus::Up);
    world.run(30_000);
    assert_eq!(world.incidents.len(), 1);
    assert!(world.in_service(1));
}

#[test]
fn the_maintenance_of_what_is_removed_is_over_and_orders_are_answered() {
    let mut world = world();
    world.order(OperatorOrder::Drain(TWO, OrderTerms::default()));
    assert_eq!(world.kept().len(), 1);
    world.starts_in(3_000);
    world.order(OperatorOrder::Restart(
        ServerId::new(0, 2),
        OrderTerms::default(),
    ));
    world.run(100);
    assert_eq!(world.answers(), ["accepted"]);
    world.reload(
        |service| {
            service.servers[1] = ServerSpec::vacant();
            service.servers[2] = ServerSpec::vacant();
        },
        &[],
    );
    assert!(world.kept().is_empty());
    assert_eq!(world.answers(), ["accepted", "failed"]);
    world.run(30_000);
    assert!(world.incidents.is_empty());
}

/// An operator took out what goes by this name. A new address does not put it back.
#[test]
fn another_address_is_another_server_and_stays_in_maintenance() {
    let mut world = world();
    world.order(OperatorOrder::Drain(TWO, OrderTerms::default()));
    world.break_server(2, Condition::Hung);
    world.until(20_000, |world| !world.in_service(2));
    let elsewhere = |service: &mut evenkeel_fault::contract::ServiceSpec| {
        for index in [1, 2] {
            service.servers[index].address = Some(format!("127.0.0.1:{}", 9200 + index));
        }
    };
    world.reload(elsewhere, &[]);
    assert_eq!(world.state(1), ServerStatus::Maintenance);
    assert!(!world.in_service(1));
    assert_eq!(world.only().end, Some(CloseReason::Left));
    world.until(5_000, |world| world.state(2) == ServerStatus::Up);
    world.run(20_000);
    assert_eq!(world.state(1), ServerStatus::Maintenance);
    world.order(OperatorOrder::Restore(TWO));
    world.until(5_000, |world| world.state(1) == ServerStatus::Up);
    assert_eq!(closings(&world), 1);
}

#[test]
fn a_removed_service_ends_with_all_that_is_open() {
    let mut world = World::new(4, Managed::Nothing, options());
    world.run(5_000);
    for index in 0..4 {
        world.break_server(index, Condition::Errors(80));
    }
    world.until(20_000, |world| !world.incidents.is_empty());
    world.order(OperatorOrder::Drain(
        TWO,
        OrderTerms {
            force: true,
            ..OrderTerms::default()
        },
    ));
    world.remove_service();
    let mut open = world.incidents.values();
    assert!(
        open.all(|one| one.status == IncidentStatus::Closed),
        "{:#?}",
        world.incidents
    );
    let mut ends = world.incidents.values();
    assert!(ends.any(|one| one.end == Some(CloseReason::Removed)));
    assert!(world.kept().is_empty());
    let (incidents, outputs) = (world.incidents.len(), world.outputs.len());
    world.run(30_000);
    assert_eq!(
        (world.incidents.len(), world.outputs.len()),
        (incidents, outputs)
    );
    world.order(OperatorOrder::Drain(TWO, OrderTerms::default()));
    assert_eq!(world.answers(), ["refused"]);
}

#[test]
fn changed_thresholds_hold_from_the_next_evaluation_on() {
    let mut world = World::new(3, Managed::Nothing, options());
    world.run(5_000);
    world.reload(
        |service| {
            service.options.detect.failure_ratio = None;
            service.options.detect.consecutive_failures = 0;
        },
        &[],
    );
    world.break_server(1, Condition::Errors(45));
    world.run(20_000);
    assert!(world.incidents.is_empty());
    let usual = options().detect;
    world.reload(|service| service.options.detect = usual, &[]);
    world.until(5_000, |world| !world.incidents.is_empty());
    assert_eq!(
        world.only().diagnosis.first().map(|one| one.fault),
        Some(FaultKind::ErrorBurst)
    );
}

#[test]
fn what_waits_for_approval_goes_on_when_nobody_is_asked_any_longer() {
    let mut options = options();
    options.recover.mode = Mode::Ask;
    let mut world = World::new(3, Managed::Child, options);
    world.run(5_000);
    world.break_server(1, Condition::Dead);
    let waits = |world: &World| {
        let one = world.incidents.values().next();
        one.is_some_and(|one| one.status == IncidentStatus::AwaitingApproval)
    };
    world.until(20_000, waits);
    assert!(world.restarts.is_empty());
    world.reload(
        |service| service.options.recover.mode = Mode::Automatic,
        &[],
    );
    world.until(20_000, |world| {
        world.only().status == IncidentStatus::Closed
    });
    assert_eq!(world.restarts.len(), 1);
    assert!(world.in_service(1));
}

#[test]
fn off_puts_back_what_evenkeel_has_taken_out() {
    let mut world = world();
    world.break_server(1, Condition::Blocked);
    world.until(20_000, |world| !world.in_service(1));
    world.reload(|service| service.options.recover.mode = Mode::Off, &[]);
    let before = world.outputs.len();
    world.run(20_000);
    let acts = |(_, output): &(_, Output)| matches!(output, Output::Directive(_) | Output::Act(_));
    assert!(!world.outputs[before..].iter().any(acts));
    assert!(world.in_service(1));
    assert_ne!(world.only().status, IncidentStatus::Closed);
    world.heal(1);
    world.until(10_000, |world| {
        world.only().status == IncidentStatus::Closed
    });
}

/// Of what is removed during an incident of the whole service, or as the one that is tried for all that cannot start.
#[test]
fn the_server_that_is_tried_for_all_may_be_removed() {
    let mut world = world();
    for index in 0..3 {
        world.break_server(index, Condition::Dead);
        world.reborn(index, Condition::Stillborn);
    }
    world.run(20_000);
    let open = |world: &World| {
        let all = world.incidents.values();
        all.filter(|one| one.status != IncidentStatus::Closed)
            .count()
    };
    assert_eq!(open(&world), 1, "{:#?}", world.incidents);
    let lead = world
        .incidents
        .values()
        .find(|one| one.status != IncidentStatus::Closed);
    let lead = lead
        .map(|one| one.servers[0].clone())
        .expect("one is tried");
    let gone = ["one", "two", "three"]
        .iter()
        .position(|name| *name == lead)
        .expect("known");
    world.reload(|service| service.servers[gone] = ServerSpec::vacant(), &[]);
    let left: Vec<usize> = (0..3).filter(|index| *index != gone).collect();
    for index in &left {
        world.reborn(*index, Condition::Well);
    }
    let are_up = |world: &World| left.iter().all(|index| world.in_service(*index));
    world.until(120_000, are_up);
    world.until(60_000, |world| open(world) == 0);
}
