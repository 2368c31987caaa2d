//! The distribution of traffic before a server is picked: overflow to other tiers, near before far, subsets, limits.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::*;
use evenkeel_balance::{BalanceOptions, Member, NoPick, PickReason, Picker, Policy, Pool, Subset};
use evenkeel_core::EjectionReason;
use proptest::collection::vec;
use proptest::prelude::*;

/// The part of the picks that each group of members gets, `0..split` and the rest.
fn parts(pool: &Pool, split: usize) -> (f64, f64) {
    let measured = shares(&mut Picker::new(pool, 9), pool, at(10), &[]);
    (
        measured[..split].iter().sum(),
        measured[split..].iter().sum(),
    )
}

/// Envoy's documentation: the first tier keeps everything until 71.4 % of it are healthy, and 70 % with half of it.
#[test]
fn a_tier_spills_over_in_proportion() {
    for policy in ALL {
        let pool = tiered(
            policy,
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        );
        for (out, kept) in [
            (0, 1.0),
            (2, 1.0),
            (3, 0.98),
            (4, 0.84),
            (5, 0.7),
            (9, 0.14),
            (10, 0.0),
        ] {
            (0..out).for_each(|index| eject(&pool, index, EjectionReason::Known, 1_000_000));
            let (first, second) = parts(&pool, 10);
            assert!(
                (first - kept).abs() < 0.012 && (second - (1.0 - kept)).abs() < 0.012,
                "{policy:?}, {out} out: {first} and {second}"
            );
        }
    }
}

#[test]
fn what_no_tier_carries_is_shared_out_by_what_they_can() {
    let pool = tiered(Policy::Random, &[0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]);
    for index in [0, 1, 2, 5, 6, 7, 9, 10, 11] {
        eject(&pool, index, EjectionReason::Known, 1_000);
    }
    // A quarter of each tier: 35 % + 35 % + the rest.
    let measured = shares(&mut Picker::new(&pool, 1), &pool, at(10), &[]);
    assert_close(
        &[measured[3], measured[4], measured[8]],
        &[0.35, 0.35, 0.3],
        0.01,
    );
    eject(&pool, 8, EjectionReason::Known, 1_000);
    let measured = shares(&mut Picker::new(&pool, 1), &pool, at(10), &[]);
    assert_close(&[measured[3], measured[4]], &[0.5, 0.5], 0.01);
}

/// A key stays with its server as long as its tier keeps its part of the keys.
#[test]
fn spilling_over_moves_as_few_keys_as_it_must() {
    for policy in [Policy::RingHash, Policy::Maglev] {
        let pool = tiered(policy, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1]);
        let mut picker = Picker::new(&pool, 1);
        let mut all = || {
            let of = |key: u64| {
                let key = evenkeel_balance::key(&key.to_le_bytes());
                picker
                    .pick_for(&pool, at(10), &[], Some(key))
                    .unwrap()
                    .index
            };
            (0..20_000).map(of).collect::<Vec<u32>>()
        };
        let before = all();
        (0..4).for_each(|index| eject(&pool, index, EjectionReason::Known, 1_000));
        let after = all();
        let moved = before
            .iter()
            .zip(&after)
            .filter(|(one, other)| one != other);
        let (mut by_loss, mut else_) = (0, 0);
        for (before, _) in moved {
            if *before < 4 {
                by_loss += 1;
            } else {
                else_ += 1;
            }
        }
        // The keys of four of ten servers, and 16 % of the others', which spill over.
        assert!(
            (by_loss as f64 / 20_000.0 - 0.4).abs() < 0.05,
            "{policy:?}: {by_loss}"
        );
        assert!(
            (else_ as f64 / 20_000.0 - 0.6 * 0.16).abs() < 0.02,
            "{policy:?}: {else_}"
        );
    }
}

fn zoned(policy: Policy, near: &[bool]) -> Pool {
    let member = |&near: &bool| Member {
        near,
        ..member(1, 0)
    };
    Pool::new(options(policy), near.iter().map(member).collect())
}

#[test]
fn near_servers_take_everything_while_they_can() {
    for policy in ALL {
        let pool = zoned(
            policy,
            &[true, true, true, true, false, false, false, false],
        );
        assert!(parts(&pool, 4).0 > 0.9999, "{policy:?}");
        eject(&pool, 0, EjectionReason::Known, 1_000);
        assert!(
            parts(&pool, 4).0 > 0.9999,
            "{policy:?}: three of four are enough"
        );
        eject(&pool, 1, EjectionReason::Known, 1_000);
        let (near, far) = parts(&pool, 4);
        assert!(
            (near - 0.7).abs() < 0.012 && (far - 0.3).abs() < 0.012,
            "{policy:?}: {near}"
        );
        let mut picker = Picker::new(&pool, 1);
        let reasons: Vec<_> = (0..200)
            .map(|_| picker.pick(&pool, at(10), &[]).unwrap())
            .map(|pick| (pick.index >= 4, pick.reason))
            .collect();
        assert!(
            reasons
                .iter()
                .all(|(far, reason)| *far == (*reason == PickReason::Zone))
        );
        for index in 2..4 {
            eject(&pool, index, EjectionReason::Known, 1_000);
        }
        assert!(parts(&pool, 4).1 > 0.9999, "{policy:?}");
    }
}

/// The far ones look better, and that is no reason to leave the near ones: what a policy remembers of one group is not for
/// the picks of another.
#[test]
fn an_idle_server_of_another_zone_gets_no_more_than_the_overflow() {
    for policy in ALL {
        let pool = zoned(
            policy,
            &[true, true, true, true, false, false, false, false],
        );
        eject(&pool, 0, EjectionReason::Known, 1_000);
        eject(&pool, 1, EjectionReason::Known, 1_000);
        for member in &pool.members()[..4] {
            (0..5).for_each(|_| member.state.begin());
        }
        let near = parts(&pool, 4).0;
        assert!((near - 0.7).abs() < 0.012, "{policy:?}: {near}");
    }
}

#[test]
fn without_a_local_zone_all_servers_are_equal() {
    let pool = zoned(Policy::Random, &[false, false]);
    let pick = Picker::new(&pool, 1).pick(&pool, at(1), &[]).unwrap();
    assert_eq!(pick.reason, PickReason::Policy);
}

fn subsets(servers: usize, key: u64, policy: Policy) -> Pool {
    let subset = Some(Subset { size: 20, key });
    let options = BalanceOptions {
        subset,
        ..options(policy)
    };
    let members = (0..servers).map(|number| Member {
        identity: format!("10.1.{}.{}:80", number / 256, number % 256).into(),
        ..member(1, 0)
    });
    Pool::new(options, members.collect())
}

#[test]
fn a_subset_is_used_and_what_goes_is_replaced() {
    let used = |pool: &Pool| -> Vec<usize> {
        let counts = counts(&mut Picker::new(pool, 1), pool, at(10), &[], 4_000);
        (0..counts.len())
            .filter(|&index| counts[index] > 0)
            .collect()
    };
    for policy in [
        Policy::Random,
        Policy::LeastResponseTime,
        Policy::WeightedRandom,
        Policy::WeightedRoundRobin,
    ] {
        let pool = subsets(1_000, 7, policy);
        let before = used(&pool);
        assert_eq!(before.len(), 20, "{policy:?}");
        assert_eq!(before, used(&subsets(1_000, 7, policy)), "{policy:?}");
        let other = used(&subsets(1_000, 8, policy));
        let common = before.iter().filter(|index| other.contains(index)).count();
        assert!(common < 5, "{policy:?}: another key uses others, {common}");
        eject(&pool, before[3], EjectionReason::Known, 1_000);
        let after = used(&pool);
        let kept = before.iter().filter(|index| after.contains(index)).count();
        assert_eq!((kept, after.len()), (19, 20), "{policy:?}");
    }
}

/// With many evenkeels all servers are used, and about alike.
#[test]
fn subsets_cover_all_servers() {
    let mut uses = vec![0_u32; 200];
    for key in 0..400 {
        let pool = subsets(200, key, Policy::RoundRobin);
        let mut picker = Picker::new(&pool, key);
        for _ in 0..20 {
            uses[picker.pick(&pool, at(1), &[]).unwrap().index as usize] += 1;
        }
    }
    // 400 × 20 / 200 = 40, with a standard deviation of 6.
    assert!(
        uses.iter().all(|&uses| (10..70).contains(&uses)),
        "{uses:?}"
    );
}

fn bounded(policy: Policy, most: u32) -> Pool {
    let member = |_| Member {
        max_requests: most,
        ..member(1, 0)
    };
    Pool::new(options(policy), (0..5).map(member).collect())
}

#[test]
fn nobody_gets_more_at_once_than_it_may_and_then_it_is_full() {
    for policy in ALL {
        let pool = bounded(policy, 4);
        let mut picker = Picker::new(&pool, 1);
        for _ in 0..20 {
            let pick = picker.pick_for(&pool, at(1), &[], Some(17)).unwrap();
            assert!(pool.members()[pick.index as usize].begin(), "{policy:?}");
        }
        assert!(
            pool.members()
                .iter()
                .all(|member| member.state.in_flight() == 4),
            "{policy:?}"
        );
        assert_eq!(
            picker.pick_for(&pool, at(1), &[], None),
            Err(NoPick::Full),
            "{policy:?}"
        );
        assert!(!pool.members()[2].begin());
        (0..5).for_each(|index| drain(&pool, index));
        assert_eq!(
            picker.pick_for(&pool, at(1), &[], None),
            Err(NoPick::NoServer),
            "{policy:?}"
        );
    }
}

#[test]
fn a_full_tier_overflows_to_the_next() {
    let mut members = vec![member(1, 0), member(1, 1)];
    members[0].max_requests = 2;
    let pool = Pool::new(options(Policy::LeastResponseTime), members);
    let mut picker = Picker::new(&pool, 1);
    let mut next = || {
        let pick = picker.pick(&pool, at(1), &[]).unwrap();
        assert!(pool.members()[pick.index as usize].begin());
        (pick.index, pick.reason)
    };
    assert_eq!([next().0, next().0], [0, 0]);
    assert_eq!(next(), (1, PickReason::Overflow));
}

#[test]
fn a_sticky_client_gets_its_server_while_that_takes_attempts() {
    let mut members = vec![member(1, 0), member(1, 0)];
    members[1].max_requests = 1;
    let pool = Pool::new(options(Policy::RoundRobin), members);
    let mut picker = Picker::new(&pool, 1);
    let pick = picker.sticky_server(&pool, at(1), 1).unwrap();
    assert_eq!((pick.index, pick.reason), (1, PickReason::Sticky));
    assert!(pool.members()[1].begin());
    assert_eq!(picker.sticky_server(&pool, at(1), 1), None, "full");
    drain(&pool, 0);
    assert_eq!(picker.sticky_server(&pool, at(1), 0), None, "draining");
    assert_eq!(
        picker.sticky_server(&pool, at(1), 7),
        None,
        "no such server"
    );
}

#[test]
fn several_are_different_ones_that_get_traffic() {
    for policy in ALL {
        let pool = tiered(policy, &[0, 0, 0, 0, 1, 1]);
        let mut picker = Picker::new(&pool, 1);
        drain(&pool, 2);
        let mut all = picker.pick_several(&pool, at(1), Some(7), 8);
        all.sort_unstable();
        assert_eq!(all, [0, 1, 3], "{policy:?}: the other tier is not needed");
        assert_eq!(picker.pick_several(&pool, at(1), Some(7), 2).len(), 2);
        (0..4).for_each(|index| drain(&pool, index));
        let mut all = picker.pick_several(&pool, at(1), Some(7), 8);
        all.sort_unstable();
        assert_eq!(all, [4, 5], "{policy:?}");
        (4..6).for_each(|index| drain(&pool, index));
        assert!(picker.pick_several(&pool, at(1), Some(7), 8).is_empty());
    }
}

proptest! {
    /// What each tier carries: min(1, 1.4 × its usable part), the first one first, and all together everything.
    #[test]
    fn the_split_is_that_of_the_formula(
        tiers in vec((1_usize..8, 0_usize..8), 1..4),
        factor in 1.0_f64..3.0,
    ) {
        let mut members = Vec::new();
        for (tier, (size, _)) in tiers.iter().enumerate() {
            members.extend((0..*size).map(|_| member(1, tier as u8)));
        }
        let options = BalanceOptions { overprovisioning: factor, panic_below: 0.0, ..options(Policy::Random) };
        let pool = Pool::new(options, members);
        let (mut first, mut left, mut expected) = (0, 1.0_f64, Vec::new());
        for (size, out) in &tiers {
            let out = *out.min(size);
            (first..first + out).for_each(|index| eject(&pool, index, EjectionReason::Known, 1_000_000));
            let carried = (factor * (size - out) as f64 / *size as f64).min(1.0).min(left);
            expected.push(carried);
            left -= carried;
            first += size;
        }
        let sum: f64 = expected.iter().sum();
        let mut picker = Picker::new(&pool, 3);
        let picks = counts(&mut picker, &pool, at(1), &[], 20_000);
        let mut begin = 0;
        for ((size, _), expected) in tiers.iter().zip(expected) {
            let got = picks[begin..begin + size].iter().sum::<usize>() as f64 / 20_000.0;
            let expected = if sum > 0.0 { expected / sum } else { 0.0 };
            prop_assert!((got - expected).abs() < 0.02, "{got} instead of {expected}");
            begin += size;
        }
    }
}
