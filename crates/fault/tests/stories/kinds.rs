//! One story per kind of fault: what breaks, what the incident says, and that the server comes back.

use evenkeel_fault::FaultKind;
use evenkeel_fault::contract::{Managed, ServerStatus};
use evenkeel_fault::incident::{ActionOutcome, Incident, IncidentStatus};
use evenkeel_fault::policy::ProbeKind;

use super::world::{Condition, World, ms, options};

pub(super) fn kind(incident: &Incident) -> FaultKind {
    incident.diagnosis[0].fault
}

fn closed(world: &World) -> bool {
    !world.incidents.is_empty()
        && world
            .incidents
            .values()
            .all(|incident| incident.status == IncidentStatus::Closed)
}

pub(super) fn actions(incident: &Incident) -> Vec<(&str, &str)> {
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

pub(super) fn evidence(incident: &Incident) -> String {
    incident.diagnosis[0].evidence.join("; ")
}

#[test]
fn a_killed_child_is_back_within_one_and_a_half_seconds() {
    let mut world = World::new(3, Managed::Child, options());
    world.run(5_000);
    assert_eq!(world.state(1), ServerStatus::Up);
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
    assert_eq!(world.state(1), ServerStatus::Up);
    assert!(world.in_service(1));
    println!("{}", serde_json::to_string_pretty(incident).expect("JSON"));
}

/// Breaks server two of three, waits until the incident is closed, and checks what holds for every kind.
fn story(managed: Managed, condition: Condition, within: u64) -> World {
    let mut world = World::new(3, managed, options());
    world.run(15_000);
    assert!(world.incidents.is_empty(), "{:#?}", world.incidents);
    world.break_server(1, condition);
    world.until(within, closed);
    assert_eq!(world.state(1), ServerStatus::Up);
    assert!(world.in_service(1));
    let incident = world.only();
    assert_eq!(incident.servers, ["two"]);
    assert!(incident.durations_ms.time_to_restore().is_some());
    assert!(
        incident.analysis.is_some() && incident.recovered.is_some() && incident.closed.is_some()
    );
    assert_eq!(incident.impact.failed, 0);
    world
}

#[test]
fn a_hung_child_is_killed_at_once_and_replaced() {
    let world = story(Managed::Child, Condition::Hung, 10_000);
    let incident = world.only();
    assert_eq!(kind(incident), FaultKind::ProcessHung);
    assert_eq!(actions(incident), [("eject", "done"), ("restart", "done")]);
    let told = evidence(incident);
    assert!(told.contains("TCP connect succeeded in 0.4 ms"), "{told}");
    assert!(told.contains("got no answer within 1000 ms"), "{told}");
    assert!(told.contains("is alive, state T (stopped)"), "{told}");
    assert!(world.restarts[0].2.at_once);
}

#[test]
fn a_hung_server_that_evenkeel_does_not_run_is_kept_out_until_it_answers() {
    let mut world = World::new(3, Managed::Nothing, options());
    world.run(15_000);
    world.break_server(1, Condition::Hung);
    world.until(30_000, |world| {
        world
            .incidents
            .values()
            .any(|incident| incident.status == IncidentStatus::Escalated)
    });
    assert!(!world.in_service(1));
    assert_eq!(
        actions(world.only()),
        [
            ("eject", "done"),
            ("restart", "refused"),
            ("escalate", "done")
        ]
    );
    world.run(60_000);
    assert!(!world.in_service(1));
    world.heal(1);
    world.until(3_000, closed);
    assert_eq!(kind(world.only()), FaultKind::ProcessHung);
    assert!(world.in_service(1));
}

#[test]
fn a_closed_listener_is_told_from_a_crash_and_restarted() {
    let world = story(Managed::Child, Condition::Deaf, 5_000);
    let incident = world.only();
    assert_eq!(kind(incident), FaultKind::NotListening);
    assert_eq!(
        actions(incident),
        [("eject", "done"), ("wait", "done"), ("restart", "done")]
    );
    assert!(
        evidence(incident).contains("does not listen"),
        "{}",
        evidence(incident)
    );
}

#[test]
fn refused_by_a_server_that_evenkeel_does_not_run_says_that_the_process_is_unknown() {
    let mut world = World::new(3, Managed::Nothing, options());
    world.run(5_000);
    world.break_server(1, Condition::Deaf);
    world.run(5_000);
    assert!(!world.in_service(1));
    world.heal(1);
    world.until(5_000, closed);
    assert_eq!(kind(world.only()), FaultKind::NotListening);
    assert!(
        evidence(world.only()).contains("is not known"),
        "{}",
        evidence(world.only())
    );
    assert_eq!(actions(world.only()), [("eject", "done")]);
}

#[test]
fn five_hundreds_are_an_error_burst_and_a_restart_cures_them() {
    let world = story(Managed::Child, Condition::Errors(100), 5_000);
    assert_eq!(kind(world.only()), FaultKind::ErrorBurst);
    assert_eq!(
        actions(world.only()),
        [("eject", "done"), ("restart", "done")]
    );
    let some = story(Managed::Child, Condition::Errors(40), 10_000);
    assert_eq!(kind(some.only()), FaultKind::ErrorBurst);
    assert_eq!(some.only().detected_by, "failure-ratio");
}

#[test]
fn an_error_burst_of_an_unmanaged_server_is_tried_again_after_a_hold() {
    let mut world = World::new(3, Managed::Nothing, options());
    world.run(5_000);
    world.break_server(1, Condition::Errors(100));
    world.run(20_000);
    assert!(!world.in_service(1));
    let sent = world.sent(1);
    world.run(5_000);
    assert_eq!(world.sent(1), sent);
    world.run(30_000);
    assert!(world.sent(1) > sent, "a trickle was tried");
    assert!(!world.in_service(1));
    assert_eq!(world.only().status, IncidentStatus::Escalated);
    world.heal(1);
    world.until(150_000, closed);
    assert!(world.in_service(1));
}

#[test]
fn a_hung_server_that_only_its_requests_show_is_not_taken_for_repaired() {
    let mut options = options();
    options.detect.probe.kind = ProbeKind::Tcp;
    let mut world = World::new(3, Managed::Nothing, options);
    world.run(15_000);
    world.break_server(1, Condition::Hung);
    world.until(30_000, |world| !world.in_service(1));
    for _ in 0..60 {
        world.run(1_000);
        assert!(!closed(&world), "{:#?}", world.incidents);
    }
    assert_eq!(kind(world.only()), FaultKind::ProcessHung);
    assert_eq!(world.only().status, IncidentStatus::Escalated);
    world.heal(1);
    world.until(90_000, closed);
    assert!(world.in_service(1));
}

#[test]
fn ten_times_slower_is_a_slow_server() {
    let world = story(Managed::Child, Condition::Slow(10), 20_000);
    let incident = world.only();
    assert_eq!(kind(incident), FaultKind::SlowServer);
    assert_eq!(actions(incident), [("drain", "done"), ("restart", "done")]);
    assert!(
        evidence(incident).contains("times that of its peers"),
        "{}",
        evidence(incident)
    );
    assert!(!world.restarts[0].2.at_once);
    let detection = incident.durations_ms.detection.expect("detected");
    assert!(
        (1_500.0..6_000.0).contains(&detection),
        "the onset is when it became slow: {detection}"
    );
}

#[test]
fn servers_of_mixed_requests_are_not_slow_by_chance_and_one_that_is_slow_is_found() {
    for seed in 0..6 {
        let mut world = World::new(3, Managed::Nothing, options());
        world.random = evenkeel_core::Random::seeded(seed);
        world.every = ms(28);
        (0..3).for_each(|index| world.break_server(index, Condition::Mixed(1)));
        world.run(600_000);
        assert!(
            world.incidents.is_empty(),
            "seed {seed}: {:#?}",
            world.incidents
        );
        world.break_server(1, Condition::Mixed(8));
        world.until(60_000, |world| !world.incidents.is_empty());
        let incident = world.incidents.values().next().unwrap();
        assert_eq!(incident.servers, ["two"], "seed {seed}");
    }
}

#[test]
fn a_slow_server_that_evenkeel_does_not_run_stays_out_and_is_tried_again() {
    let mut world = World::new(3, Managed::Nothing, options());
    world.run(15_000);
    world.break_server(1, Condition::Slow(10));
    world.until(20_000, |world| !world.in_service(1));
    world.run(25_000);
    assert!(!world.in_service(1));
    world.heal(1);
    world.until(20_000, closed);
    assert_eq!(kind(world.only()), FaultKind::SlowServer);
}

#[test]
fn a_black_hole_is_unreachable_and_comes_back_by_itself() {
    let mut world = World::new(3, Managed::Nothing, options());
    world.run(5_000);
    world.break_server(1, Condition::Unreachable);
    world.until(30_000, |world| {
        world
            .incidents
            .values()
            .any(|incident| incident.status == IncidentStatus::Escalated)
    });
    assert!(!world.in_service(1));
    world.heal(1);
    world.until(5_000, closed);
    assert_eq!(kind(world.only()), FaultKind::Unreachable);
    assert_eq!(
        actions(world.only()),
        [("eject", "done"), ("wait", "done"), ("escalate", "done")]
    );
}

#[test]
fn a_red_probe_with_green_traffic_is_a_bad_probe_and_nothing_is_done_to_the_server() {
    let mut world = World::new(3, Managed::Child, options());
    world.run(5_000);
    world.break_server(1, Condition::BadProbe);
    world.run(20_000);
    assert!(world.in_service(1));
    assert!(world.restarts.is_empty());
    let incident = world.only();
    assert_eq!(kind(incident), FaultKind::BadProbe);
    assert!(
        evidence(incident).contains("attempts succeeded"),
        "{}",
        evidence(incident)
    );
    // The first evidence is what `status` shows.
    let first = &incident.diagnosis[0].evidence[0];
    let cause = "status 400 (the application may check the host: probes send `Host: ";
    assert!(first.contains(cause), "{first}");
    assert_eq!(actions(incident), [("escalate", "done")]);
    world.heal(1);
    world.until(10_000, closed);
    assert!(
        world
            .only()
            .analysis
            .as_ref()
            .expect("report")
            .recommendations[0]
            .contains("probe")
    );
}

#[test]
fn a_start_failure_is_escalated_and_cured_once_the_cause_is_gone() {
    let mut options = options();
    options.recover.limit.actions = 3;
    options.recover.backoff.cap = ms(2_000);
    let mut world = World::new(3, Managed::Child, options);
    world.run(5_000);
    world.reborn(1, Condition::Unstartable);
    world.break_server(1, Condition::Dead);
    world.until(10_000, |world| {
        world
            .incidents
            .values()
            .any(|incident| incident.status == IncidentStatus::Escalated)
    });
    assert_eq!(kind(world.only()), FaultKind::CannotStart);
    assert_eq!(world.restarts.len(), 3);
    assert_eq!(world.state(1), ServerStatus::Down);
    world.run(10_000);
    assert!(!world.in_service(1));
    assert!(
        (4..=9).contains(&world.restarts.len()),
        "slow retries go on: {}",
        world.restarts.len()
    );
    assert_eq!(
        actions(world.only())
            .iter()
            .filter(|(word, _)| *word == "escalate")
            .count(),
        1
    );
    world.heal(1);
    world.break_server(1, Condition::Unstartable);
    world.until(5_000, closed);
    assert!(world.in_service(1));
    assert_eq!(kind(world.only()), FaultKind::CannotStart);
}

#[test]
fn a_process_that_ends_before_it_is_ready_cannot_start() {
    let mut world = World::new(3, Managed::Child, options());
    world.run(5_000);
    world.reborn(1, Condition::Stillborn);
    world.break_server(1, Condition::Dead);
    world.until(10_000, |world| {
        world
            .incidents
            .values()
            .any(|incident| incident.status == IncidentStatus::Escalated)
    });
    assert_eq!(kind(world.only()), FaultKind::CannotStart);
    assert_eq!(world.restarts.len(), 5);
    assert!(evidence(world.only()).contains("it printed: panic!"));
}

#[test]
fn a_crash_loop_is_escalated_and_cured_once_the_cause_is_gone() {
    let mut options = options();
    options.recover.backoff.cap = ms(3_000);
    let mut world = World::new(3, Managed::Child, options);
    world.run(5_000);
    world.reborn(1, Condition::Doomed(250));
    world.break_server(1, Condition::Doomed(0));
    world.until(20_000, |world| {
        world
            .incidents
            .values()
            .any(|incident| incident.status == IncidentStatus::Escalated)
    });
    assert_eq!(
        kind(world.only()),
        FaultKind::CrashLoop,
        "{:#?}",
        world.only()
    );
    assert_eq!(world.restarts.len(), 5);
    world.run(10_000);
    assert!(!world.in_service(1));
    world.reborn(1, Condition::Well);
    world.until(6_000, closed);
    assert!(world.in_service(1));
    assert_eq!(kind(world.only()), FaultKind::CrashLoop);
}

#[test]
fn crashes_that_come_after_each_repair_was_verified_are_a_loop_too() {
    let mut options = options();
    options.recover.backoff.cap = ms(3_000);
    let mut world = World::new(3, Managed::Child, options);
    world.run(5_000);
    world.reborn(1, Condition::Doomed(2_000));
    world.break_server(1, Condition::Doomed(0));
    world.run(20_000);
    let kinds: Vec<FaultKind> = world.incidents.values().map(kind).collect();
    assert_eq!(kinds[..2], [FaultKind::ProcessCrashed; 2], "{kinds:?}");
    assert!(
        kinds[2..].iter().all(|kind| *kind == FaultKind::CrashLoop),
        "{kinds:?}"
    );
    let escalated = |incident: &Incident| actions(incident).contains(&("escalate", "done"));
    assert!(world.incidents.values().any(escalated), "{kinds:?}");
}

#[test]
fn a_server_that_breaks_behind_a_bad_probe_is_repaired_all_the_same() {
    for (condition, expected) in [
        (Condition::Hung, FaultKind::ProcessHung),
        (Condition::Errors(100), FaultKind::ErrorBurst),
        (Condition::Dead, FaultKind::ProcessCrashed),
    ] {
        let mut world = World::new(3, Managed::Child, options());
        world.run(5_000);
        world.break_server(1, Condition::BadProbe);
        world.run(20_000);
        assert_eq!(kind(world.only()), FaultKind::BadProbe);
        world.break_server(1, condition);
        world.until(15_000, closed);
        assert_eq!(kind(world.only()), expected);
        assert_eq!(world.restarts.len(), 1);
    }
}

#[test]
fn a_fault_that_is_gone_when_it_is_examined_brings_no_restart() {
    let mut world = World::new(3, Managed::Child, options());
    world.run(5_000);
    world.break_server(1, Condition::Hung);
    world.until(5_000, |world| !world.incidents.is_empty());
    world.heal(1);
    world.until(5_000, closed);
    assert!(world.in_service(1));
}

#[test]
fn a_process_that_may_open_no_more_descriptors_is_restarted_and_not_taken_for_a_wrong_probe() {
    for seed in 0..100 {
        let mut world = World::new(3, Managed::Child, options());
        world.every = ms(3 + seed);
        world.run(5_000 + seed * 37);
        world.break_server(1, Condition::UsedUp);
        world.until(20_000, |world| !world.restarts.is_empty());
        world.run(20_000);
        let incident = world.only();
        assert_eq!(
            kind(incident),
            FaultKind::DescriptorExhaustion,
            "seed {seed}"
        );
        let words = evidence(incident);
        assert!(
            words.contains("1024 open file descriptors, of at most 1024"),
            "{words}"
        );
        assert!(words.contains("on kept-alive ones"), "{words}");
        assert_eq!(world.restarts.len(), 1, "seed {seed}");
        assert_eq!(incident.status, IncidentStatus::Closed, "seed {seed}");
    }
}

#[test]
fn a_process_that_closed_its_port_is_restarted_although_the_connections_that_it_has_work() {
    for seed in 0..100 {
        let mut world = World::new(3, Managed::Child, options());
        world.every = ms(3 + seed % 20);
        world.run(5_000 + seed * 37);
        let failed = world.totals.failed;
        world.break_server(1, Condition::StopsAccepting);
        world.until(20_000, |world| !world.restarts.is_empty());
        world.run(20_000);
        let incident = world.only();
        assert_eq!(kind(incident), FaultKind::NotListening, "seed {seed}");
        assert_eq!(world.restarts.len(), 1, "seed {seed}");
        assert_eq!(incident.status, IncidentStatus::Closed, "seed {seed}");
        assert_eq!(world.totals.failed, failed, "seed {seed}");
    }
}
