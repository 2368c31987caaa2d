//! Hashing policies: the same key gets the same server, and a change of members moves few keys.

mod common;

use common::{at, drain, eject, member, options, pool, restore, tiered, weighted};
use evenkeel_balance::{BalanceOptions, Picker, Policy, Pool, key};
use evenkeel_core::{EjectionReason, Instant};

const HASHES: [Policy; 2] = [Policy::RingHash, Policy::Maglev];
const KEYS: u64 = 20_000;

fn keys() -> impl Iterator<Item = u64> {
    (0..KEYS).map(|number| key(&number.to_le_bytes()))
}

/// Where each key goes.
fn owners(pool: &Pool, now: Instant) -> Vec<u32> {
    let mut picker = Picker::new(pool, 1);
    keys()
        .map(|key| {
            picker
                .pick_for(pool, now, &[], Some(key))
                .expect("a server is usable")
                .index
        })
        .collect()
}

/// The share of keys that go elsewhere, of those that `counts`.
fn moved(before: &[u32], after: &[u32], counts: impl Fn(u32) -> bool) -> f64 {
    let pairs: Vec<_> = before
        .iter()
        .zip(after)
        .filter(|(old, _)| counts(**old))
        .collect();
    let moved = pairs.iter().filter(|(old, new)| old != new).count();
    moved as f64 / pairs.len() as f64
}

#[test]
fn the_hash_is_xxh64() {
    // The reference vectors of xxHash for an empty input and for "abc", both with seed 0.
    assert_eq!(key(b""), 0xEF46_DB37_51D8_E999);
    assert_eq!(key(b"abc"), 0x44BC_2CF5_AD77_0999);
}

#[test]
fn every_picker_sends_a_key_to_the_same_server() {
    for policy in HASHES {
        let pool = pool(policy, 10);
        let (mut one, mut other) = (Picker::new(&pool, 1), Picker::new(&pool, 99));
        for key in keys() {
            let first = one.pick_for(&pool, at(1), &[], Some(key)).unwrap();
            let second = other.pick_for(&pool, at(50_000), &[], Some(key)).unwrap();
            assert_eq!(first, second, "{policy:?}");
        }
    }
}

#[test]
fn shares_follow_weights() {
    for (policy, tolerance) in [(Policy::RingHash, 0.35), (Policy::Maglev, 0.08)] {
        let pool = weighted(policy, &[1, 1, 2, 4, 1, 1]);
        let owners = owners(&pool, at(1));
        for (index, weight) in (0_u32..).zip([1.0, 1.0, 2.0, 4.0, 1.0, 1.0]) {
            let share = owners.iter().filter(|owner| **owner == index).count() as f64 / KEYS as f64;
            let fair = weight / 10.0;
            assert!(
                (share / fair - 1.0).abs() < tolerance,
                "{policy:?} {index}: {share}, not {fair}"
            );
        }
    }
}

#[test]
fn a_server_that_is_out_moves_its_own_keys_and_gets_them_back() {
    for policy in HASHES {
        let pool = pool(policy, 10);
        let before = owners(&pool, at(1));
        eject(&pool, 3, EjectionReason::Known, 1_000);
        let during = owners(&pool, at(10));
        let others = moved(&before, &during, |owner| owner != 3);
        assert!(others <= 0.0, "{policy:?}: {others}");
        assert!(during.iter().all(|owner| *owner != 3));
        // They are spread over the others and not heaped on one.
        let heap = (0..10)
            .map(|index| {
                let of = |(old, new): (&u32, &u32)| *old == 3 && *new == index;
                before.iter().zip(&during).filter(|pair| of(*pair)).count()
            })
            .max()
            .unwrap();
        let own = before.iter().filter(|owner| **owner == 3).count();
        assert!(heap * 3 < own, "{policy:?}: {heap} of {own}");
        restore(&pool, 3, false, 20);
        assert_eq!(owners(&pool, at(30)), before, "{policy:?}");
    }
}

#[test]
fn a_server_that_joins_or_leaves_for_ever_moves_few_keys() {
    for (policy, most) in [(Policy::RingHash, 0.0), (Policy::Maglev, 0.02)] {
        for servers in [10, 100] {
            let members: Vec<_> = (0..servers).map(|_| member(1, 0)).collect();
            let whole = Pool::new(options(policy), members.clone());
            let last = servers - 1;
            let less = Pool::new(options(policy), members[..last as usize].to_vec());
            let others = moved(&owners(&whole, at(1)), &owners(&less, at(1)), |owner| {
                owner != last
            });
            assert!(others <= most, "{policy:?} of {servers}: {others}");
        }
    }
}

#[test]
fn retries_of_a_key_always_use_the_same_other_server() {
    for policy in HASHES {
        let pool = pool(policy, 5);
        let mut picker = Picker::new(&pool, 1);
        for key in keys().take(1_000) {
            let first = picker.pick_for(&pool, at(1), &[], Some(key)).unwrap().index;
            let second = picker
                .pick_for(&pool, at(1), &[first], Some(key))
                .unwrap()
                .index;
            assert_ne!(first, second);
            assert_eq!(
                second,
                picker
                    .pick_for(&pool, at(2), &[first], Some(key))
                    .unwrap()
                    .index
            );
        }
    }
}

#[test]
fn the_backup_tier_takes_keys_only_when_it_is_needed() {
    for policy in HASHES {
        let pool = tiered(policy, &[0, 0, 0, 0, 1, 1]);
        let before = owners(&pool, at(1));
        assert!(before.iter().all(|owner| *owner < 4), "{policy:?}");
        for index in 0..3 {
            drain(&pool, index);
        }
        let after = owners(&pool, at(2));
        assert!(after.iter().any(|owner| *owner >= 4));
        assert!(after.iter().all(|owner| *owner >= 3), "{policy:?}");
    }
}

#[test]
fn a_server_in_slow_start_gets_its_keys_one_after_the_other() {
    for policy in HASHES {
        let pool = pool(policy, 5);
        let before = owners(&pool, at(1));
        eject(&pool, 2, EjectionReason::Known, 1_000);
        restore(&pool, 2, true, 100);
        let own = |owners: &[u32]| owners.iter().filter(|owner| **owner == 2).count();
        let (early, late) = (owners(&pool, at(2_100)), owners(&pool, at(7_100)));
        let (early_own, late_own, all) = (own(&early), own(&late), own(&before));
        assert!(
            early_own > 0 && early_own < late_own && late_own < all,
            "{policy:?}: {early_own} {late_own} {all}"
        );
        // What it has it keeps.
        assert!(
            early
                .iter()
                .zip(&late)
                .all(|(early, late)| *early != 2 || *late == 2)
        );
        assert_eq!(owners(&pool, at(20_000)), before);
    }
}

#[test]
fn with_a_bound_a_busy_server_is_passed_over() {
    let bounded = BalanceOptions {
        bounded_load: Some(1.25),
        ..options(Policy::RingHash)
    };
    let pool = Pool::new(bounded, (0..4).map(|_| member(1, 0)).collect());
    let mut picker = Picker::new(&pool, 1);
    let hot = key(b"hot");
    let mut loads = [0_u32; 4];
    for number in 1..=400_u32 {
        let index = picker.pick_for(&pool, at(1), &[], Some(hot)).unwrap().index as usize;
        pool.members()[index].state.begin();
        loads[index] += 1;
        let bound = (1.25 * f64::from(number) / 4.0).ceil() as u32;
        assert!(loads[index] <= bound, "{number}: {loads:?}");
    }
    assert!(loads.iter().all(|load| *load > 0), "{loads:?}");
}

#[test]
fn without_a_key_they_draw_at_random() {
    for policy in HASHES {
        let pool = pool(policy, 4);
        let counts = common::counts(&mut Picker::new(&pool, 3), &pool, at(1), &[], 8_000);
        assert!(
            counts.iter().all(|count| *count > 1_000),
            "{policy:?}: {counts:?}"
        );
    }
}
