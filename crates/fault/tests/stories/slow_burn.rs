//! Persistent faults below every limit: an incident that names them, without ejections or restarts.

use evenkeel_core::{Random, ServerId};
use evenkeel_fault::contract::{Managed, OperatorOrder};
use evenkeel_fault::incident::{CloseReason, IncidentStatus};
use evenkeel_fault::maintenance::OrderTerms;
use evenkeel_fault::policy::ProbeKind;
use evenkeel_fault::{FaultKind, Incident};

use super::kinds::{evidence, kind};
use super::world::{Condition, World, ms, options};

fn world_of(seed: u64, every: u64) -> World {
    let mut world = World::new(3, Managed::Child, options());
    world.random = Random::seeded(seed);
    world.every = ms(every);
    world.run(5_000 + seed * 37);
    world
}

fn serving(world: &World) -> usize {
    (0..3).filter(|index| world.in_service(*index)).count()
}

fn assert_left_alone(world: &World, seed: u64) {
    assert_eq!(serving(world), 3, "seed {seed}: {:#?}", world.incidents);
    assert!(world.restarts.is_empty(), "seed {seed}");
}

#[test]
fn five_of_a_hundred_answers_that_fail_are_an_incident() {
    for seed in 0..100 {
        let mut world = world_of(seed, 8 + seed % 12);
        (0..3).for_each(|index| world.break_server(index, Condition::Errors(5)));
        world.run(120_000);
        assert_left_alone(&world, seed);
        let incident = world.only();
        assert_eq!(kind(incident), FaultKind::ErrorBurst, "seed {seed}");
        assert_eq!(incident.detected_by, "statistics");
        assert_eq!(incident.servers.len(), 3, "seed {seed}");
        let words = evidence(incident);
        assert!(words.contains("answers failed within"), "{words}");
        (0..3).for_each(|index| world.heal(index));
        world.run(60_000);
        assert_eq!(
            world.only().end,
            Some(CloseReason::Recovered),
            "seed {seed}"
        );
        assert_left_alone(&world, seed);
    }
}

#[test]
fn a_person_who_closes_it_says_that_this_is_usual() {
    let mut world = world_of(1, 10);
    (0..3).for_each(|index| world.break_server(index, Condition::Errors(5)));
    world.run(120_000);
    let id = world.only().id.clone();
    world.order(OperatorOrder::Close(id));
    world.run(300_000);
    assert_eq!(world.only().end, Some(CloseReason::ClosedByPerson));
}

#[test]
fn a_method_that_hangs_on_one_server_is_an_incident_that_names_both() {
    for seed in 0..100 {
        let mut world = world_of(seed, 15 + seed % 10);
        world.paths = vec![
            "/",
            "/a",
            "/b",
            "/c",
            "/d",
            "POST /orders",
            "/",
            "/a",
            "/b",
            "/c",
            "/d",
        ];
        world.broken = Some(("POST /orders", Condition::Blocked));
        world.broken_on = Some(1);
        world.run(60_000);
        assert_left_alone(&world, seed);
        let incident = world.only();
        assert_eq!(kind(incident), FaultKind::BrokenRoute, "seed {seed}");
        assert_eq!(incident.servers, ["two"], "seed {seed}");
        assert!(evidence(incident).contains("POST /orders"));
        world.broken = None;
        world.run(60_000);
        assert_eq!(
            world.only().end,
            Some(CloseReason::Recovered),
            "seed {seed}"
        );
    }
}

#[test]
fn two_of_three_that_become_slow_together_are_an_incident() {
    let mut together = 0;
    for seed in 0..100 {
        let mut world = world_of(seed, 20);
        world.run(100_000);
        (0..2).for_each(|index| world.break_server(index, Condition::Slow(20)));
        world.run(60_000);
        // One of them may be noticed before the other, and drained.
        assert!(serving(&world) >= 2, "seed {seed}");
        assert!(!world.incidents.is_empty(), "seed {seed}");
        for incident in world.incidents.values() {
            assert_eq!(kind(incident), FaultKind::SlowServer, "seed {seed}");
            together += usize::from(incident.servers == ["one", "two"]);
        }
        (0..2).for_each(|index| world.heal(index));
        world.run(150_000);
        let open = world.incidents.values();
        let open = open.filter(|one| one.status != IncidentStatus::Closed);
        assert_eq!(open.count(), 0, "seed {seed}: {:#?}", world.incidents);
        assert_left_alone(&world, seed);
    }
    assert!(together > 80, "{together}");
}

/// A difference this large needs no long past to be seen.
#[test]
fn two_of_three_that_become_very_slow_soon_after_the_start_are_an_incident() {
    let mut together = 0;
    for seed in 0..100 {
        let mut world = world_of(seed, 12 + seed % 10);
        world.run(9_000);
        (0..2).for_each(|index| world.break_server(index, Condition::Slow(80)));
        world.until(35_000, |world| !world.incidents.is_empty());
        world.run(20_000);
        // One of them may be noticed before the other, and drained.
        assert!(serving(&world) >= 2, "seed {seed}");
        for incident in world.incidents.values() {
            assert_eq!(kind(incident), FaultKind::SlowServer, "seed {seed}");
        }
        let are_together = world.incidents.values().next().expect("one").servers == ["one", "two"];
        together += usize::from(are_together);
        (0..2).for_each(|index| world.heal(index));
        world.run(150_000);
        let open = world.incidents.values();
        let open = open.filter(|one| one.status != IncidentStatus::Closed);
        assert_eq!(open.count(), 0, "seed {seed}: {:#?}", world.incidents);
        // Nor is the one that seems to be slow a little longer than the other.
        assert!(!are_together || world.incidents.len() == 1, "seed {seed}");
        assert_left_alone(&world, seed);
    }
    assert!(together > 80, "{together}");
}

/// Half of the requests take a millisecond, the others up to 800 times as long, so that a median of few of them says little.
#[test]
fn a_mix_of_quick_and_slow_requests_is_no_slowness_of_several_servers() {
    for seed in 0..100 {
        let mut world = World::new(3, Managed::Child, options());
        world.random = Random::seeded(seed);
        (0..3).for_each(|index| world.break_server(index, Condition::Mixed(1)));
        world.every = ms(12 + seed % 20 * 25);
        world.run(300_000);
        assert!(
            world.incidents.is_empty(),
            "seed {seed}: {:#?}",
            world.incidents
        );
    }
}

#[test]
fn a_person_who_closes_slowness_says_that_this_is_usual() {
    let mut world = world_of(1, 15);
    world.run(100_000);
    (0..2).for_each(|index| world.break_server(index, Condition::Slow(80)));
    world.run(40_000);
    let id = world.only().id.clone();
    world.order(OperatorOrder::Close(id));
    world.run(300_000);
    assert_eq!(world.only().end, Some(CloseReason::ClosedByPerson));
}

/// Its probes pass, since the kernel takes connections for it.
#[test]
fn a_hang_is_noticed_where_two_requests_a_second_come() {
    for seed in 0..100 {
        let mut options = options();
        options.detect.probe.kind = ProbeKind::Tcp;
        let mut world = World::new(3, Managed::Child, options);
        world.every = ms(500);
        world.run(20_000 + seed * 37);
        world.break_server(1, Condition::Blocked);
        let noticed = world.until(15_000, |world| !world.incidents.is_empty());
        world.run(3_000);
        assert_eq!(kind(world.only()), FaultKind::ProcessHung, "seed {seed}");
        assert!(
            world.restarts.is_empty(),
            "seed {seed}: its wait is not over"
        );
        assert!(!world.in_service(1), "seed {seed}, after {noticed:?}");
    }
}

/// What is graver than a slow burn changes its diagnosis, and is repaired where it is one server's own.
#[test]
fn a_slow_burn_hides_nothing() {
    for seed in 0..100 {
        let mut world = world_of(seed, 10);
        (0..3).for_each(|index| world.break_server(index, Condition::Errors(5)));
        world.run(90_000);
        assert_eq!(kind(world.only()), FaultKind::ErrorBurst);
        if seed % 2 == 0 {
            world.break_server(1, Condition::Hung);
            world.until(10_000, |world| !world.restarts.is_empty());
            assert_eq!(world.restarts[0].1.index, 1);
        } else {
            (0..3).for_each(|index| world.break_server(index, Condition::Errors(100)));
            world.run(10_000);
            assert_eq!(
                kind(world.only()),
                FaultKind::DependencyFailure,
                "seed {seed}"
            );
            assert_left_alone(&world, seed);
        }
    }
}

/// An operator restarts one server after the other; how many. If cold, the first requests of each take long.
fn rolling_restart(world: &mut World, is_cold: bool) -> usize {
    let reborn = if is_cold {
        Condition::Cold(30)
    } else {
        Condition::Well
    };
    for index in 0..3 {
        world.reborn(index, reborn);
        let server = ServerId::new(0, u32::try_from(index).expect("small"));
        world.order(OperatorOrder::Restart(server, OrderTerms::default()));
        world.run(20_000);
    }
    // Until each has had its first requests.
    world.run(120_000);
    (0..3).for_each(|index| world.break_server(index, Condition::Errors(1)));
    3
}

/// A healthy life: one answer in a hundred fails, pauses as of a garbage collector, load that doubles and halves, thin
/// nights, an operator's rolling restart now and then, with servers that are cold after it.
#[test]
fn a_healthy_life_has_hardly_an_incident_and_no_restart_of_evenkeels_own() {
    let days = std::env::var("EVENKEEL_LONG").map_or(1, |days| days.parse().unwrap_or(30));
    let mut world = World::new(3, Managed::Child, options());
    world.random = Random::seeded(5);
    (0..3).for_each(|index| world.break_server(index, Condition::Errors(1)));
    world.run(60_000);
    let mut ordered = 0;
    for quarter in 0..days * 96 {
        let hour = quarter / 4 % 24;
        world.every = match hour {
            0..6 => ms(10_000),
            _ => ms(400 << world.random.below(2)),
        };
        for _ in 0..4 {
            let index = world.random.below(3);
            world.break_server(index, Condition::Slow(60));
            let pause = 200 + world.random.below(600) as u64;
            world.run(pause);
            world.break_server(index, Condition::Errors(1));
            let rest = 60_000 + world.random.below(300_000) as u64;
            world.run(rest);
        }
        if quarter % 32 == 31 {
            ordered += rolling_restart(&mut world, quarter % 64 == 31);
        }
        // What was written down meanwhile is not needed.
        world.outputs.clear();
    }
    assert_eq!(world.restarts.len(), ordered, "{:#?}", world.incidents);
    let false_alarms: Vec<&Incident> = world.incidents.values().collect();
    println!(
        "{days} days in virtual time: {} requests, {ordered} restarts by an operator, no other, {} false alarms",
        world.totals.requests,
        false_alarms.len()
    );
    assert!(false_alarms.len() <= 1, "{false_alarms:#?}");
    assert!(
        false_alarms
            .iter()
            .all(|one| one.status == IncidentStatus::Closed)
    );
}
