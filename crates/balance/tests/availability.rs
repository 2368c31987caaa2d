//! Directives, tiers, panic, trial and slow start, for every policy.

mod common;

use std::time::Duration;

use common::*;
use evenkeel_balance::{Availability, Pick, PickReason, Picker, Policy, Pool, ServerState};
use evenkeel_core::{Directive, EjectionReason, Instant, Outcome};

fn pick(pool: &Pool, avoid: &[u32]) -> Option<Pick> {
    Picker::new(pool, 5).pick(pool, at(10), avoid)
}

#[test]
fn directives_move_a_server_through_its_standings() {
    let pool = pool(Policy::Random, 1);
    let state = &pool.members()[0].state;
    assert_eq!(state.standing(at(0)), Availability::InService);

    eject(&pool, 0, EjectionReason::Suspected, 100);
    assert_eq!(
        state.standing(at(99)),
        Availability::Ejected {
            verdict: EjectionReason::Suspected
        }
    );
    assert_eq!(
        state.standing(at(100)),
        Availability::InService,
        "it expires"
    );

    eject(&pool, 0, EjectionReason::Known, 200);
    eject(&pool, 0, EjectionReason::Suspected, 300);
    assert_eq!(
        state.standing(at(150)),
        Availability::Ejected {
            verdict: EjectionReason::Known
        },
        "the stronger one stands"
    );
    assert_eq!(
        state.standing(at(250)),
        Availability::Ejected {
            verdict: EjectionReason::Suspected
        }
    );

    trial(&pool, 0, 0.25, 400);
    assert_eq!(state.standing(at(250)), Availability::Trial);
    assert!((state.share(at(250)) - 0.25).abs() < 1e-12);
    assert_eq!(state.standing(at(400)), Availability::InService);

    drain(&pool, 0);
    trial(&pool, 0, 0.25, 9_000);
    assert_eq!(
        state.standing(at(1 << 40)),
        Availability::Draining,
        "drains do not expire, and no trial ends them"
    );
    restore(&pool, 0, false, 500);
    assert_eq!(state.standing(at(500)), Availability::InService);
}

#[test]
fn a_restored_server_warms_up_over_the_slow_start() {
    let pool = pool(Policy::Random, 1);
    let state = &pool.members()[0].state;
    eject(&pool, 0, EjectionReason::Known, 1_000);
    restore(&pool, 0, true, 500);
    for (now, share) in [
        (500, 0.1),
        (1_000, 0.1),
        (3_000, 0.25),
        (5_500, 0.5),
        (10_499, 0.9999),
    ] {
        assert_eq!(state.standing(at(now)), Availability::Warming);
        assert!((state.share(at(now)) - share).abs() < 1e-9, "at {now}");
    }
    restore(&pool, 0, true, 5_000);
    assert!(
        (state.share(at(5_500)) - 0.5).abs() < 1e-9,
        "restoring it again begins nothing again"
    );
    assert_eq!(state.standing(at(10_500)), Availability::InService);
    restore(&pool, 0, true, 20_000);
    assert_eq!(
        state.standing(at(20_000)),
        Availability::InService,
        "one in service has nothing to warm up"
    );
}

#[test]
fn without_slow_start_no_server_warms_up() {
    let options = evenkeel_balance::BalanceOptions {
        slow_start: Duration::ZERO,
        ..options(Policy::Random)
    };
    let pool = Pool::new(options, vec![member(1, 0)]);
    eject(&pool, 0, EjectionReason::Known, 1_000);
    restore(&pool, 0, true, 500);
    assert_eq!(
        pool.members()[0].state.standing(at(500)),
        Availability::InService
    );
}

#[test]
fn in_flight_survives_an_end_too_many() {
    let state = ServerState::new();
    state.begin();
    state.begin();
    assert_eq!(state.in_flight(), 2);
    for _ in 0..3 {
        state.end(at(1), Outcome::Cancelled, Duration::ZERO, Duration::ZERO);
    }
    assert_eq!(state.in_flight(), 0);
    assert_eq!(
        state.latency(),
        None,
        "a cancelled attempt says nothing about latency"
    );
}

#[test]
fn picks_for_every_policy_and_size_are_usable_and_cover_all() {
    for policy in ALL {
        assert_eq!(pick(&pool(policy, 0), &[]), None);
        for size in [1, 2, 3, 10, 1_000] {
            let pool = pool(policy, size);
            let counts = counts(&mut Picker::new(&pool, 3), &pool, at(10), &[], size * 30);
            assert!(counts.iter().all(|&count| count > 0), "{policy:?}, {size}");
        }
    }
}

#[test]
fn ejected_and_draining_servers_take_nothing_and_come_back() {
    for policy in ALL {
        let pool = pool(policy, 5);
        let mut picker = Picker::new(&pool, 1);
        eject(&pool, 0, EjectionReason::Suspected, 1_000);
        drain(&pool, 1);
        let before = counts(&mut picker, &pool, at(999), &[], 300);
        assert_eq!((before[0], before[1]), (0, 0), "{policy:?}");
        assert_eq!(pool.in_service(at(999)), 3);
        let expired = counts(&mut picker, &pool, at(1_000), &[], 300);
        assert!(expired[0] > 0 && expired[1] == 0, "{policy:?}");
        restore(&pool, 1, false, 1_000);
        let restored = counts(&mut picker, &pool, at(1_000), &[], 300);
        assert!(
            restored[1] > 0,
            "{policy:?}: at once, without waiting for any clock"
        );
    }
}

#[test]
fn panic_uses_the_suspected_but_never_the_known_or_the_drained() {
    for policy in ALL {
        let pool = pool(policy, 6);
        let mut picker = Picker::new(&pool, 1);
        eject(&pool, 0, EjectionReason::Known, 1_000);
        drain(&pool, 1);
        eject(&pool, 2, EjectionReason::Suspected, 1_000);
        let calm = counts(&mut picker, &pool, at(10), &[], 300);
        assert_eq!(
            calm[2], 0,
            "{policy:?}: half of them are usable, which is not too few"
        );
        eject(&pool, 3, EjectionReason::Suspected, 1_000);
        assert_eq!(
            picker.pick(&pool, at(10), &[]).unwrap().reason,
            PickReason::Panic
        );
        let panic = counts(&mut picker, &pool, at(10), &[], 600);
        assert_eq!((panic[0], panic[1]), (0, 0), "{policy:?}");
        assert!(panic[2..].iter().all(|&count| count > 0), "{policy:?}");
        eject(&pool, 2, EjectionReason::Known, 1_000);
        eject(&pool, 3, EjectionReason::Known, 1_000);
        eject(&pool, 4, EjectionReason::Known, 1_000);
        eject(&pool, 5, EjectionReason::Known, 1_000);
        assert_eq!(picker.pick(&pool, at(10), &[]), None, "{policy:?}");
    }
}

#[test]
fn panic_mode_uses_hung_servers_only_as_a_last_resort() {
    for policy in ALL {
        let pool = pool(policy, 4);
        (0..3).for_each(|index| eject(&pool, index, EjectionReason::Hung, 100));
        let mut picker = Picker::new(&pool, 5);
        let alone = counts(&mut picker, &pool, at(10), &[], 300);
        assert_eq!(alone, [0, 0, 0, 300], "{policy:?}: one answers");
        eject(&pool, 3, EjectionReason::Suspected, 100);
        let suspected = counts(&mut picker, &pool, at(10), &[], 300);
        assert_eq!(
            suspected,
            [0, 0, 0, 300],
            "{policy:?}: one answers something"
        );
        eject(&pool, 3, EjectionReason::Known, 100);
        let hung = counts(&mut picker, &pool, at(10), &[], 300);
        assert_eq!(hung[3], 0, "{policy:?}: down");
        assert!(hung[..3].iter().all(|&count| count > 0), "{policy:?}");
    }
}

#[test]
fn panic_can_be_turned_off() {
    let off = evenkeel_balance::BalanceOptions {
        panic_below: 0.0,
        ..options(Policy::Random)
    };
    let pool = Pool::new(off, vec![member(1, 0), member(1, 0), member(1, 0)]);
    for index in 0..2 {
        eject(&pool, index, EjectionReason::Suspected, 1_000);
    }
    assert_eq!(
        pick(&pool, &[]),
        Some(Pick {
            index: 2,
            reason: PickReason::Policy
        })
    );
    eject(&pool, 2, EjectionReason::Suspected, 1_000);
    assert_eq!(pick(&pool, &[]), None);
}

#[test]
fn tiers_come_before_panic() {
    for policy in ALL {
        let pool = tiered(policy, &[1, 0, 0, 0, 1]);
        let mut picker = Picker::new(&pool, 1);
        let calm = counts(&mut picker, &pool, at(10), &[], 300);
        assert_eq!(
            (calm[0], calm[4]),
            (0, 0),
            "{policy:?}: the backup tier rests"
        );

        eject(&pool, 1, EjectionReason::Suspected, 1_000);
        eject(&pool, 2, EjectionReason::Suspected, 1_000);
        let joined = counts(&mut picker, &pool, at(10), &[], 300);
        assert_eq!(
            (joined[1], joined[2]),
            (0, 0),
            "{policy:?}: no panic while a backup is there"
        );
        assert!(
            joined[0] > 0 && joined[3] > 0 && joined[4] > 0,
            "{policy:?}"
        );

        eject(&pool, 3, EjectionReason::Suspected, 1_000);
        let pick = picker.pick(&pool, at(10), &[]).unwrap();
        assert!([0, 4].contains(&pick.index), "{policy:?}");
        assert_eq!(pick.reason, PickReason::Tier);

        eject(&pool, 0, EjectionReason::Suspected, 1_000);
        eject(&pool, 4, EjectionReason::Suspected, 1_000);
        assert_eq!(
            picker.pick(&pool, at(10), &[]).unwrap().reason,
            PickReason::Panic,
            "{policy:?}"
        );
    }
}

#[test]
fn a_retry_goes_to_another_server_then_to_another_tier_then_again() {
    for policy in ALL {
        let pool = tiered(policy, &[0, 0, 0, 1]);
        for seed in 0..20 {
            let mut picker = Picker::new(&pool, seed);
            let mut next = |avoid: &[u32]| picker.pick(&pool, at(10), avoid).unwrap();
            assert!(next(&[1]).index != 1, "{policy:?}");
            assert_eq!(
                next(&[1, 0]),
                Pick {
                    index: 2,
                    reason: PickReason::OnlyOneLeft
                },
                "{policy:?}"
            );
            assert_eq!(
                next(&[1, 0, 1, 2]),
                Pick {
                    index: 3,
                    reason: PickReason::Tier
                },
                "{policy:?}"
            );
            let again = next(&[1, 0, 2, 3]);
            assert!(
                again.index < 3 && again.reason == PickReason::Again,
                "{policy:?}"
            );
            let again = next(&[1, 0, 3, 2]);
            assert!(
                again.index < 2 && again.reason == PickReason::Again,
                "{policy:?}: not the one that just failed"
            );
        }
        let alone = common::pool(policy, 1);
        assert_eq!(
            pick(&alone, &[]),
            Some(Pick {
                index: 0,
                reason: PickReason::Policy
            })
        );
        assert_eq!(
            pick(&alone, &[0, 0]),
            Some(Pick {
                index: 0,
                reason: PickReason::Again
            })
        );
    }
}

#[test]
fn a_trial_server_takes_its_part_and_everything_if_it_is_alone() {
    for policy in [
        Policy::Random,
        Policy::RoundRobin,
        Policy::WeightedRoundRobin,
    ] {
        let pool = pool(policy, 4);
        trial(&pool, 2, 0.2, 1_000);
        let measured = shares(&mut Picker::new(&pool, 8), &pool, at(10), &[]);
        // A fifth of its quarter; in a round, the turns that it passes over fall to all alike.
        let expected = if policy == Policy::Random {
            0.05
        } else {
            0.2 / 3.2
        };
        assert!(
            (measured[2] - expected).abs() < 0.005,
            "{policy:?}: {measured:?}"
        );
    }
    for policy in ALL {
        let pool = pool(policy, 3);
        trial(&pool, 2, 0.1, 1_000);
        let measured = shares(&mut Picker::new(&pool, 8), &pool, at(10), &[]);
        assert!(
            measured[2] > 0.0 && measured[2] < 0.1,
            "{policy:?}: {measured:?}"
        );
        eject(&pool, 0, EjectionReason::Known, 1_000);
        drain(&pool, 1);
        assert_eq!(
            counts(&mut Picker::new(&pool, 8), &pool, at(10), &[], 50),
            [0, 0, 50],
            "{policy:?}"
        );
    }
}

#[test]
fn a_pool_where_all_are_on_trial_serves_evenly() {
    for policy in ALL {
        let pool = pool(policy, 4);
        for index in 0..4 {
            trial(&pool, index, 0.01, 1_000);
        }
        let measured = shares(&mut Picker::new(&pool, 8), &pool, at(10), &[]);
        assert_close(&measured, &[0.25; 4], 0.02);
    }
}

#[test]
fn a_warming_server_takes_more_and_more() {
    let pool = pool(Policy::RoundRobin, 2);
    eject(&pool, 1, EjectionReason::Known, 100);
    restore(&pool, 1, true, 0);
    let mut picker = Picker::new(&pool, 8);
    for (now, part) in [(100, 0.1), (2_500, 0.25), (7_500, 0.75), (10_001, 1.0)] {
        let measured = shares(&mut picker, &pool, at(now), &[]);
        // Of each round, the other server takes one pick and this one `part` of a pick.
        assert!(
            (measured[1] - part / (1.0 + part)).abs() < 0.01,
            "at {now}: {measured:?}"
        );
    }
}

#[test]
fn a_picker_survives_another_pool() {
    for policy in ALL {
        let (small, large) = (pool(policy, 2), pool(policy, 40));
        let mut picker = Picker::new(&small, 1);
        let counts = counts(&mut picker, &large, at(5), &[], 4_000);
        assert!(counts.iter().all(|&count| count > 0), "{policy:?}");
        assert!(
            picker.pick(&small, at(5), &[]).unwrap().index < 2,
            "{policy:?}"
        );
    }
}

#[test]
fn what_comes_back_is_judged_anew() {
    let pool = pool(Policy::Random, 1);
    let state = &pool.members()[0].state;
    answer(
        state,
        at(1),
        Outcome::ConnectRefused,
        0,
        Duration::from_millis(10),
    );
    assert_eq!(state.latency(), Some(Duration::from_millis(100)));
    let server = SERVER;
    state.apply(
        &Directive::Eject {
            server,
            verdict: EjectionReason::Known,
            until: at(500),
        },
        at(2),
    );
    state.apply(
        &Directive::Trial {
            server,
            share: 0.1,
            until: at(500),
        },
        at(3),
    );
    assert_eq!(state.latency(), None);
    answer(
        state,
        at(4),
        Outcome::Answered(200),
        30,
        Duration::from_millis(10),
    );
    state.apply(
        &Directive::Trial {
            server,
            share: 0.5,
            until: at(500),
        },
        at(5),
    );
    state.apply(
        &Directive::Restore {
            server,
            slowly: true,
        },
        at(6),
    );
    assert_eq!(
        state.latency(),
        Some(Duration::from_millis(30)),
        "what the trial taught is kept"
    );
    assert_eq!(
        state.standing(Instant::from_millis(7)),
        Availability::Warming
    );
}

#[test]
fn a_server_that_asks_for_a_pause_gets_a_tenth_of_its_share_for_so_long() {
    let state = ServerState::new();
    state.relieve(at(1_000), Duration::from_secs(20));
    assert_eq!(state.standing(at(20_999)), Availability::Relieved);
    assert!((state.share(at(5_000)) - 0.1).abs() < 1e-9);
    assert_eq!(state.standing(at(21_000)), Availability::InService);
    // A shorter one does not end it, and nobody is left alone for longer than five minutes.
    state.relieve(at(30_000), Duration::from_secs(1_000_000));
    state.relieve(at(30_001), Duration::from_secs(1));
    assert_eq!(state.standing(at(329_999)), Availability::Relieved);
    assert_eq!(state.standing(at(330_000)), Availability::InService);
    state.relieve(at(400_000), Duration::ZERO);
    assert_eq!(state.standing(at(400_000)), Availability::InService);
    // An ejection is stronger, and what is restored begins anew.
    state.relieve(at(500_000), Duration::from_secs(100));
    let pool = pool(Policy::Random, 1);
    let state = &pool.members()[0].state;
    state.relieve(at(0), Duration::from_secs(100));
    eject(&pool, 0, EjectionReason::Known, 1_000);
    assert!(!state.standing(at(10)).is_usable());
    restore(&pool, 0, false, 20);
    assert_eq!(state.standing(at(30)), Availability::InService);
}

#[test]
fn every_policy_gives_a_relieved_server_less() {
    for policy in ALL {
        let pool = pool(policy, 4);
        pool.members()[2]
            .state
            .relieve(at(0), Duration::from_secs(60));
        let counts = counts(&mut Picker::new(&pool, 3), &pool, at(10), &[], 20_000);
        let (relieved, fair) = (counts[2] as f64, 20_000.0 / 3.1);
        assert!(
            relieved < fair * 0.2 && relieved > fair * 0.03,
            "{policy:?}: {counts:?}"
        );
    }
}

/// Of 20,000 attempts, in per cent, how many the first tier gets: a small part, and what those behind it cannot carry.
#[test]
fn a_service_that_fails_over_keeps_a_small_part_on_its_first_tier() {
    for (tiers, out, expected) in [
        (&[0, 0, 1][..], &[][..], 2.0),
        (&[0, 0, 1, 2], &[], 2.0),
        // Half of the second tier carries 70 % of all.
        (&[0, 0, 1, 1], &[2], 30.0),
        (&[0, 0, 1], &[2], 100.0),
        (&[0, 0, 1], &[0, 1], 0.0),
        (&[0, 0], &[], 100.0),
    ] {
        let pool = tiered(Policy::RoundRobin, tiers).failing_over(true);
        for &index in out {
            eject(&pool, index, EjectionReason::Known, 1_000);
        }
        let counts = counts(&mut Picker::new(&pool, 3), &pool, at(10), &[], 20_000);
        let first: u64 = (counts.iter().zip(tiers))
            .filter(|(_, tier)| **tier == 0)
            .map(|(count, _)| *count as u64)
            .sum();
        let share = first as f64 / 200.0;
        assert!(
            (share - expected).abs() <= 1.0,
            "{tiers:?} {out:?}: {share}"
        );
    }
}
