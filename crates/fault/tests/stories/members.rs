//! Servers from DNS: nothing known about one counts against the next one in its slot.

use std::net::SocketAddr;

use evenkeel_core::{Directive, Observation, ServerId, Signal};
use evenkeel_fault::contract::{Managed, OperatorOrder, ServerStatus};
use evenkeel_fault::incident::IncidentStatus;
use evenkeel_fault::maintenance::OrderTerms;
use evenkeel_fault::{Input, Output};

use super::world::{Condition, World, options};

fn moved(world: &mut World, index: u32, address: Option<SocketAddr>) {
    let at = world.now;
    world.feed(vec![Input::Signal(Signal {
        at,
        server: ServerId::new(0, index),
        observation: Observation::Moved(address),
    })]);
}

fn elsewhere() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 7], 80))
}

#[test]
fn a_server_that_goes_takes_its_incident_with_it() {
    let mut world = World::new(3, Managed::Nothing, options());
    world.run(5_000);
    world.break_server(1, Condition::Hung);
    world.until(10_000, |world| !world.in_service(1));
    moved(&mut world, 1, None);
    world.heal(1);
    assert_eq!(world.state(1), ServerStatus::Absent);
    let incident = world.only();
    assert_eq!(incident.status, IncidentStatus::Closed);
    let told = incident.timeline.iter();
    let mut told = told.filter(|entry| entry.text.contains("or was removed"));
    assert!(told.next().is_some(), "{incident:#?}");

    // Running actions for it have no effect, and its orders are void.
    let before = world.outputs.len();
    world.order(OperatorOrder::Drain(
        ServerId::new(0, 1),
        OrderTerms::default(),
    ));
    world.run(10_000);
    assert_eq!(world.state(1), ServerStatus::Absent);
    assert_eq!(world.incidents.len(), 1);
    let about_it = |output: &Output| matches!(output, Output::Directive(directive) if directive.server().index == 1);
    let directives = world.outputs[before..].iter();
    assert!(!directives.into_iter().any(|(_, output)| about_it(output)));

    // The next one is a new server.
    moved(&mut world, 1, Some(elsewhere()));
    assert_eq!(world.state(1), ServerStatus::Up);
    assert!(world.in_service(1));
    world.run(5_000);
    assert_eq!(world.state(1), ServerStatus::Up);
    assert_eq!(world.incidents.len(), 1);
}

#[test]
fn another_address_is_another_server() {
    let mut world = World::new(3, Managed::Nothing, options());
    world.run(5_000);
    world.order(OperatorOrder::Drain(
        ServerId::new(0, 2),
        OrderTerms::default(),
    ));
    assert_eq!(world.state(2), ServerStatus::Maintenance);
    moved(&mut world, 2, Some(elsewhere()));
    assert_eq!(world.state(2), ServerStatus::Up);
    let last = world.outputs.iter().rev();
    let mut directives = last.filter_map(|(_, output)| match output {
        Output::Directive(directive) => Some(directive),
        _ => None,
    });
    let server = ServerId::new(0, 2);
    let slowly = true;
    assert_eq!(
        directives.next(),
        Some(&Directive::Restore { server, slowly })
    );
}

/// With one of five places vacant, two of the four that are there may be taken out: half of five would leave three. Their faults
/// differ, so that each is judged alone.
#[test]
fn a_vacant_place_is_no_capacity() {
    let mut world = World::new(5, Managed::Nothing, options());
    moved(&mut world, 4, None);
    world.run(5_000);
    world.break_server(0, Condition::Errors(45));
    world.break_server(1, Condition::Slow(20));
    let mut least = 4;
    for _ in 0..100 {
        world.run(200);
        let serving = (0..4).filter(|index| world.in_service(*index)).count();
        least = least.min(serving);
    }
    assert_eq!(least, 2);
}
