//! Faults of evenkeel itself: an incident of its own, and no server is ejected or restarted.

use std::time::Duration;

use evenkeel_core::{Observation, Outcome, ProbeOutcome, RequestShape, ServerId, Signal};
use evenkeel_fault::contract::{Managed, OperatorOrder};
use evenkeel_fault::incident::{CloseReason, IncidentStatus};
use evenkeel_fault::self_check::{ExhaustionCounts, SELF, SelfReading};
use evenkeel_fault::{FaultKind, Input};

use super::kinds::kind;
use super::world::{Condition, World, ms, options};

/// evenkeel is stalled for this long: nothing is received meanwhile, and everything in flight is late.
fn stand_still(world: &mut World, millis: u64) {
    let lasted = ms(millis);
    world.now += lasted;
    let until = world.now;
    let mut inputs = vec![Input::Stalled { until, lasted }];
    let latency = lasted + ms(200);
    for index in 0..3 {
        let mut say = |observation| {
            inputs.push(Input::Signal(Signal {
                at: until,
                server: ServerId::new(0, index),
                observation,
            }));
        };
        for _ in 0..10 {
            say(Observation::Attempt {
                outcome: Outcome::AttemptTimeout,
                latency,
                shape: RequestShape::of(b"GET", b"/"),
            });
        }
        for _ in 0..3 {
            say(Observation::Probe {
                outcome: ProbeOutcome::NoAnswer,
                latency,
            });
        }
    }
    world.feed(inputs);
}

fn serving(world: &World) -> usize {
    (0..3).filter(|index| world.in_service(*index)).count()
}

#[test]
fn no_server_is_blamed_for_signals_missed_during_a_stall() {
    for seed in 0..100 {
        let managed = [Managed::Child, Managed::Nothing][usize::from(seed % 2 == 0)];
        let mut world = World::new(3, managed, options());
        world.every = ms(2 + seed % 10);
        world.run(5_000 + seed * 37);
        stand_still(&mut world, 4_000 + seed * 100);
        for _ in 0..60 {
            world.run(500);
            assert_eq!(serving(&world), 3, "seed {seed}");
        }
        assert!(world.restarts.is_empty(), "seed {seed}");
        let incident = world.only();
        assert_eq!(kind(incident), FaultKind::ProcessHung, "seed {seed}");
        assert_eq!(
            (incident.service.as_str(), incident.servers.len()),
            (SELF, 0)
        );
        assert_eq!(
            (incident.status, incident.end),
            (IncidentStatus::Closed, Some(CloseReason::Recovered))
        );
        assert!(
            incident.actions.is_empty(),
            "nothing is done: {:?}",
            incident.actions
        );
        let report = incident.analysis.as_ref().expect("a report");
        assert!(
            report.summary.starts_with("evenkeel itself"),
            "{}",
            report.summary
        );
    }
}

/// All that gathered comes at once, and one server gets more of it than the others.
#[test]
fn a_server_that_is_slow_while_evenkeel_catches_up_is_not_blamed() {
    for seed in 0..100 {
        let mut world = World::new(3, Managed::Child, options());
        world.every = ms(2 + seed % 10);
        world.run(5_000 + seed * 37);
        stand_still(&mut world, 6_000);
        world.break_server(1, Condition::Slow(20));
        world.run(4_000);
        world.heal(1);
        world.run(20_000);
        let incident = world.only();
        assert!(incident.servers.is_empty(), "seed {seed}: {incident:#?}");
    }
}

/// What a server shows after evenkeel goes on is held against it as ever.
#[test]
fn a_server_that_hangs_after_the_stall_is_found() {
    let mut world = World::new(3, Managed::Child, options());
    world.run(5_000);
    stand_still(&mut world, 12_000);
    world.break_server(1, Condition::Hung);
    world.until(10_000, |world| !world.restarts.is_empty());
    assert_eq!(world.restarts[0].1.index, 1);
}

#[test]
fn a_repair_that_is_being_verified_has_its_time_again() {
    for seed in 0..100 {
        let mut world = World::new(3, Managed::Child, options());
        world.starts_in(3_000);
        world.run(10_000);
        world.break_server(1, Condition::Dead);
        world.until(5_000, |world| !world.restarts.is_empty());
        world.run(seed * 50);
        stand_still(&mut world, 15_000);
        // Its start is late by as much.
        world.heal(1);
        world.run(30_000);
        assert_eq!(world.restarts.len(), 1, "seed {seed}");
        assert_eq!(serving(&world), 3, "seed {seed}");
    }
}

#[test]
fn the_wait_for_a_hang_is_not_over_because_evenkeel_stood_still() {
    for seed in 0..100 {
        let mut world = World::new(3, Managed::Child, options());
        world.run(5_000);
        world.break_server(1, Condition::Blocked);
        world.run(4_000 + seed * 50);
        world.heal(1);
        stand_still(&mut world, 12_000);
        world.run(30_000);
        assert!(world.restarts.is_empty(), "seed {seed}");
        assert_eq!(serving(&world), 3, "seed {seed}");
    }
}

fn lacking(descriptors: u64) -> Input {
    let lacked = ExhaustionCounts {
        descriptors,
        ..ExhaustionCounts::default()
    };
    Input::SelfReading(Box::new(SelfReading {
        lacked,
        ..SelfReading::default()
    }))
}

/// Its requests are answered 503, its probes cannot be sent.
fn run_out(world: &mut World, from: u64, seconds: u64) -> u64 {
    let mut total = from;
    for half in 0..seconds * 2 {
        world.run(500);
        total += 7;
        world.feed(vec![lacking(total)]);
        if half % 4 == 0 {
            let probes = (0..3).map(|index| {
                Input::Signal(Signal {
                    at: world.now,
                    server: ServerId::new(0, index),
                    observation: Observation::Probe {
                        outcome: ProbeOutcome::LocalError,
                        latency: Duration::ZERO,
                    },
                })
            });
            world.feed(probes.collect());
        }
    }
    total
}

#[test]
fn descriptors_that_are_used_up_are_one_incident_of_evenkeel() {
    let mut world = World::new(3, Managed::Child, options());
    world.run(5_000);
    world.feed(vec![lacking(0)]);
    let total = run_out(&mut world, 0, 60);
    assert_eq!(serving(&world), 3);
    let incident = world.only();
    assert_eq!(kind(incident), FaultKind::DescriptorExhaustion);
    assert_eq!(incident.service, SELF);
    assert_eq!(incident.status, IncidentStatus::Escalated, "it has lasted");
    let evidence = incident.diagnosis[0].evidence.join("; ");
    assert!(
        evidence.contains("EMFILE") && evidence.contains("probes"),
        "{evidence}"
    );
    for _ in 0..60 {
        world.run(500);
        world.feed(vec![lacking(total)]);
    }
    let incident = world.only();
    assert_eq!(incident.status, IncidentStatus::Closed);
    let held = incident.verification.as_ref().expect("verified");
    assert_eq!(held.outcome, "passed");
    assert!(world.restarts.is_empty());
    // Another time is another incident.
    run_out(&mut world, total, 5);
    assert_eq!(world.incidents.len(), 2);
}

#[test]
fn a_person_may_close_it_and_a_few_are_no_incident() {
    let mut world = World::new(3, Managed::Child, options());
    world.run(5_000);
    world.feed(vec![lacking(0)]);
    world.feed(vec![lacking(2)]);
    world.run(20_000);
    assert!(world.incidents.is_empty());
    world.feed(vec![lacking(10)]);
    let id = world.only().id.clone();
    world.order(OperatorOrder::Approve(id.clone()));
    assert_eq!(world.answers(), ["refused"]);
    world.order(OperatorOrder::Close(id));
    assert_eq!(world.answers(), ["done"]);
    assert_eq!(world.only().end, Some(CloseReason::ClosedByPerson));
}

/// Runs on for so many seconds while something waits for a processor in this part of the time.
fn run_under_pressure(world: &mut World, seconds: u64, permille: u16) {
    for _ in 0..seconds * 2 {
        world.run(500);
        let reading = SelfReading {
            cpu_wait_permille: Some(permille),
            ..SelfReading::default()
        };
        world.feed(vec![Input::SelfReading(Box::new(reading))]);
    }
}

#[test]
fn a_server_that_is_slow_while_the_machine_lacks_processor_time_is_not_restarted_for_it() {
    for seed in 0..100 {
        let mut world = World::new(3, Managed::Child, options());
        world.every = ms(4 + seed % 8);
        world.run(10_000 + seed * 37);
        run_under_pressure(&mut world, 3, 820);
        world.break_server(1, Condition::Slow(4));
        run_under_pressure(&mut world, 60, 820);
        assert!(
            world.restarts.is_empty(),
            "seed {seed}: {:#?}",
            world.incidents
        );
        let incident = world.incidents.values().next().expect("it is told");
        let words = incident.diagnosis[0].evidence.join("; ");
        assert!(words.contains("short of processor time"), "{words}");
        if seed % 2 == 0 {
            // The machine was why.
            world.heal(1);
            run_under_pressure(&mut world, 200, 100);
            assert!(world.restarts.is_empty(), "seed {seed}");
        } else {
            run_under_pressure(&mut world, 200, 100);
            assert_eq!(world.restarts.len(), 1, "seed {seed}: its own fault");
        }
        assert!(world.in_service(1), "seed {seed}: {:#?}", world.incidents);
    }
}

#[test]
fn a_server_that_does_not_wait_for_a_processor_is_slow_for_something_else() {
    for (waits, restarts) in [(None, 0), (Some(332), 1), (Some(333), 0), (Some(2_000), 0)] {
        let mut world = World::new(3, Managed::Child, options());
        world.cpu_wait = waits;
        world.run(10_000);
        run_under_pressure(&mut world, 3, 820);
        world.break_server(1, Condition::Slow(4));
        run_under_pressure(&mut world, 60, 820);
        assert_eq!(world.restarts.len(), restarts, "{waits:?}");
    }
}
