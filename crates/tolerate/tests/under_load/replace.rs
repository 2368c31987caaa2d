//! Other options for a policy that is in use: nothing that was counted is lost.

use std::pin::{Pin, pin};
use std::task::{Context, Waker};

use evenkeel_core::Instant;
use evenkeel_tolerate::breaker::BreakerState;
use evenkeel_tolerate::clock::{Clock, VirtualClock};
use evenkeel_tolerate::limit::AimdOptions;
use evenkeel_tolerate::{
    BreakerOptions, BudgetOptions, Call, LimitOptions, QueueOptions, RateOptions, Recovered,
    Recovery, RecoveryOptions, Stopped, ThrottleOptions,
};
use proptest::prelude::*;

use super::common::{millis, options, policy};

fn all() -> RecoveryOptions {
    RecoveryOptions {
        limit: Some(LimitOptions::Fixed(8)),
        breaker: Some(BreakerOptions {
            consecutive: Some(3),
            ..BreakerOptions::default()
        }),
        throttle: Some(ThrottleOptions::default()),
        rate: Some(RateOptions {
            per_second: 1.0,
            burst: 100,
        }),
        ..options()
    }
}

fn poll(future: &mut Pin<Box<dyn Future<Output = Recovered<(), ()>> + '_>>) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    future.as_mut().poll(&mut context).is_ready()
}

fn one(
    clock: &VirtualClock,
    policy: &Recovery<VirtualClock>,
    server: u32,
    result: Result<(), ()>,
) -> Stopped {
    let call = policy.call(Call::idempotent("get"));
    let run = call.pick(|_, _| Some(server)).run(|_| async { result });
    clock.run(run).stopped()
}

#[test]
fn what_is_in_flight_is_counted_under_another_limit() {
    let (_clock, policy) = policy(all());
    let mut calls: Vec<Pin<Box<dyn Future<Output = _> + '_>>> = Vec::new();
    for _ in 0..5 {
        let call = policy.call(Call::idempotent("get"));
        calls.push(Box::pin(call.run(|_| std::future::pending())));
    }
    assert!(calls.iter_mut().all(|call| !poll(call)));
    let in_flight = || policy.limit().map(|limit| limit.in_flight);
    for limit in [
        LimitOptions::Fixed(5),
        LimitOptions::default(),
        LimitOptions::Aimd(AimdOptions::default()),
    ] {
        let options = RecoveryOptions {
            limit: Some(limit),
            ..all()
        };
        policy.replace(options).unwrap();
        assert_eq!(in_flight(), Some(5));
    }
    let fewer = RecoveryOptions {
        limit: Some(LimitOptions::Fixed(5)),
        ..all()
    };
    policy.replace(fewer.clone()).unwrap();
    let mut sixth: Pin<Box<dyn Future<Output = _>>> = {
        let call = policy.call(Call::idempotent("get"));
        Box::pin(call.run(|_| async { Ok(()) }))
    };
    assert!(poll(&mut sixth), "it is refused");
    // Without a limit for a while.
    policy
        .replace(RecoveryOptions {
            limit: None,
            ..all()
        })
        .unwrap();
    assert_eq!(in_flight(), None);
    calls.pop();
    policy.replace(fewer).unwrap();
    assert_eq!(in_flight(), Some(4));
    drop(calls);
    assert_eq!(in_flight(), Some(0));
}

#[test]
fn more_slots_go_to_those_that_wait() {
    let queued = |places| RecoveryOptions {
        limit: Some(LimitOptions::Fixed(places)),
        queue: Some(QueueOptions::default()),
        rate: None,
        ..all()
    };
    let (_clock, policy) = policy(queued(1));
    let mut calls: Vec<Pin<Box<dyn Future<Output = _> + '_>>> = Vec::new();
    for n in 0..3 {
        let call = policy.call(Call::idempotent("get"));
        calls.push(Box::pin(call.run(move |_| async move {
            if n == 0 {
                std::future::pending::<()>().await;
            }
            Ok(())
        })));
    }
    assert!(calls.iter_mut().all(|call| !poll(call)));
    policy.replace(queued(3)).unwrap();
    assert!(!poll(&mut calls[0]));
    assert!(poll(&mut calls[1]) && poll(&mut calls[2]));
}

#[test]
fn attempts_that_wait_for_a_token_continue_at_the_new_rate() {
    let paced = |per_second| RecoveryOptions {
        rate: Some(RateOptions {
            per_second,
            burst: 1,
        }),
        deadline: None,
        ..options()
    };
    let (clock, policy) = policy(paced(0.1));
    assert_eq!(one(&clock, &policy, 0, Ok(())), Stopped::Good);
    let mut waiting = pin!(
        policy
            .call(Call::idempotent("get"))
            .run(|_| async { Ok::<_, ()>(()) })
    );
    let mut context = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    policy.replace(paced(10.0)).unwrap();
    assert!(clock.run(waiting).is_good());
    assert_eq!(clock.now(), Instant::from_millis(100));
}

#[test]
fn a_shared_budget_stays_shared() {
    let (clock, first) = policy(options());
    let second = Recovery::named("second").budget_of(&first);
    let second = second.clock(clock).build().unwrap();
    let other = RecoveryOptions {
        retries: 1,
        budget: BudgetOptions {
            ratio: 0.1,
            floor_per_second: 0.0,
            burst: 20.0,
        },
        ..options()
    };
    second.replace(other.clone()).unwrap();
    assert!(
        (first.balance() - 20.0).abs() < 1e-9,
        "both have the new burst"
    );
    first
        .replace(RecoveryOptions {
            deadline: None,
            ..other
        })
        .unwrap();
    // Two failures of the one cost the other two tokens.
    let failing = |_| async { Err::<(), _>(()) };
    for _ in 0..2 {
        let call = second.call(Call::idempotent("get"));
        assert!(!second.clock().run(call.run(failing)).is_good());
    }
    assert!((first.balance() - 18.0).abs() < 1e-9, "{}", first.balance());
}

/// One change of options.
fn change(options: &mut RecoveryOptions, which: u8, value: u32) {
    match which {
        0 => options.limit = Some(LimitOptions::Fixed(8 + value)),
        1 => options.limit = None,
        2 => {
            options.breaker = Some(BreakerOptions {
                consecutive: Some(3 + value % 5),
                growth: f64::from(value),
                ..BreakerOptions::default()
            });
        }
        3 => options.breaker = None,
        4 => {
            options.rate = Some(RateOptions {
                per_second: 1.0 / f64::from(1 + value),
                burst: 100 + value,
            });
        }
        5 => options.throttle = None,
        6 => options.budget.ratio = f64::from(value) / 10.0,
        7 => options.attempt_timeout = Some(millis(1 + u64::from(value))),
        _ => {
            options.queue = Some(QueueOptions {
                length: value,
                ..QueueOptions::default()
            });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However often and however the options change, and back: an open breaker is open, spent tokens are spent, in flight is in flight.
    #[test]
    fn nothing_is_forgotten(
        changes in prop::collection::vec((0_u8..9, 1_u32..30), 1..20), held in 1_usize..6,
    ) {
        let (clock, policy) = policy(all());
        for _ in 0..3 {
            one(&clock, &policy, 7, Err(()));
        }
        let mut calls: Vec<Pin<Box<dyn Future<Output = _> + '_>>> = Vec::new();
        for _ in 0..held {
            let call = policy.call(Call::idempotent("get")).pick(|_, _| Some(1));
            calls.push(Box::pin(call.run(|_| std::future::pending())));
        }
        prop_assert!(calls.iter_mut().all(|call| !poll(call)));
        let seen = policy.throttle().unwrap();
        let spent = 100.0 - (3 + held) as f64;
        let mut options = all();
        for (which, value) in changes {
            let before = options.clone();
            change(&mut options, which, value);
            // Some do not go together: nothing is changed then.
            if policy.replace(options.clone()).is_err() {
                options = before;
            }
        }
        options.limit = Some(LimitOptions::Fixed(8));
        options.breaker = all().breaker;
        options.throttle = all().throttle;
        options.rate = all().rate;
        policy.replace(options).unwrap();
        prop_assert_eq!(policy.limit().unwrap().in_flight as usize, held);
        let breaker = policy.breaker(Some(7)).unwrap();
        prop_assert_eq!(breaker.state(), BreakerState::Open);
        prop_assert_eq!(one(&clock, &policy, 7, Ok(())), Stopped::Open);
        let throttle = policy.throttle().unwrap();
        prop_assert_eq!((throttle.requests, throttle.accepts), (seen.requests, seen.accepts));
        prop_assert!((policy.tokens().unwrap() - spent).abs() < 1e-3);
        drop(calls);
        prop_assert_eq!(policy.limit().unwrap().in_flight, 0);
    }
}
