//! Least response time: the estimate, and the pitfalls of the policy.

mod common;

use std::time::Duration;

use common::*;
use evenkeel_balance::{Picker, Policy, Pool, ServerState};
use evenkeel_core::{Instant, Outcome};

const OK: Outcome = Outcome::Answered(200);

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn estimate(state: &ServerState) -> f64 {
    state.latency().expect("it took a sample").as_secs_f64() * 1e3
}

#[test]
fn a_peak_is_believed_at_once_and_forgotten_over_ten_seconds() {
    let state = ServerState::new();
    answer(&state, at(0), OK, 10, Duration::ZERO);
    answer(&state, at(1), OK, 200, Duration::ZERO);
    assert!((estimate(&state) - 200.0).abs() < 1e-3);
    answer(&state, at(10_001), OK, 10, Duration::ZERO);
    let past = (-1.0_f64).exp();
    assert!((estimate(&state) - (200.0 * past + 10.0 * (1.0 - past))).abs() < 1e-3);
}

#[test]
fn the_first_sample_counts_half_against_the_pool() {
    let state = ServerState::new();
    answer(&state, at(5), OK, 2, millis(10));
    assert!((estimate(&state) - 6.0).abs() < 1e-6);
    let state = ServerState::new();
    answer(&state, at(5), OK, 30, millis(10));
    assert!((estimate(&state) - 30.0).abs() < 1e-6);
}

#[test]
fn a_failure_counts_as_slow() {
    for outcome in [
        Outcome::Answered(500),
        Outcome::Answered(429),
        Outcome::ConnectRefused,
        Outcome::Reset { sent: true },
    ] {
        let state = ServerState::new();
        answer(&state, at(0), OK, 10, millis(10));
        answer(&state, at(1), outcome, 1, millis(10));
        assert!((estimate(&state) - 100.0).abs() < 1e-3, "{outcome:?}");
    }
    let state = ServerState::new();
    answer(&state, at(0), Outcome::AttemptTimeout, 7_000, millis(10));
    assert!(
        (estimate(&state) - 7_000.0).abs() < 1e-3,
        "what took longer counts in full"
    );
    let state = ServerState::new();
    answer(&state, at(0), Outcome::Answered(500), 1, Duration::ZERO);
    assert!(
        (estimate(&state) - 5_000.0).abs() < 1e-3,
        "nothing is known of the pool"
    );
    let state = ServerState::new();
    answer(&state, at(0), Outcome::Answered(404), 1, Duration::ZERO);
    assert!(
        (estimate(&state) - 1.0).abs() < 1e-3,
        "the client's mistake is no failure of the server"
    );
    answer(&state, at(1), Outcome::Stale, 4_000, Duration::ZERO);
    assert!((estimate(&state) - 1.0).abs() < 1e-3);
}

#[test]
fn a_cancelled_request_counts_as_at_least_its_elapsed_time() {
    let state = ServerState::new();
    answer(&state, at(0), Outcome::Cancelled, 4_000, Duration::ZERO);
    assert_eq!(state.latency(), None, "nothing is known to compare it with");
    answer(&state, at(0), OK, 100, Duration::ZERO);
    for short in [0, 40, 60, 90] {
        answer(&state, at(1), Outcome::Cancelled, short, millis(100));
        assert!((estimate(&state) - 100.0).abs() < 1e-3, "{short}");
    }
    answer(&state, at(1), Outcome::Cancelled, 1_000, millis(100));
    assert!((estimate(&state) - 1_000.0).abs() < 1e-3);
}

#[test]
fn microseconds_are_not_lost() {
    let state = ServerState::new();
    state.begin();
    state.end(at(1), OK, Duration::from_micros(80), Duration::ZERO);
    assert_eq!(state.latency(), Some(Duration::from_micros(80)));
    let state = ServerState::new();
    state.begin();
    state.end(at(1), OK, Duration::ZERO, Duration::ZERO);
    assert!(
        state
            .latency()
            .is_some_and(|latency| latency > Duration::ZERO)
    );
}

/// Serves `rate` requests per second one after the other for `seconds`; `world` says how each server answers.
fn serve(
    picker: &mut Picker,
    pool: &Pool,
    from: u64,
    seconds: u64,
    rate: u64,
    world: impl Fn(u32) -> (Outcome, u64),
) -> Vec<usize> {
    let mut counts = vec![0; pool.members().len()];
    for n in 0..seconds * rate {
        let now = Instant::from_nanos(from * 1_000_000 + n * 1_000_000_000 / rate);
        let index = picker
            .pick(pool, now, &[])
            .expect("somebody is usable")
            .index;
        let (outcome, took) = world(index);
        answer(
            &pool.members()[index as usize].state,
            now,
            outcome,
            took,
            picker.typical_latency(),
        );
        counts[index as usize] += 1;
    }
    counts
}

#[test]
fn a_new_server_does_not_take_everything() {
    let pool = pool(Policy::LeastResponseTime, 3);
    for index in 0..2 {
        answer(&pool.members()[index].state, at(0), OK, 10, Duration::ZERO);
    }
    let mut picker = Picker::new(&pool, 1);
    // Nobody has answered yet: it ties with the others.
    let measured = shares(&mut picker, &pool, at(20), &[]);
    assert_close(&measured, &[1.0 / 3.0; 3], 0.01);
}

#[test]
fn the_faster_server_takes_more_and_the_weight_counts() {
    let pool = weighted(Policy::LeastResponseTime, &[1, 1, 2]);
    for (member, took) in pool.members().iter().zip([10, 40, 20]) {
        answer(&member.state, at(0), OK, took, Duration::ZERO);
    }
    let mut picker = Picker::new(&pool, 1);
    // 10/1 and 20/2 tie, and then the first draw stands, which goes by weight; 40 loses each comparison.
    assert_close(
        &shares(&mut picker, &pool, at(20), &[]),
        &[1.0 / 3.0, 0.0, 2.0 / 3.0],
        0.02,
    );
}

#[test]
fn a_fast_error_is_not_a_good_server() {
    let pool = pool(Policy::LeastResponseTime, 3);
    let mut picker = Picker::new(&pool, 1);
    let world = |index| {
        if index == 1 {
            (Outcome::Answered(500), 1)
        } else {
            (OK, 20)
        }
    };
    let counts = serve(&mut picker, &pool, 0, 10, 200, world);
    assert!(counts[1] < 60, "{counts:?}");
    assert!(
        counts[1] >= 15,
        "{counts:?}: but enough attempts to find the fault soon"
    );
}

#[test]
fn one_that_was_slow_once_is_tried_again_and_gets_its_share_back() {
    let pool = pool(Policy::LeastResponseTime, 3);
    let mut picker = Picker::new(&pool, 1);
    serve(&mut picker, &pool, 0, 2, 200, |_| (OK, 10));
    answer(&pool.members()[0].state, at(2_000), OK, 4_000, millis(10));
    let mut tried = Vec::new();
    for second in 2..12 {
        tried.push(serve(&mut picker, &pool, second * 1_000, 1, 200, |_| (OK, 10))[0]);
    }
    assert!(
        tried.iter().all(|count| (1..=4).contains(count)),
        "{tried:?}: a few times each second"
    );
    serve(&mut picker, &pool, 12_000, 88, 200, |_| (OK, 10));
    let last = serve(&mut picker, &pool, 100_000, 10, 200, |_| (OK, 10));
    assert!(
        last[0] > 400,
        "{last:?}: 2,000 requests over three servers that are equal again"
    );
}

#[test]
fn a_slow_server_gets_few_requests_where_there_are_few() {
    let pool = pool(Policy::LeastResponseTime, 3);
    let mut picker = Picker::new(&pool, 1);
    let world = |index| (OK, if index == 2 { 200 } else { 20 });
    let counts = serve(&mut picker, &pool, 0, 2_000, 1, world);
    assert!((10..200).contains(&counts[2]), "{counts:?}");
}

#[test]
fn one_error_does_not_keep_a_server_away_for_long() {
    let pool = pool(Policy::LeastResponseTime, 2);
    let mut picker = Picker::new(&pool, 1);
    serve(&mut picker, &pool, 0, 5, 500, |_| (OK, 2));
    answer(
        &pool.members()[0].state,
        at(5_000),
        Outcome::Answered(503),
        1,
        picker.typical_latency(),
    );
    serve(&mut picker, &pool, 5_000, 55, 500, |_| (OK, 2));
    let later = serve(&mut picker, &pool, 60_000, 5, 500, |_| (OK, 2));
    assert!(later[0] > 300, "{later:?}");
}

/// Four workers at once: nothing in flight is lost or left, and the slowest sample is not lost either.
#[test]
fn workers_share_a_state_without_losing_anything() {
    let state = ServerState::new();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let state = &state;
            scope.spawn(move || {
                for n in 0..20_000 {
                    let took = if worker == 2 && n == 10_000 { 900 } else { 10 };
                    answer(state, at(1_000), OK, took, Duration::ZERO);
                }
            });
        }
    });
    assert_eq!(state.in_flight(), 0);
    assert!(
        (estimate(&state) - 900.0).abs() < 1e-3,
        "no time passes, so nothing of the peak is forgotten"
    );
}
