//! Costly actions need a reason: a server that pauses, that is one of several, or whose peer is being restarted is not
//! restarted.

use evenkeel_fault::FaultKind;
use evenkeel_fault::contract::Managed;
use evenkeel_fault::incident::CloseReason;
use evenkeel_fault::incident::IncidentStatus;
use evenkeel_fault::policy::ProbeKind;

use super::kinds::kind;
use super::world::{Condition, World, ms, options};

#[test]
fn a_loop_that_is_blocked_for_a_while_comes_back_without_a_restart() {
    for seed in 0..100 {
        let mut world = World::new(3, Managed::Child, options());
        world.every = ms(2 + seed % 10);
        world.run(5_000 + seed * 37);
        for _ in 0..5 {
            world.break_server(1, Condition::Blocked);
            world.run(3_000);
            world.heal(1);
            world.run(7_000);
        }
        assert!(world.restarts.is_empty(), "seed {seed}");
        let open = world.incidents.values();
        let open = open.filter(|incident| incident.status != IncidentStatus::Closed);
        assert_eq!(open.count(), 0, "seed {seed}: {:#?}", world.incidents);
        for incident in world.incidents.values() {
            assert_eq!(kind(incident), FaultKind::ProcessHung, "seed {seed}");
        }
        assert!(world.in_service(1), "seed {seed}");
    }
}

#[test]
fn a_hang_is_restarted_after_its_wait_and_a_stopped_process_at_once() {
    // Attempts may take half a second, so after about so long it is out of rotation.
    for (condition, least, most) in [
        (Condition::Blocked, 10_500, 11_500),
        (Condition::Hung, 1_750, 2_200),
    ] {
        for seed in 0..100 {
            let mut world = World::new(3, Managed::Child, options());
            world.every = ms(2 + seed % 10);
            world.run(5_000 + seed * 37);
            world.break_server(1, condition);
            let took = world.until(20_000, |world| !world.restarts.is_empty());
            assert!(
                took >= ms(least) && took <= ms(most),
                "seed {seed} {condition:?}: {took:?}"
            );
            let back = world.until(3_000, |world| {
                world.in_service(1) && world.restarts[0].0 < world.now
            });
            assert!(back <= ms(800), "seed {seed} {condition:?}: {back:?}");
            world.until(2_000, |world| world.only().closed.is_some());
        }
    }
}

/// As probes find it, with the options that are the defaults: attempts may take longer.
#[test]
fn a_hang_is_over_within_its_wait_and_what_it_takes_to_see_it() {
    for seed in 0..100 {
        let mut world = World::new(3, Managed::Child, options());
        (world.every, world.patience) = (ms(2 + seed % 10), ms(30_000));
        world.run(5_000 + seed * 37);
        world.break_server(1, Condition::Blocked);
        let out = world.until(5_500, |world| !world.in_service(1));
        let back = world.until(13_000, |world| world.in_service(1));
        assert!(back <= ms(11_000), "seed {seed}: {out:?}, then {back:?}");
        assert_eq!(world.restarts.len(), 1, "seed {seed}");
    }
}

/// Also where it is noticed at once, and where probes only connect.
#[test]
fn a_process_that_is_stopped_for_a_second_and_a_half_is_not_restarted() {
    for kind in [options().detect.probe.kind, ProbeKind::Tcp] {
        for seed in 0..100 {
            let mut options = options();
            let probe = &mut options.detect.probe;
            (probe.every, probe.timeout, probe.fast) = (ms(500), ms(400), ms(100));
            probe.kind = kind.clone();
            let mut world = World::new(3, Managed::Child, options);
            (world.every, world.patience) = (ms(2 + seed % 10), ms(200));
            world.run(5_000 + seed * 37);
            for _ in 0..3 {
                world.break_server(1, Condition::Hung);
                world.run(1_500);
                world.heal(1);
                world.run(12_000);
            }
            assert!(
                world.restarts.is_empty(),
                "seed {seed}: {:#?}",
                world.incidents
            );
            assert!(world.in_service(1), "seed {seed}");
            // One that lasts is.
            world.break_server(1, Condition::Hung);
            world.until(2_900, |world| world.restarts.len() == 1);
            let took = world.until(1_500, |world| world.in_service(1));
            assert!(took < ms(1_000), "seed {seed}");
        }
    }
}

/// It waits for its peers, and for nothing else: no request is spent on it meanwhile.
#[test]
fn a_server_that_errs_alone_is_restarted_a_second_after_it_is_noticed() {
    for seed in 0..100 {
        let mut world = World::new(3, Managed::Child, options());
        world.run(5_000 + seed * 37);
        world.break_server(1, Condition::Errors(100));
        let noticed = world.until(5_000, |world| !world.incidents.is_empty());
        let waited = world.until(5_000, |world| !world.restarts.is_empty());
        assert!(noticed < ms(500), "seed {seed}: {noticed:?}");
        assert!(
            waited >= ms(950) && waited <= ms(1_100),
            "seed {seed}: {waited:?}"
        );
    }
}

/// What they shared was that they were about to end.
#[test]
fn a_server_that_waited_for_its_peers_and_then_ended_is_started_at_once() {
    for seed in 0..100 {
        let mut world = World::new(3, Managed::Child, options());
        world.run(5_000 + seed * 37);
        (0..2).for_each(|index| world.break_server(index, Condition::Errors(100)));
        world.run(8_000);
        assert!(world.restarts.is_empty(), "seed {seed}: both show the same");
        (0..2).for_each(|index| world.break_server(index, Condition::Dead));
        world.run(1_000);
        assert_eq!(world.restarts.len(), 2, "seed {seed}");
    }
}

#[test]
fn the_wait_for_a_hang_is_learnt_from_pauses() {
    let mut world = World::new(3, Managed::Child, options());
    world.run(5_000);
    world.break_server(1, Condition::Blocked);
    world.run(9_000);
    world.heal(1);
    world.run(10_000);
    world.break_server(1, Condition::Blocked);
    world.run(16_000);
    assert!(
        world.restarts.is_empty(),
        "twice 9 s and more are waited for"
    );
    world.until(10_000, |world| !world.restarts.is_empty());
}

#[test]
fn processes_that_somebody_stopped_are_restarted_one_after_the_other() {
    for seed in 0..100 {
        let mut world = World::new(3, Managed::Child, options());
        world.run(5_000 + seed * 37);
        (0..3).for_each(|index| world.break_server(index, Condition::Hung));
        world.until(20_000, |world| world.restarts.len() == 3);
        world.until(10_000, |world| (0..3).all(|index| world.in_service(index)));
        let times: Vec<_> = world.restarts.iter().map(|(at, _, _)| *at).collect();
        for pair in times.windows(2) {
            assert!(pair[1] > pair[0], "seed {seed}, one at a time: {times:?}");
        }
        // They look alike at first, until each is examined.
        let mut ends = world.incidents.values().filter_map(|one| one.end);
        assert!(ends.any(|end| end == CloseReason::Split), "seed {seed}");
        world.assert_both_ids_are_told();
    }
}

/// The system says of each process that it lives and listens no more: that they are many does not make it a peer's fault.
#[test]
fn processes_that_all_closed_their_ports_are_restarted_one_after_another() {
    for seed in 0..100 {
        let mut world = World::new(3, Managed::Child, options());
        world.every = ms(2 + seed % 10);
        world.run(5_000 + seed * 37);
        (0..3).for_each(|index| world.break_server(index, Condition::Deaf));
        world.until(30_000, |world| (0..3).all(|index| world.in_service(index)));
        world.run(10_000);
        assert_eq!(world.restarts.len(), 3, "seed {seed}");
        let mut restarted: Vec<u32> = world.restarts.iter().map(|one| one.1.index).collect();
        restarted.sort_unstable();
        assert_eq!(restarted, [0, 1, 2], "seed {seed}");
        for incident in world.incidents.values() {
            assert_eq!(kind(incident), FaultKind::NotListening, "seed {seed}");
            assert_eq!(incident.status, IncidentStatus::Closed, "seed {seed}");
        }
    }
}

/// A restart would make it cold again.
#[test]
fn a_server_that_is_slow_after_its_start_gets_fewer_requests_and_is_not_restarted() {
    for seed in 0..100 {
        for by_person in [true, false] {
            let mut world = World::new(3, Managed::Child, options());
            world.every = ms(4 + seed % 8);
            world.run(10_000 + seed * 37);
            world.reborn(1, Condition::Cold(400));
            if by_person {
                let server = evenkeel_core::ServerId::new(0, 1);
                let terms = evenkeel_fault::maintenance::OrderTerms::default();
                world.order(evenkeel_fault::contract::OperatorOrder::Restart(
                    server, terms,
                ));
            } else {
                world.break_server(1, Condition::Dead);
            }
            world.run(400_000);
            assert_eq!(
                world.restarts.len(),
                1,
                "seed {seed}: {:#?}",
                world.incidents
            );
            assert!(world.in_service(1), "seed {seed}");
            let slow: Vec<_> = world
                .incidents
                .values()
                .filter(|one| kind(one) == FaultKind::SlowServer)
                .collect();
            assert!(!slow.is_empty(), "seed {seed}: {:#?}", world.incidents);
            for incident in slow {
                assert_eq!(incident.status, IncidentStatus::Closed, "seed {seed}");
                let words = incident.diagnosis[0].evidence.join("; ");
                assert!(words.contains("(warm-up)"), "{words}");
            }
        }
    }
}

/// Each server is restarted by an operator, and slow for its first requests: nobody need know.
#[test]
fn a_rolling_restart_of_servers_that_are_cold_for_some_requests_is_no_incident() {
    for seed in 0..100 {
        let mut world = World::new(3, Managed::Child, options());
        world.every = ms(10 + seed % 50 * 16);
        world.run(20_000 + seed * 37);
        for index in 0..3 {
            world.reborn(index, Condition::Cold(30));
            let server = evenkeel_core::ServerId::new(0, u32::try_from(index).expect("small"));
            let terms = evenkeel_fault::maintenance::OrderTerms::default();
            world.order(evenkeel_fault::contract::OperatorOrder::Restart(
                server, terms,
            ));
            world.run(20_000);
        }
        world.run(150_000);
        assert!(
            world.incidents.is_empty(),
            "seed {seed}: {:#?}",
            world.incidents
        );
    }
}

/// The machine is busy for a while just then, so that all are as slow as the cold one: that does not make it fast.
#[test]
fn a_cold_server_is_cold_also_if_its_peers_were_slow_for_a_moment() {
    for seed in 0..100 {
        let mut world = World::new(3, Managed::Child, options());
        world.every = ms(4 + seed % 8);
        world.run(10_000 + seed * 37);
        world.reborn(1, Condition::Cold(400));
        world.break_server(1, Condition::Dead);
        for index in [0, 2] {
            world.break_server(index, Condition::Slow(15));
        }
        world.run(6_000);
        world.heal(0);
        world.heal(2);
        world.run(200_000);
        assert_eq!(
            world.restarts.len(),
            1,
            "seed {seed}: {:#?}",
            world.incidents
        );
    }
}

/// A heavy key: its requests take long, and the server is as healthy as the others.
#[test]
fn where_each_server_gets_requests_of_its_own_none_is_slow_for_them() {
    for seed in 0..100 {
        let mut options = options();
        if let Some(slow) = &mut options.detect.slow {
            slow.mixes_differ = true;
        }
        let mut world = World::new(3, Managed::Child, options);
        world.every = ms(4 + seed % 8);
        world.run(5_000 + seed * 37);
        world.break_server(1, Condition::Heavy(40));
        world.run(75_000);
        assert!(
            world.incidents.is_empty(),
            "seed {seed}: {:#?}",
            world.incidents
        );
        // One whose probes are slow, too, is.
        world.break_server(1, Condition::Slow(40));
        world.until(30_000, |world| !world.incidents.is_empty());
        world.run(2_000);
        assert_eq!(kind(world.only()), FaultKind::SlowServer, "seed {seed}");
    }
}
