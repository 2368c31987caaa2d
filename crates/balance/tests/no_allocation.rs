//! Picking, and counting an attempt in and out, allocates nothing, for any policy, pool and availability.
//!
//! A pool that has grown is the exception: a picker allocates once for it, at its first pick.

mod common;

use std::time::Duration;

use allocation_counter::measure;
use common::*;
use evenkeel_balance::{Picker, Policy, Pool};
use evenkeel_core::{EjectionReason, Outcome};

/// Attempts one after the other, ten per millisecond: the survey and the median are renewed on the way.
fn allocations(picker: &mut Picker, pool: &Pool, from: u64, avoid: &[u32]) -> u64 {
    let info = measure(|| {
        for n in 0..3_000 {
            let now = at(from + n / 10);
            let pick = picker.pick(pool, now, avoid).expect("somebody is usable");
            let state = &pool.members()[pick.index as usize].state;
            let outcome = Outcome::Answered(if n % 50 == 0 { 503 } else { 200 });
            state.begin();
            let took = Duration::from_millis(n % 7);
            state.end(now, outcome, took, picker.typical_latency());
        }
    });
    info.count_total
}

fn each_policy(mut check: impl FnMut(Policy, &mut Picker, &Pool)) {
    for policy in ALL {
        for servers in [1, 3, 10, 1_000] {
            let weights: Vec<u32> = (0..servers).map(|n| 1 + n % 4).collect();
            let pool = weighted(policy, &weights);
            let mut picker = Picker::new(&pool, 1);
            check(policy, &mut picker, &pool);
        }
    }
}

#[test]
fn this_test_would_see_an_allocation() {
    assert_eq!(
        measure(|| drop(std::hint::black_box(Box::new(7)))).count_total,
        1
    );
}

#[test]
fn a_pick_allocates_nothing() {
    each_policy(|policy, picker, pool| {
        let servers = pool.members().len();
        assert_eq!(
            allocations(picker, pool, 0, &[]),
            0,
            "{policy:?}, {servers} servers"
        );
    });
}

#[test]
fn a_retry_allocates_nothing() {
    each_policy(|policy, picker, pool| {
        let servers = pool.members().len();
        assert_eq!(
            allocations(picker, pool, 0, &[0, 1]),
            0,
            "{policy:?}, {servers} servers"
        );
    });
}

#[test]
fn directives_make_no_pick_allocate() {
    each_policy(|policy, picker, pool| {
        let servers = pool.members().len();
        if servers < 3 {
            return;
        }
        eject(pool, 0, EjectionReason::Known, 100);
        trial(pool, 1, 0.1, 200);
        assert_eq!(
            allocations(picker, pool, 0, &[]),
            0,
            "{policy:?}, {servers} servers"
        );
        // Panic: most are suspected.
        for index in 0..servers - 1 {
            eject(pool, index, EjectionReason::Suspected, 10_000);
        }
        assert_eq!(
            allocations(picker, pool, 300, &[]),
            0,
            "{policy:?}, {servers} servers"
        );
        for index in 0..servers {
            restore(pool, index, true, 600);
        }
        assert_eq!(
            allocations(picker, pool, 600, &[]),
            0,
            "{policy:?}, {servers} servers"
        );
    });
}
