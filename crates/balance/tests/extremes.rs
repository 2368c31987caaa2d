//! Extreme options and times: nothing panics, hangs, or ignores a healthy server.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::time::Duration;

use common::{ALL, at, member, options};
use evenkeel_balance::{BalanceOptions, Picker, Pool, Subset};
use evenkeel_core::{Directive, EjectionReason, Instant, Outcome, ServerId};
use proptest::prelude::*;

fn number() -> impl Strategy<Value = f64> + Clone {
    prop::sample::select(vec![
        f64::NAN,
        f64::NEG_INFINITY,
        -1.0,
        0.0,
        1e-300,
        0.5,
        1.0,
        1e300,
        f64::INFINITY,
    ])
}

fn duration() -> impl Strategy<Value = Duration> + Clone {
    prop::sample::select(vec![
        Duration::ZERO,
        Duration::from_nanos(1),
        Duration::from_secs(1),
        Duration::from_nanos(u64::MAX),
        Duration::MAX,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn pools_survive_extreme_options(
        policy in prop::sample::select(ALL.to_vec()), servers in 1_usize..5,
        (panic_below, overprovisioning, bounded_load) in (number(), number(), number()),
        (slow_start, pause, took) in (duration(), duration(), duration()),
        size in prop::sample::select(vec![0_u32, 1, 3, u32::MAX]),
        table in prop::sample::select(vec![0_u32, 1, 2, 4, 9, 100]),
        weight in prop::sample::select(vec![0_u32, 1, 7, u32::MAX]),
    ) {
        let options = BalanceOptions {
            panic_below,
            overprovisioning,
            bounded_load: Some(bounded_load),
            slow_start,
            maglev_table: table,
            subset: (size != 3).then_some(Subset { size, key: 5 }),
            ..options(policy)
        };
        let members: Vec<_> = (0..servers).map(|n| member(if n == 0 { weight } else { 1 }, 0)).collect();
        let pool = Pool::new(options, members);
        let mut picker = Picker::new(&pool, 1);
        for now in [Instant::ZERO, at(5), Instant::from_nanos(u64::MAX / 2), Instant::NEVER] {
            for key in [None, Some(0), Some(u64::MAX)] {
                let index = picker.pick_for(&pool, now, &[], key).unwrap().index;
                let state = &pool.members()[index as usize].state;
                state.begin();
                let typical = picker.typical_latency();
                state.end(now, Outcome::Answered(200), took, typical);
                state.relieve(now, pause);
            }
            let state = &pool.members()[0].state;
            let server = ServerId::new(0, 0);
            let eject = Directive::Eject { server, verdict: EjectionReason::Suspected, until: now + pause };
            state.apply(&eject, now);
            state.apply(&Directive::Restore { server, slowly: true }, now);
            prop_assert!((0.0..=1.0).contains(&state.share(now)));
            prop_assert_eq!(pool.intended(now).len(), servers);
        }
    }
}
