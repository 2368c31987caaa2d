//! What a policy is: data that is read, judged and replaced; what it tells, and what it shares.
#![cfg(all(feature = "async", feature = "blocking"))]

mod common;

use std::cell::Cell;
use std::future::ready;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{hedged, millis, near, policy, usual};
use evenkeel_core::Instant;
use evenkeel_tolerate::clock::{Clock, VirtualClock};
use evenkeel_tolerate::policy::{Lint, PolicyEvent, lint};
use evenkeel_tolerate::{Call, Jitter, LimitOptions, Recovery, RecoveryOptions, Repaired, Stopped};

const CALL: Call = Call::idempotent("get");

#[test]
fn options_are_replaced_while_calls_run() {
    let (clock, policy) = policy(usual());
    let swap = policy.clone();
    let made = Cell::new(0);
    let run = policy.call(CALL).run(|_| {
        made.set(made.get() + 1);
        let none = RecoveryOptions {
            retries: 0,
            retries_after_timeout: 0,
            ..usual()
        };
        swap.replace(none).expect("no errors");
        ready(Err::<(), _>("down"))
    });
    assert_eq!(clock.run(run).stopped(), Stopped::Attempts);
    assert_eq!(made.get(), 3, "a call keeps what it began with");
    let run = policy.call(CALL).run(|_| ready(Err::<(), _>("down")));
    assert_eq!(clock.run(run).report().attempts(), 1);
    near(policy.balance(), 8.0); // kept
    let mut other = usual();
    other.budget.burst = 5.0;
    policy.replace(other).expect("no errors");
    near(policy.balance(), 5.0);
    let wrong = RecoveryOptions {
        limit: Some(LimitOptions::Fixed(0)),
        ..usual()
    };
    assert_eq!(
        policy.replace(wrong).expect_err("nothing gets through").0,
        [Lint::LimitZero]
    );
    near(policy.options().budget.burst, 5.0);
}

#[test]
fn two_policies_may_share_a_budget() {
    let (clock, reads) = policy(usual());
    let writes = Recovery::named("writes")
        .options(usual())
        .budget_of(&reads)
        .clock(clock.clone())
        .build()
        .expect("no errors");
    let down = || ready(Err::<(), _>(()));
    assert!(!clock.run(writes.call(CALL).run(|_| down())).is_good());
    near(reads.balance(), 8.0);
}

#[test]
fn the_same_seed_takes_the_same_way() {
    let way = |seed| {
        let clock = VirtualClock::new();
        let mut options = usual();
        options.backoff.jitter = Jitter::Full;
        let policy = Recovery::named("seeded").options(options).seed(seed);
        let policy = policy.clock(clock.clone()).build().expect("no errors");
        for _ in 0..3 {
            assert!(
                !clock
                    .run(policy.call(CALL).run(|_| ready(Err::<(), _>(()))))
                    .is_good()
            );
        }
        clock.now()
    };
    assert_eq!(way(5), way(5));
    assert_ne!(way(5), way(6));
}

#[test]
fn every_decision_is_an_event() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let to = Arc::clone(&heard);
    let listen = move |policy: &str, call: &Call, _: Instant, event: &PolicyEvent| {
        assert_eq!((policy, call.name()), ("heard", "get"));
        let word = format!("{event:?}");
        let first = word.split([' ', '(']).next().unwrap_or_default();
        to.lock().unwrap().push(first.to_owned());
    };
    let clock = VirtualClock::new();
    let policy = Recovery::named("heard")
        .options(usual())
        .events(Arc::new(listen));
    let policy = policy.clock(clock.clone()).build().expect("no errors");
    let run = policy.call(CALL).run(|attempt| {
        ready(if attempt.number() == 1 {
            Err(())
        } else {
            Ok(())
        })
    });
    assert!(clock.run(run).is_good());
    assert_eq!(
        *heard.lock().unwrap(),
        ["Began", "Ended", "Retry", "Began", "Ended", "Stopped"]
    );
    let text = policy.prometheus();
    assert!(
        text.contains("evenkeel_recovery_retries_total{policy=\"heard\"} 1\n"),
        "{text}"
    );
    assert!(text.contains("evenkeel_recovery_calls_total{policy=\"heard\",stopped=\"good\"} 1\n"));
    assert!(text.contains("calls_by_attempts_total{policy=\"heard\",attempts=\"2\"} 1\n"));
}

#[test]
fn threads_get_the_same_decisions() {
    let (clock, policy) = policy(usual());
    let recovered = policy
        .call(CALL)
        .repair_blocking(|error: Option<&&str>, _| {
            assert_eq!(error, Some(&"down"));
            Repaired::Nothing
        })
        .run_blocking(|attempt| {
            clock.pass(millis(5));
            if attempt.number() < 3 {
                Err("down")
            } else {
                Ok(attempt.number())
            }
        });
    assert_eq!(
        (recovered.report().took(), recovered.report().waited()),
        (millis(45), millis(30))
    );
    assert_eq!(policy.counters().repairs, 1);
    assert_eq!(recovered.into_result().expect("good"), 3);

    // What fails later than its timeout has timed out.
    let late = policy.call(CALL).run_blocking(|_| {
        clock.pass(millis(300));
        Err::<(), _>("late")
    });
    assert_eq!(late.stopped(), Stopped::Timeouts);
    let cached = policy
        .call(CALL)
        .run_blocking_or_else(|_| Err("down"), |_| Ok(1));
    assert!(cached.report().fell_back());
}

#[test]
fn options_are_data() {
    let text = serde_json::to_string(&hedged(50)).expect("plain data");
    assert!(text.contains("\"attempt-timeout\":\"300ms\""), "{text}");
    assert!(text.contains("\"after\":{\"delay\":\"50ms\"}"), "{text}");
    assert_eq!(
        serde_json::from_str::<RecoveryOptions>(&text).expect("its own"),
        hedged(50)
    );
    let few = serde_json::from_str::<RecoveryOptions>(r#"{"retries": 5, "deadline": null}"#);
    let few = few.expect("the rest are defaults");
    assert_eq!((few.retries, few.deadline), (5, None));
    for wrong in [
        r#"{"retry": 5}"#,
        r#"{"deadline": 5}"#,
        r#"{"deadline": "5"}"#,
    ] {
        assert!(
            serde_json::from_str::<RecoveryOptions>(wrong).is_err(),
            "{wrong}"
        );
    }
}

/// The published example of metastable failures (280 calls a second, capacity 300): a ratio must stay below 7.14 %.
#[test]
fn what_cannot_be_stable_is_not_built() {
    let at = |ratio: f64| {
        let mut options = usual();
        options.budget.ratio = ratio;
        Recovery::named("hotos")
            .options(options)
            .load(280.0, 300.0)
            .build()
    };
    assert!(at(0.071).is_ok());
    let lints = at(0.072).expect_err("unstable");
    assert_eq!(
        lints.to_string(),
        "unstable: 300 attempts per second for a capacity of 300; stable with a budget ratio below 0.071"
    );
    let mut none = usual();
    (none.retries, none.retries_after_timeout, none.budget.ratio) = (0, 0, 0.2);
    let load = evenkeel_tolerate::policy::Load {
        per_second: 280.0,
        capacity: 300.0,
    };
    assert_eq!(
        lint(&none, Some(load)),
        [],
        "who does not retry cannot be too many"
    );
}

#[test]
fn each_lint_is_found() {
    let with = |change: fn(&mut RecoveryOptions)| {
        let mut options = usual();
        change(&mut options);
        lint(&options, None)
    };
    assert_eq!(lint(&RecoveryOptions::default(), None), []);
    assert_eq!(
        with(|it| it.limit = Some(LimitOptions::Fixed(0))),
        [Lint::LimitZero]
    );
    assert_eq!(
        with(|it| it.deadline = Some(Duration::ZERO)),
        [Lint::NoTime]
    );
    assert_eq!(
        with(|it| it.budget.burst = f64::NAN),
        [Lint::NotANumber("budget.burst")]
    );
    assert_eq!(with(|it| it.budget.burst = 0.9), [Lint::BudgetBelowOne]);
    assert_eq!(
        with(|it| it.retries = 4),
        [Lint::BeyondDeadline {
            worst: millis(1_610),
            deadline: millis(1_000)
        }]
    );
    assert_eq!(
        with(|it| it.attempt_timeout = it.deadline),
        [Lint::AttemptFillsDeadline]
    );
    assert_eq!(
        with(|it| it.hedge = hedged(300).hedge),
        [Lint::HedgeAfterTimeout]
    );
    assert_eq!(
        with(|it| (it.hedge, it.limit) = (hedged(9).hedge, Some(LimitOptions::Fixed(1)))),
        [Lint::HedgeNever]
    );
    assert_eq!(
        with(|it| it.retries_after_timeout = 3),
        [Lint::TimeoutsBeyondRetries]
    );
    assert_eq!(
        with(|it| (it.deadline, it.attempt_timeout) = (None, None)),
        [Lint::Endless]
    );
}

#[test]
fn its_futures_go_to_other_threads() {
    fn goes<T: Send>(_: &T) {}
    let (_, policy) = policy(usual());
    goes(&policy);
    let run = policy
        .call(CALL)
        .pick(|_, _| Some(1))
        .repair(|_: Option<&String>, _| Box::pin(ready(Repaired::Nothing)))
        .run_or_else(|_| ready(Err::<(), _>(String::new())), |_| ready(Ok(())));
    goes(&run);
}
