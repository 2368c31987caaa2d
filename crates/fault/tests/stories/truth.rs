//! Incident records tell the truth: who repaired, whether it is proven, the outcome of an order, the times.

use evenkeel_core::{Epoch, ServerId, WallTime};
use evenkeel_fault::contract::{Managed, OperatorOrder};
use evenkeel_fault::incident::invariants::violations;
use evenkeel_fault::incident::{Incident, IncidentStatus, RepairedBy};
use evenkeel_fault::maintenance::OrderTerms;
use evenkeel_fault::policy::Mode;
use evenkeel_fault::{FaultKind, Input};

use super::world::{Condition, World, ms, options};

fn closed(world: &World) -> bool {
    !world.incidents.is_empty()
        && world
            .incidents
            .values()
            .all(|incident| incident.status == IncidentStatus::Closed)
}

fn summary(incident: &Incident) -> &str {
    &incident.analysis.as_ref().expect("a report").summary
}

#[test]
fn only_a_repair_of_evenkeels_own_is_called_verified() {
    let mut world = World::new(3, Managed::Child, options());
    world.run(5_000);
    world.break_server(1, Condition::Dead);
    world.until(5_000, closed);
    let held = world.only().verification.as_ref().expect("verified");
    assert_eq!(
        (held.outcome.as_str(), held.repaired_by),
        ("passed", Some(RepairedBy::Evenkeel))
    );
    assert!(summary(world.only()).contains("the repair was verified"));

    // This one is run by an operator only, who repairs it.
    let mut world = World::new(3, Managed::Nothing, options());
    world.run(5_000);
    world.break_server(1, Condition::Hung);
    world.run(20_000);
    world.heal(1);
    world.until(20_000, closed);
    let held = world.only().verification.as_ref().expect("verified");
    assert_eq!(held.repaired_by, None);
    let summary = summary(world.only());
    assert!(
        summary.contains("without a repair by evenkeel"),
        "{summary}"
    );
}

#[test]
fn a_restart_by_an_operator_is_distinguished() {
    let mut options = options();
    options.recover.mode = Mode::Ask;
    let mut world = World::new(3, Managed::Child, options);
    world.run(5_000);
    world.break_server(1, Condition::Hung);
    world.run(10_000);
    let server = ServerId::new(0, 1);
    world.order(OperatorOrder::Restart(server, OrderTerms::default()));
    world.until(10_000, closed);
    assert_eq!(world.answers(), ["accepted", "done"]);
    let held = world.only().verification.as_ref().expect("verified");
    assert_eq!(held.repaired_by, Some(RepairedBy::Person));
    let summary = summary(world.only());
    assert!(
        summary.contains("an operator ordered: restart"),
        "{summary}"
    );
}

/// Requests failed, and none has come since: probes alone do not prove that the kind of request that failed succeeds.
#[test]
fn a_repair_that_no_request_has_tried_is_not_proven() {
    let mut world = World::new(3, Managed::Child, options());
    world.run(5_000);
    world.break_server(1, Condition::Errors(100));
    world.until(5_000, |world| !world.incidents.is_empty());
    world.heal(1);
    world.every = ms(3_600_000);
    world.run(10_000);
    assert!(world.in_service(1), "it is back all the same");
    assert_eq!(world.only().detected_by, "consecutive-failures");
    let is_not_proven = |world: &World| {
        let held = world.only().verification.as_ref().expect("verified");
        (held.outcome.as_str(), held.requests) == ("not-proven", 0)
    };
    assert!(is_not_proven(&world));
    world.run(580_000);
    assert_eq!(world.only().status, IncidentStatus::Verifying);
    world.until(30_000, closed);
    assert!(is_not_proven(&world));
}

#[test]
fn orders_that_cannot_be_carried_out_are_refused() {
    let mut world = World::new(3, Managed::Nothing, options());
    world.run(5_000);
    let server = ServerId::new(0, 1);
    world.order(OperatorOrder::Restart(server, OrderTerms::default()));
    assert_eq!(world.answers(), ["refused"], "nothing restarts it");
    world.order(OperatorOrder::Restore(server));
    assert_eq!(world.answers(), ["refused"], "it is in service");
    world.order(OperatorOrder::Restore(ServerId::new(0, 9)));
    assert_eq!(world.answers(), ["refused"], "there is no such server");
    world.break_server(1, Condition::Dead);
    world.until(20_000, |world| !world.incidents.is_empty());
    let id = world.only().id.clone();
    world.order(OperatorOrder::Approve(id.clone()));
    assert_eq!(world.answers(), ["refused"], "it proposes nothing");
    world.order(OperatorOrder::Close(id.clone()));
    assert_eq!(world.answers(), ["done"]);
    for order in [OperatorOrder::Approve(id.clone()), OperatorOrder::Close(id)] {
        world.order(order);
        assert_eq!(world.answers(), ["refused"], "it is closed");
    }
}

#[test]
fn a_failed_restart_is_recorded_as_failed() {
    let mut world = World::new(3, Managed::Child, options());
    world.run(5_000);
    world.reborn(1, Condition::Unstartable);
    let server = ServerId::new(0, 1);
    world.order(OperatorOrder::Restart(server, OrderTerms::default()));
    world.run(2_000);
    assert_eq!(world.answers(), ["accepted", "failed"]);
}

#[test]
fn the_impact_of_an_open_incident_is_kept_up() {
    let mut world = World::new(1, Managed::Nothing, options());
    world.run(5_000);
    world.break_server(0, Condition::Hung);
    world.run(60_000);
    let open = world.only();
    assert_ne!(open.status, IncidentStatus::Closed);
    assert!(open.impact.failed > 1_000, "{:?}", open.impact);
}

/// The clock is set by an hour in the middle of an incident: stamps follow it, durations are what they were.
#[test]
fn stamps_follow_a_clock_that_was_set_and_durations_do_not() {
    for by_millis in [3_600_000, -3_600_000] {
        let mut world = World::new(3, Managed::Nothing, options());
        world.run(5_000);
        world.break_server(1, Condition::Deaf);
        world.run(30_000);
        let epoch = Epoch(WallTime(
            1_795_341_600_000_u64.saturating_add_signed(by_millis),
        ));
        world.feed(vec![Input::ClockSet { epoch, by_millis }]);
        world.run(30_000);
        world.heal(1);
        world.until(20_000, closed);
        // That it was set is an incident of evenkeel itself.
        let (own, others): (Vec<&Incident>, Vec<&Incident>) = world
            .incidents
            .values()
            .partition(|one| one.servers.is_empty());
        assert_eq!(own[0].diagnosis[0].fault, FaultKind::ClockSkew);
        let incident = others[0];
        assert_eq!((own.len(), others.len()), (1, 1));
        assert_eq!(violations(incident), Vec::<String>::new());
        assert_eq!(
            incident
                .timeline
                .iter()
                .filter(|entry| entry.kind == "clock")
                .count(),
            1
        );
        let hour = |text: &str| text.get(11..13).unwrap_or_default().to_owned();
        let after = if by_millis > 0 { "11" } else { "09" };
        assert_eq!(hour(&incident.onset), "10");
        assert_eq!(hour(incident.recovered.as_ref().expect("recovered")), after);
        let recovery = incident.durations_ms.recovery.expect("recovered");
        assert!((50_000.0..80_000.0).contains(&recovery), "{recovery}");
    }
}
