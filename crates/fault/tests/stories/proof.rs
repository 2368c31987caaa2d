//! A server whose requests failed is back in rotation, and requests of that kind have to prove that it is well.

use evenkeel_core::{Random, ServerId};
use evenkeel_fault::Incident;
use evenkeel_fault::contract::{Managed, OperatorOrder, ServerStatus};
use evenkeel_fault::incident::{CloseReason, IncidentStatus};
use evenkeel_fault::maintenance::OrderTerms;
use evenkeel_fault::outlook::{NextStep, WaitReason};

use super::world::{Condition, World, ms, options};

const NEVER: u64 = 3_600_000;

fn world_of(seed: u64) -> World {
    let mut world = World::new(3, Managed::Child, options());
    world.random = Random::seeded(seed);
    world.every = ms(2 + seed % 10);
    world.run(5_000 + seed * 37);
    world
}

fn outcome(incident: &Incident) -> &str {
    let verification = incident.verification.as_ref();
    verification.map_or("none", |verification| verification.outcome.as_str())
}

/// Its only server that failed is back in rotation, and nobody has asked it anything since.
fn unproven(seed: u64) -> World {
    let mut world = world_of(seed);
    world.break_server(1, Condition::Errors(100));
    world.until(5_000, |world| !world.incidents.is_empty());
    world.heal(1);
    world.every = ms(NEVER);
    world.until(10_000, |world| outcome(world.only()) == "not-proven");
    assert!(world.in_service(1), "seed {seed}");
    assert_eq!(world.state(1), ServerStatus::Up, "seed {seed}");
    world
}

#[test]
fn without_requests_it_is_open_as_not_proven_for_ten_minutes() {
    for seed in 0..100 {
        let mut world = unproven(seed);
        let id = world.only().id.clone();
        for _ in 0..5 {
            let incident = world.only();
            assert_eq!(incident.status, IncidentStatus::Verifying, "seed {seed}");
            assert_eq!(outcome(incident), "not-proven", "seed {seed}");
            assert!(incident.recovered.is_some() && incident.durations_ms.recovery.is_some());
            let shown = world.keeper.outlooks(world.now);
            let shown = shown.iter().find(|(_, index, _)| *index == Some(1));
            let (_, _, shown) = shown.expect("it is not simply well");
            assert_eq!(
                (shown.next, shown.waits),
                (NextStep::Close, WaitReason::Proof)
            );
            assert!(shown.detail.contains(&id), "{}", shown.detail);
            world.run(118_000);
        }
        let took = world.until(20_000, |world| {
            world.only().status == IncidentStatus::Closed
        });
        assert!(took > ms(1_000), "seed {seed}: {took:?}");
        let incident = world.only();
        assert_eq!(incident.end, Some(CloseReason::Recovered), "seed {seed}");
        assert_eq!(outcome(incident), "not-proven", "seed {seed}");
        // What it cost, and how long it took, is counted until the server was back.
        let durations = incident.durations_ms;
        assert!(durations.time_to_restore().expect("restored") < 10_000.0);
        let analysis = durations.analysis.expect("closed");
        assert!((599_000.0..601_000.0).contains(&analysis), "{analysis}");
    }
}

#[test]
fn a_few_requests_of_the_kind_prove_it() {
    for seed in 0..100 {
        let mut world = unproven(seed);
        world.ask_every(300);
        let took = world.until(60_000, |world| {
            world.only().status == IncidentStatus::Closed
        });
        assert!(took < ms(6_000), "seed {seed}: {took:?}");
        let verification = world.only().verification.as_ref().expect("verified");
        assert_eq!(verification.outcome, "passed", "seed {seed}");
        assert!(verification.requests >= 5, "seed {seed}");
        assert_eq!(world.restarts.len(), 1, "seed {seed}");
    }
}

/// The others of the service are free to be repaired meanwhile.
#[test]
fn an_unproven_verification_blocks_no_other_repair() {
    for seed in 0..100 {
        let mut world = unproven(seed);
        world.ask_every(5);
        world.paths = vec!["/other"];
        world.run(2_000);
        world.break_server(2, Condition::Hung);
        world.until(10_000, |world| world.restarts.len() == 2);
        world.until(5_000, |world| world.in_service(2));
        assert_eq!(world.incidents.len(), 2, "seed {seed}");
        let first = world.incidents.values().next().expect("the first");
        assert_eq!(first.status, IncidentStatus::Verifying, "seed {seed}");
        assert_eq!(first.servers, ["two"], "seed {seed}");
    }
}

#[test]
fn a_new_detection_opens_it_again() {
    let conditions = [Condition::Errors(100), Condition::Dead, Condition::Hung];
    for seed in 0..100 {
        let mut world = unproven(seed);
        let condition = conditions[usize::try_from(seed).expect("small") % conditions.len()];
        world.ask_every(5);
        world.paths = vec!["/other"];
        world.run(2_000);
        world.paths = vec!["/other", "/"];
        world.break_server(1, condition);
        world.until(10_000, |world| {
            let incident = world.only();
            incident.recovered.is_none() && !incident.actions.is_empty()
        });
        world.until(20_000, |world| {
            world.only().status == IncidentStatus::Closed
        });
        let incident = world.only();
        assert_eq!(outcome(incident), "passed", "seed {seed} {condition:?}");
        assert_eq!(world.restarts.len(), 2, "seed {seed} {condition:?}");
        let again = incident.timeline.iter();
        let again = again.filter(|entry| entry.text.starts_with("again: "));
        assert_eq!(again.count(), 1, "seed {seed}");
        assert!(world.in_service(1));
    }
}

/// Half of the POSTs fail on one server, also after a restart, and all else succeeds there.
#[test]
fn requests_of_another_kind_prove_nothing() {
    for seed in 0..100 {
        let mut world = world_of(seed);
        world.every = ms(10 + seed % 10);
        world.paths = vec!["/", "POST /orders", "/a", "POST /orders", "/b"];
        world.broken = Some(("POST /orders", Condition::Mixed500));
        world.broken_on = Some(1);
        for _ in 0..60 {
            world.run(1_000);
            for incident in world.incidents.values() {
                assert_ne!(outcome(incident), "passed", "seed {seed}: {incident:#?}");
            }
        }
        assert!(!world.incidents.is_empty(), "seed {seed}");
        world.broken = None;
        let all_passed = |world: &World| {
            let mut all = world.incidents.values();
            all.all(|one| one.status == IncidentStatus::Closed)
        };
        world.until(400_000, all_passed);
        assert!(world.in_service(1), "seed {seed}");
    }
}

/// It was repaired while all of the service failed: what fails on all says nothing about it, and what is over for all proves it.
#[test]
fn nothing_is_proven_while_the_service_as_a_whole_fails() {
    for seed in 0..100 {
        let mut world = world_of(seed);
        world.break_server(1, Condition::Errors(100));
        world.until(10_000, |world| !world.restarts.is_empty());
        (0..3).for_each(|index| {
            world.reborn(index, Condition::Errors(100));
            world.break_server(index, Condition::Errors(100));
        });
        world.run(30_000);
        let first = world.incidents.values().next().expect("the first").clone();
        assert_ne!(outcome(&first), "passed", "seed {seed}: {first:#?}");
        assert_eq!(world.restarts.len(), 1, "seed {seed}");
        (0..3).for_each(|index| world.heal(index));
        let closed = |world: &World| {
            let mut all = world.incidents.values();
            all.all(|one| one.status == IncidentStatus::Closed)
        };
        world.until(60_000, closed);
        let first = &world.incidents[&first.id];
        assert_eq!(outcome(first), "passed", "seed {seed}: {first:#?}");
    }
}

#[test]
fn persons_are_answered_and_obeyed_while_it_is_not_proven() {
    let mut world = unproven(1);
    let id = world.only().id.clone();
    world.order(OperatorOrder::Close(id));
    assert_eq!(world.answers(), ["done"]);
    assert_eq!(world.only().end, Some(CloseReason::ClosedByPerson));
    let mut world = unproven(2);
    let terms = OrderTerms::default();
    world.order(OperatorOrder::Drain(ServerId::new(0, 1), terms));
    assert_eq!(world.only().end, Some(CloseReason::Maintenance));
    // A restart that a person ordered has been done when the server is back.
    let mut world = world_of(3);
    world.break_server(1, Condition::Errors(100));
    world.until(5_000, |world| !world.incidents.is_empty());
    let terms = OrderTerms::default();
    world.order(OperatorOrder::Restart(ServerId::new(0, 1), terms));
    world.every = ms(NEVER);
    world.until(10_000, |world| world.answers() == ["accepted", "done"]);
    assert_eq!(world.only().status, IncidentStatus::Verifying);
}
