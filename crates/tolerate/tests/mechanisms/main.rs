//! What may refuse an attempt or make it wait, through a policy and in virtual time: breakers, rate, throttle, faults on purpose;
//! and values of earlier calls.
#![cfg(all(feature = "async", feature = "blocking"))]

#[path = "../common/mod.rs"]
mod common;

use std::cell::{Cell, RefCell};

use std::future::{Future, pending, ready};

use std::pin::pin;

use std::sync::{Arc, Mutex};

use std::task::{Context, Waker};

use std::time::Duration;

use common::{Crowd, millis, options, policy, retrying};

use evenkeel_core::Instant;

use evenkeel_tolerate::breaker::{BreakerState, WindowKind};

use evenkeel_tolerate::clock::Clock;

use evenkeel_tolerate::inject::{AbortOptions, DelayOptions};

use evenkeel_tolerate::policy::PolicyEvent;

use evenkeel_tolerate::throttle::AdmissionControlOptions;

use evenkeel_tolerate::{
    BreakerOptions, Call, HedgeAfter, HedgeOptions, InjectOptions, LimitOptions, RateOptions,
    Recovery, RecoveryOptions, Stopped, ThrottleOptions, Verdict,
};

mod lints;
mod stale_values;

pub(crate) const CALL: Call = Call::idempotent("get");

pub(crate) fn breaker() -> BreakerOptions {
    BreakerOptions {
        consecutive: Some(2),
        jitter: 0.0,
        ..BreakerOptions::default()
    }
}

#[test]
fn a_breaker_for_each_server_opens_and_closes_again() {
    let (clock, policy) = policy(RecoveryOptions {
        breaker: Some(breaker()),
        ..options()
    });
    let is_down = Cell::new([true, false]);
    let asked = RefCell::new(Vec::new());
    let call = || {
        let run = policy
            .call(CALL)
            .pick(|avoid, _| (0..2).find(|server| !avoid.contains(server)).or(Some(0)))
            .run(|attempt| {
                let server = attempt.server().expect("picked");
                asked.borrow_mut().push(server);
                ready(if is_down.get()[server as usize] {
                    Err("down")
                } else {
                    Ok(server)
                })
            });
        clock.run(run).stopped()
    };
    assert_eq!((call(), call()), (Stopped::Attempts, Stopped::Attempts));
    let zero = policy.breaker(Some(0)).expect("it was asked");
    assert_eq!(zero.state(), BreakerState::Open);
    assert!(policy.breaker(Some(1)).is_none(), "it was never asked");
    // The other one takes its calls.
    assert_eq!((call(), call()), (Stopped::Good, Stopped::Good));
    assert_eq!(*asked.borrow(), [0, 0, 1, 1]);
    is_down.set([true, true]);
    assert_eq!((call(), call()), (Stopped::Attempts, Stopped::Attempts));
    assert_eq!(call(), Stopped::Open, "nobody is left");
    assert_eq!(asked.borrow().len(), 6);
    // Half-open: one trial, which fails, and the time is longer.
    clock.pass(millis(5_000));
    assert_eq!(call(), Stopped::Attempts);
    clock.pass(millis(5_000));
    is_down.set([false, false]);
    assert_eq!(call(), Stopped::Good);
    assert_eq!(
        policy.breaker(Some(1)).map(|it| it.state()),
        Some(BreakerState::Closed)
    );
    assert_eq!(zero.state(), BreakerState::Open, "for ten seconds");
    clock.pass(millis(5_000));
    assert_eq!(
        (call(), zero.state()),
        (Stopped::Good, BreakerState::Closed)
    );
    let counted = policy.counters();
    assert_eq!((counted.breakers_opened, counted.breakers_closed), (3, 2));
    let text = policy.prometheus();
    assert!(
        text.contains("evenkeel_recovery_breakers{policy=\"test\",state=\"closed\"} 2\n"),
        "{text}"
    );
}

#[test]
fn one_breaker_where_no_server_is_picked_and_one_trial_at_a_time() {
    let (clock, policy) = policy(RecoveryOptions {
        breaker: Some(breaker()),
        ..retrying()
    });
    let down = || clock.run(policy.call(CALL).run(|_| ready(Err::<(), _>("down"))));
    let recovered = down();
    assert_eq!(
        (recovered.stopped(), recovered.report().attempts()),
        (Stopped::Open, 2)
    );
    assert_eq!(
        recovered.into_result().expect_err("down").error,
        Some("down")
    );
    clock.pass(millis(6_000));
    let mut context = Context::from_waker(Waker::noop());
    {
        let mut trial = pin!(policy.call(CALL).run(|_| pending::<Result<(), &str>>()));
        assert!(trial.as_mut().poll(&mut context).is_pending());
        assert_eq!(down().stopped(), Stopped::Open);
    }
    // The trial was dropped, and another one may be made.
    let good = policy.call(CALL).run_blocking(|_| Ok::<_, ()>(()));
    assert_eq!(good.stopped(), Stopped::Good);
    assert_eq!(
        policy.breaker(None).map(|it| it.state()),
        Some(BreakerState::Closed)
    );
}

#[test]
fn an_attempt_without_a_token_waits_its_turn_or_is_rejected() {
    let (clock, policy) = policy(RecoveryOptions {
        deadline: Some(millis(250)),
        rate: Some(RateOptions {
            per_second: 10.0,
            burst: 1,
        }),
        ..options()
    });
    let ends = RefCell::new(Vec::new());
    let mut crowd = Crowd::default();
    for number in 0..5 {
        let (policy, clock, ends) = (&policy, &clock, &ends);
        crowd.add(async move {
            let run = policy.call(CALL).run(|_| ready(Ok::<_, ()>(clock.now())));
            let recovered = run.await;
            let paced = recovered.report().paced().as_millis();
            ends.borrow_mut().push((number, recovered.stopped(), paced));
        });
    }
    clock.run(crowd);
    assert_eq!(
        *ends.borrow(),
        [
            (0, Stopped::Good, 0),
            (3, Stopped::Rate, 0),
            (4, Stopped::Rate, 0),
            (1, Stopped::Good, 100),
            (2, Stopped::Good, 200),
        ]
    );
    let counted = policy.counters();
    assert_eq!((counted.paced, counted.paced_for), (2, millis(300)));
    // A thread waits as well; one that is dropped while it waits gives its token back.
    let mut context = Context::from_waker(Waker::noop());
    clock.pass(millis(100));
    assert!(
        policy
            .call(CALL)
            .run_blocking(|_| Ok::<_, ()>(()))
            .is_good()
    );
    {
        let mut waits = pin!(policy.call(CALL).run(|_| ready(Ok::<_, ()>(()))));
        assert!(waits.as_mut().poll(&mut context).is_pending());
    }
    let next = policy.call(CALL).run_blocking(|_| Ok::<_, ()>(()));
    assert_eq!(next.report().paced(), millis(100));
    assert_eq!(policy.counters().abandoned, 1);
    assert!(policy.tokens().is_some_and(|tokens| tokens < 1.0));
}

#[test]
fn a_service_that_refuses_is_asked_less() {
    let (clock, policy) = policy(RecoveryOptions {
        throttle: Some(ThrottleOptions::default()),
        ..options()
    });
    let is_well = Cell::new(false);
    let asked = Cell::new(0);
    let call = || {
        let run = policy
            .call(CALL)
            .classify_errors(|_: &()| Verdict::THROTTLED)
            .run(|_| {
                asked.set(asked.get() + 1);
                ready(if is_well.get() { Ok(()) } else { Err(()) })
            });
        clock.pass(millis(10));
        clock.run(run).stopped()
    };
    let throttled = (0..1_000).filter(|_| call() == Stopped::Throttled).count();
    assert!(throttled > 900, "{throttled}");
    assert_eq!(asked.get() + throttled, 1_000);
    assert!(policy.throttle().is_some_and(|it| it.refusing > 0.9));
    is_well.set(true);
    clock.pass(Duration::from_secs(120));
    assert!((0..1_000).all(|_| call() == Stopped::Good));
    let text = policy.prometheus();
    let line = format!("calls_total{{policy=\"test\",stopped=\"throttled\"}} {throttled}\n");
    assert!(text.contains(&line), "{text}");
}

/// What the program itself refuses, further in, was not refused by the service.
#[test]
fn ones_own_limit_does_not_look_like_a_service_that_rejects() {
    let (clock, policy) = policy(RecoveryOptions {
        throttle: Some(ThrottleOptions::default()),
        limit: Some(LimitOptions::Fixed(1)),
        ..options()
    });
    let mut context = Context::from_waker(Waker::noop());
    let mut holds = pin!(policy.call(CALL).run(|_| pending::<Result<(), ()>>()));
    assert!(holds.as_mut().poll(&mut context).is_pending());
    for _ in 0..1_000 {
        let refused = clock.run(policy.call(CALL).run(|_| ready(Ok::<_, ()>(()))));
        assert_eq!(refused.stopped(), Stopped::Shed);
    }
    assert_eq!(policy.throttle().map(|it| it.requests), Some(0));
}

pub(crate) fn injects(delay: Option<(f64, u64)>, abort: Option<f64>) -> Option<InjectOptions> {
    let delay = delay.map(|(share, time)| DelayOptions {
        share,
        time: millis(time),
    });
    let abort = abort.map(|share| AbortOptions { share, status: 503 });
    Some(InjectOptions {
        delay,
        abort,
        seed: 7,
    })
}

#[test]
fn an_injected_abort_is_not_made_and_is_retried() {
    for blocking in [false, true] {
        let (clock, policy) = policy(RecoveryOptions {
            inject: injects(Some((1.0, 5)), Some(1.0)),
            ..retrying()
        });
        let made = Cell::new(0);
        let attempt = || {
            made.set(made.get() + 1);
            Ok::<_, ()>(())
        };
        let recovered = if blocking {
            policy.call(CALL).run_blocking(|_| attempt())
        } else {
            clock.run(policy.call(CALL).run(|_| ready(attempt())))
        };
        assert_eq!((recovered.stopped(), made.get()), (Stopped::Attempts, 0));
        assert_eq!(recovered.report().took(), millis(5 + 10 + 5 + 20 + 5));
        let verdicts = recovered.report().log().map(|it| it.verdict);
        assert!(verdicts.eq([Some(Verdict::Injected); 3]));
        assert!(recovered.last().is_none());
        let counted = policy.counters();
        assert_eq!((counted.delays_injected, counted.aborts_injected), (3, 3));
        assert_eq!(counted.retries, 2);
        // A call that may be made once is not: the fault is one that may have come after it was made.
        let once = policy.call(Call::once("pay")).run_blocking(|_| attempt());
        assert_eq!(once.stopped(), Stopped::Once);
    }
}

#[test]
fn half_of_the_requests_are_chosen() {
    let (clock, policy) = policy(RecoveryOptions {
        inject: injects(None, Some(0.5)),
        ..options()
    });
    let good = || {
        clock
            .run(policy.call(CALL).run(|_| ready(Ok::<_, ()>(()))))
            .is_good()
    };
    assert_eq!((0..2_048).filter(|_| good()).count(), 1_024);
}

#[test]
fn an_injected_delay_times_out_like_any_other() {
    let late = |delay, hedge: bool| {
        let (clock, policy) = policy(RecoveryOptions {
            attempt_timeout: Some(millis(100)),
            inject: injects(Some((0.5, delay)), None),
            hedge: hedge.then(|| HedgeOptions {
                after: HedgeAfter::Delay(millis(20)),
                ..HedgeOptions::default()
            }),
            ..options()
        });
        let took = (0..64).map(|_| {
            let run = policy.call(CALL).run(|_| {
                let clock = clock.clone();
                async move {
                    clock.sleep(millis(3)).await;
                    Ok::<_, ()>(())
                }
            });
            let recovered = clock.run(run);
            (recovered.stopped(), recovered.report().took().as_millis())
        });
        let mut took: Vec<_> = took.collect();
        took.sort_unstable_by_key(|(_, took)| *took);
        took.dedup();
        took
    };
    let good = Stopped::Good;
    assert_eq!(late(40, false), [(good, 3), (good, 43)]);
    assert_eq!(late(200, false), [(good, 3), (Stopped::Attempts, 100)]);
    // A second attempt that is not delayed comes after 20 ms; one that is is no better than the first.
    assert_eq!(late(40, true), [(good, 3), (good, 23), (good, 43)]);
    // A thread waits for its time to be over.
    let (_, policy) = policy(RecoveryOptions {
        attempt_timeout: Some(millis(100)),
        inject: injects(Some((1.0, 200)), None),
        ..options()
    });
    let recovered = policy.call(CALL).run_blocking(|_| Ok::<_, ()>(()));
    assert_eq!(recovered.report().took(), millis(100));
    assert_eq!(policy.counters().timeouts, 1);
}

#[test]
fn what_was_learnt_stays_under_new_options() {
    let all = RecoveryOptions {
        breaker: Some(breaker()),
        rate: Some(RateOptions {
            per_second: 0.001,
            burst: 10,
        }),
        throttle: Some(ThrottleOptions::default()),
        inject: injects(None, Some(0.0)),
        ..options()
    };
    let (clock, policy) = policy(all.clone());
    for _ in 0..2 {
        let down = policy.call(CALL).run(|_| ready(Err::<(), _>(())));
        assert!(!clock.run(down).is_good());
    }
    let state = || {
        let breaker = policy.breaker(None).map(|it| it.state());
        let tokens = policy.tokens().map(|tokens| tokens.round() as u32);
        let requests = policy.throttle().map(|it| it.requests);
        (breaker, tokens, requests)
    };
    let learnt = (Some(BreakerState::Open), Some(8), Some(2));
    assert_eq!(state(), learnt);
    let mut other = all;
    other.retries = 1;
    policy.replace(other.clone()).expect("no errors");
    assert_eq!(state(), learnt);
    other.throttle = Some(ThrottleOptions::Admission(
        AdmissionControlOptions::default(),
    ));
    policy.replace(other.clone()).expect("no errors");
    assert_eq!(state(), learnt);
    other.rate = None;
    other.breaker = Some(BreakerOptions::default());
    policy.replace(other).expect("no errors");
    assert_eq!(state(), (Some(BreakerState::Open), None, Some(2)));
}

#[test]
fn every_decision_is_an_event() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let to = Arc::clone(&heard);
    let listen = move |_: &str, _: &Call, _: Instant, event: &PolicyEvent| {
        let word = format!("{event:?}");
        let first = word.split([' ', '(']).next().unwrap_or_default();
        to.lock().unwrap().push(first.to_owned());
    };
    let clock = evenkeel_tolerate::clock::VirtualClock::new();
    let policy = Recovery::named("heard")
        .options(RecoveryOptions {
            breaker: Some(breaker()),
            rate: Some(RateOptions {
                per_second: 10.0,
                burst: 1,
            }),
            inject: injects(Some((1.0, 1)), None),
            retries: 1,
            ..retrying()
        })
        .events(Arc::new(listen));
    let policy = policy.clock(clock.clone()).build().expect("no errors");
    let run = policy.call(CALL).run(|_| ready(Err::<(), _>(())));
    assert!(!clock.run(run).is_good());
    assert_eq!(
        *heard.lock().unwrap(),
        [
            "Began", "Injected", "Ended", "Retry", "Paced", "Began", "Injected", "Ended",
            "Breaker", "Denied", "Stopped"
        ]
    );
}

#[test]
fn options_are_data() {
    let text = r#"{
        "limit": { "fixed": 8 },
        "queue": { "length": 16, "wait": "300ms", "codel": { "minimum-delay": { "target": "50ms" } }, "newest-first-after": "100ms" },
        "rate": { "per-second": 50, "burst": 5 },
        "breaker": { "consecutive": null, "failure-ratio": 0.3, "window": { "time": "5s" }, "open-for": "2s" },
        "throttle": { "admission": { "threshold": 0.9, "window": "1m" } },
        "inject": { "delay": { "share": 0.1, "time": "20ms" }, "abort": { "share": 0.01, "status": 500 } }
    }"#;
    let options: RecoveryOptions = serde_json::from_str(text).expect("plain data");
    let breaker = options.breaker.expect("given");
    assert_eq!(
        (breaker.consecutive, breaker.failure_ratio),
        (None, Some(0.3))
    );
    assert_eq!(breaker.window, WindowKind::Time(millis(5_000)));
    let queue = options.queue.expect("given");
    assert_eq!(queue.newest_first_after, Some(millis(100)));
    let again = serde_json::to_string(&options).expect("plain data");
    let again: RecoveryOptions = serde_json::from_str(&again).expect("its own");
    assert_eq!(again, options);
    for wrong in [
        r#"{"queue": {"wait": 1}}"#,
        r#"{"breaker": {"failure_ratio": 0.5}}"#,
        r#"{"throttle": {"sre": {"kay": 2}}}"#,
    ] {
        assert!(
            serde_json::from_str::<RecoveryOptions>(wrong).is_err(),
            "{wrong}"
        );
    }
}
