//! A hang that probes do not see, since the kernel accepts their connections for a process that hangs: the examination that told it is
//! repeated, and decides.

use evenkeel_fault::FaultKind;
use evenkeel_fault::contract::Managed;
use evenkeel_fault::incident::{CloseReason, Incident, IncidentStatus};
use evenkeel_fault::policy::{FaultOptions, ProbeKind};

use super::kinds::{evidence, kind};
use super::world::{Condition, World, ms, options};

/// Its probes only connect, and a request comes so often. One of its servers begins to hang.
fn hangs(seed: u64, managed: Managed, every: u64) -> World {
    let mut options = options();
    options.detect.probe.kind = ProbeKind::Tcp;
    let mut world = World::new(3, managed, options);
    world.every = ms(every);
    world.run(20_000 + seed * 37);
    world.break_server(1, Condition::Blocked);
    world.until(15_000, |world| {
        world
            .incidents
            .values()
            .any(|one| !one.diagnosis.is_empty())
    });
    assert_eq!(kind(world.only()), FaultKind::ProcessHung, "seed {seed}");
    assert!(!world.in_service(1), "seed {seed}");
    world
}

/// Probes that find a hang within a second.
fn quick_probes() -> FaultOptions {
    let mut options = options();
    let probe = &mut options.detect.probe;
    (probe.every, probe.timeout, probe.fast, probe.fall) = (ms(250), ms(300), ms(100), 2);
    options
}

fn outcome(incident: &Incident) -> &str {
    let verification = incident.verification.as_ref();
    verification.map_or("none", |verification| verification.outcome.as_str())
}

#[test]
fn it_is_restarted_once_after_its_wait_and_verified() {
    for seed in 0..100 {
        let mut world = hangs(seed, Managed::Child, [500, 250, 20][(seed % 3) as usize]);
        let waited = world.until(12_000, |world| !world.restarts.is_empty());
        assert!(waited >= ms(8_500), "seed {seed}: {waited:?}");
        world.until(60_000, |world| {
            world.only().status == IncidentStatus::Closed
        });
        assert_eq!(kind(world.only()), FaultKind::ProcessHung, "seed {seed}");
        assert_eq!(outcome(world.only()), "passed", "seed {seed}");
        world.run(60_000);
        assert_eq!(world.restarts.len(), 1, "seed {seed}");
        assert!(
            world.only().end.is_some() && world.in_service(1),
            "seed {seed}"
        );
    }
}

/// A pause is no reason to act, and is over as soon as the request is answered.
#[test]
fn it_comes_back_by_itself_as_soon_as_it_answers() {
    for seed in 0..100 {
        let mut world = hangs(seed, Managed::Child, [500, 20][(seed % 2) as usize]);
        world.run(seed * 70);
        world.heal(1);
        let took = world.until(10_000, |world| world.in_service(1));
        assert!(
            took <= ms(6_000),
            "seed {seed}: {took:?} {:#?}",
            world.incidents
        );
        world.until(60_000, |world| {
            world.only().status == IncidentStatus::Closed
        });
        assert!(
            world.restarts.is_empty(),
            "seed {seed}: {:#?}",
            world.incidents
        );
        assert_eq!(kind(world.only()), FaultKind::ProcessHung, "seed {seed}");
    }
}

/// Nobody can restart it: it stays out for as long as it hangs, and no longer.
#[test]
fn it_does_not_return_while_it_hangs() {
    for seed in 0..100 {
        let mut world = hangs(seed, Managed::Nothing, [500, 20][(seed % 2) as usize]);
        for _ in 0..(60 + seed) {
            world.run(1_000);
            assert!(!world.in_service(1), "seed {seed}");
        }
        let sent = world.sent(1);
        world.heal(1);
        world.until(30_000, |world| world.in_service(1));
        assert!(world.sent(1) - sent < 30, "seed {seed}: a few try it");
        world.until(60_000, |world| {
            world.only().status == IncidentStatus::Closed
        });
        assert_eq!(world.only().end, Some(CloseReason::Recovered));
    }
}

/// The next process takes connections, too, and answers nothing.
#[test]
fn a_next_process_that_hangs_as_well_is_not_put_into_service() {
    for seed in 0..100 {
        let mut world = hangs(seed, Managed::Child, 500);
        world.reborn(1, Condition::Blocked);
        world.until(12_000, |world| !world.restarts.is_empty());
        let sent = world.sent(1);
        for _ in 0..60 {
            world.run(1_000);
            assert!(!world.in_service(1), "seed {seed}");
            assert_ne!(outcome(world.only()), "passed", "seed {seed}");
        }
        assert_eq!(world.sent(1), sent, "seed {seed}");
        world.reborn(1, Condition::Well);
        world.heal(1);
        world.until(70_000, |world| world.in_service(1));
    }
}

/// It was stopped when it was examined first, and runs when it is looked at again.
#[test]
fn a_pause_that_is_over_is_called_what_it_was() {
    for http in [true, false] {
        for seed in 0..100 {
            let mut options = quick_probes();
            if !http {
                options.detect.probe.kind = ProbeKind::Tcp;
            }
            let mut world = World::new(3, Managed::Child, options);
            (world.every, world.patience) = (ms(2 + seed % 10), ms(200));
            world.run(5_000 + seed * 37);
            for _ in 0..2 {
                world.break_server(1, Condition::Hung);
                world.run(1_500);
                world.heal(1);
                world.run(15_000);
            }
            assert!(world.restarts.is_empty(), "seed {seed}");
            assert!(world.in_service(1), "seed {seed}");
            assert!(!world.incidents.is_empty(), "seed {seed}");
            for incident in world.incidents.values() {
                assert_eq!(kind(incident), FaultKind::ProcessHung, "seed {seed}");
                assert_eq!(incident.status, IncidentStatus::Closed, "seed {seed}");
                let words = evidence(incident);
                assert!(words.contains("it was over (a pause)"), "{words}");
            }
        }
    }
}

/// On a machine that is short of CPU it is known too late whether a process still is stopped: that is asked once more.
#[test]
fn a_pause_is_called_what_it_was_also_if_an_examination_is_given_up() {
    for seed in 0..100 {
        let options = quick_probes();
        let mut world = World::new(3, Managed::Child, options);
        (world.every, world.patience) = (ms(2 + seed % 10), ms(200));
        world.examined_late = ms(500);
        world.run(5_000 + seed * 37);
        world.break_server(1, Condition::Hung);
        world.run(1_500);
        world.heal(1);
        world.run(15_000);
        assert!(world.restarts.is_empty(), "seed {seed}");
        assert!(world.in_service(1), "seed {seed}");
        assert_eq!(kind(world.only()), FaultKind::ProcessHung, "seed {seed}");
        let words = evidence(world.only());
        assert!(words.contains("it was over (a pause)"), "{words}");
    }
}

/// No examination is ever answered and no request comes: what the probes tell is the evidence, and it is restarted nonetheless.
#[test]
fn a_hang_that_cannot_be_examined_is_told_by_its_probes_and_restarted() {
    for seed in 0..100 {
        let mut world = World::new(3, Managed::Child, options());
        world.every = ms(600_000);
        world.examined_late = ms(60_000);
        world.run(5_000 + seed * 37);
        world.break_server(1, Condition::Blocked);
        world.until(30_000, |world| !world.restarts.is_empty());
        world.until(20_000, |world| world.in_service(1));
        assert_eq!(kind(world.only()), FaultKind::ProcessHung, "seed {seed}");
        let words = evidence(world.only());
        assert!(words.contains("probes failed in a row"), "{words}");
    }
}

/// A second hang during the verification of the first one's end is one.
#[test]
fn a_process_that_is_stopped_again_at_once_is_restarted() {
    for seed in 0..100 {
        let options = quick_probes();
        let mut world = World::new(3, Managed::Child, options);
        (world.every, world.patience) = (ms(2 + seed % 10), ms(200));
        world.run(5_000 + seed * 37);
        world.break_server(1, Condition::Hung);
        world.run(1_500);
        world.heal(1);
        world.run(500 + seed * 20);
        world.break_server(1, Condition::Hung);
        world.until(20_000, |world| !world.restarts.is_empty());
        world.until(5_000, |world| world.in_service(1));
    }
}

/// Its probe and the examination ask for another path than its clients, and are answered: that it was found well once is not believed
/// again.
#[test]
fn a_probe_that_stays_green_does_not_keep_a_server_in_service_whose_requests_hang() {
    for seed in 0..100 {
        let mut options = options();
        if seed % 2 == 0 {
            options.detect.probe.kind = ProbeKind::Tcp;
        }
        let mut world = World::new(3, Managed::Child, options);
        world.every = ms([20, 200][(seed / 2 % 2) as usize]);
        world.run(20_000 + seed * 37);
        world.broken = Some(("/", Condition::Blocked));
        world.broken_on = Some(1);
        world.until(40_000, |world| !world.incidents.is_empty());
        world.run(20_000);
        let sent = world.sent(1);
        world.run(60_000);
        assert!(
            world.sent(1) - sent < 40,
            "seed {seed}: {} {:#?}",
            world.sent(1) - sent,
            world.incidents
        );
        for incident in world.incidents.values() {
            assert_ne!(outcome(incident), "passed", "seed {seed}");
        }
        world.broken = None;
        world.until(120_000, |world| {
            let mut all = world.incidents.values();
            world.in_service(1) && all.all(|one| one.status == IncidentStatus::Closed)
        });
    }
}
