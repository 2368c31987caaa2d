//! Pools for tests.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test file uses a part of it"
)]

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::{BalanceOptions, Member, Picker, Policy, Pool, ServerState};
use evenkeel_core::{Directive, EjectionReason, Instant, Outcome, ServerId};

pub(crate) const ALL: [Policy; 10] = [
    Policy::Random,
    Policy::RoundRobin,
    Policy::WeightedRoundRobin,
    Policy::WeightedRandom,
    Policy::LeastRequests,
    Policy::PowerOfTwo,
    Policy::LeastResponseTime,
    Policy::Prequal,
    Policy::RingHash,
    Policy::Maglev,
];
pub(crate) const SERVER: ServerId = ServerId::new(0, 0);

pub(crate) fn options(policy: Policy) -> BalanceOptions {
    BalanceOptions {
        policy,
        panic_below: 0.5,
        slow_start: Duration::from_secs(10),
        bounded_load: None,
        maglev_table: 65_537,
        overprovisioning: 1.4,
        subset: None,
    }
}

/// Another one each time, the same ones in each run of a test.
fn next_identity() -> Arc<str> {
    thread_local! {
        static COUNT: Cell<u32> = const { Cell::new(0) };
    }
    let count = COUNT.get();
    COUNT.set(count + 1);
    format!("10.0.0.1:{count}").into()
}

pub(crate) fn member(weight: u32, tier: u8) -> Member {
    Member {
        identity: next_identity(),
        state: Arc::new(ServerState::new()),
        weight,
        tier,
        near: false,
        max_requests: 0,
    }
}

pub(crate) fn pool(policy: Policy, servers: usize) -> Pool {
    weighted(policy, &vec![1; servers])
}

pub(crate) fn weighted(policy: Policy, weights: &[u32]) -> Pool {
    Pool::new(
        options(policy),
        weights.iter().map(|&weight| member(weight, 0)).collect(),
    )
}

pub(crate) fn tiered(policy: Policy, tiers: &[u8]) -> Pool {
    Pool::new(
        options(policy),
        tiers.iter().map(|&tier| member(1, tier)).collect(),
    )
}

pub(crate) fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

pub(crate) fn eject(pool: &Pool, index: usize, verdict: EjectionReason, until: u64) {
    pool.members()[index].state.apply(
        &Directive::Eject {
            server: SERVER,
            verdict,
            until: at(until),
        },
        at(0),
    );
}

pub(crate) fn drain(pool: &Pool, index: usize) {
    pool.members()[index]
        .state
        .apply(&Directive::Drain { server: SERVER }, at(0));
}

pub(crate) fn trial(pool: &Pool, index: usize, share: f64, until: u64) {
    pool.members()[index].state.apply(
        &Directive::Trial {
            server: SERVER,
            share,
            until: at(until),
        },
        at(0),
    );
}

pub(crate) fn restore(pool: &Pool, index: usize, slowly: bool, now: u64) {
    pool.members()[index].state.apply(
        &Directive::Restore {
            server: SERVER,
            slowly,
        },
        at(now),
    );
}

/// An attempt that took `millis` and ended at `now`.
pub(crate) fn answer(
    state: &ServerState,
    now: Instant,
    outcome: Outcome,
    millis: u64,
    typical: Duration,
) {
    state.begin();
    state.end(now, outcome, Duration::from_millis(millis), typical);
}

/// How often each member is picked in `picks` picks.
pub(crate) fn counts(
    picker: &mut Picker,
    pool: &Pool,
    now: Instant,
    avoid: &[u32],
    picks: usize,
) -> Vec<usize> {
    let mut counts = vec![0; pool.members().len()];
    for _ in 0..picks {
        if let Some(pick) = picker.pick(pool, now, avoid) {
            counts[pick.index as usize] += 1;
        }
    }
    counts
}

pub(crate) fn shares(picker: &mut Picker, pool: &Pool, now: Instant, avoid: &[u32]) -> Vec<f64> {
    const PICKS: usize = 40_000;
    counts(picker, pool, now, avoid, PICKS)
        .into_iter()
        .map(|count| count as f64 / PICKS as f64)
        .collect()
}

pub(crate) fn assert_close(measured: &[f64], expected: &[f64], within: f64) {
    for (m, e) in measured.iter().zip(expected) {
        assert!((m - e).abs() <= within, "{measured:?} is not {expected:?}");
    }
}
