//! One story per kind of fault: what is broken, what the incident says, that the server comes back.

mod world;

use evenkeel_fault::FaultKind;
use evenkeel_fault::contract::{Managed, ServerState};
use evenkeel_fault::incident::{ActionOutcome, Incident, Status};

use world::{Condition, World, ms, options};

fn kind(incident: &Incident) -> FaultKind {
    incident.diagnosis[0].fault
}

fn closed(world: &World) -> bool {
    !world.incidents.is_empty()
        && world
            .incidents
            .values()
            .all(|incident| incident.status == Status::Closed)
}

fn actions(incident: &Incident) -> Vec<(&str, &str)> {
    incident
        .actions
        .iter()
        .map(|action| {
            (
                action.action.as_str(),
                action.outcome.map_or("under way", ActionOutcome::word),
            )
        })
        .collect()
}

fn evidence(incident: &Incident) -> String {
    incident.diagnosis[0].evidence.join("; ")
}

#[test]
fn a_killed_child_is_back_within_one_and_a_half_seconds() {
    let mut world = World::new(3, Managed::Child, options());
    world.run(5_000);
    assert_eq!(world.state(1), ServerState::Up);
    world.break_server(1, Condition::Dead);
    let took = world.until(1_500, closed);
    assert!(took < ms(1_000), "{took:?}");
    let incident = world.only();
    assert_eq!(kind(incident), FaultKind::ProcessCrashed);
    assert_eq!(incident.detected_by, "supervisor");
    assert_eq!(incident.servers, ["two"]);
    assert_eq!(actions(incident), [("eject", "done"), ("restart", "done")]);
    assert!(
        evidence(incident).contains("exit status: signal 9 (SIGKILL)"),
        "{}",
        evidence(incident)
    );
    assert_eq!(
        incident.verification.as_ref().expect("verified").outcome,
        "passed"
    );
    assert!(incident.durations_ms.time_to_restore().expect("all") < 1_000.0);
    assert_eq!(incident.impact.failed, 0);
    assert!(
        incident.id.starts_with("2026-11-22-0001"),
        "{}",
        incident.id
    );
    assert_eq!(world.state(1), ServerState::Up);
    assert!(world.in_service(1));
    println!("{}", serde_json::to_string_pretty(incident).expect("JSON"));
}
