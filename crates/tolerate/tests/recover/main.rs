//! The async and the blocking face, in virtual time.
#![cfg(all(feature = "async", feature = "blocking"))]

#[path = "../common/mod.rs"]
mod common;

use std::cell::RefCell;

use std::future::{pending, ready};

use std::sync::Arc;

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use common::{hedged, millis, near, policy, usual};

use evenkeel_core::Instant;

use evenkeel_tolerate::clock::Clock;

use evenkeel_tolerate::policy::Errors;

use evenkeel_tolerate::{Call, Deadline, Repaired, Stopped, Verdict};

mod leaks;
mod gates;

pub(crate) const CALL: Call = Call::idempotent("get");

#[test]
fn it_tries_again_until_it_works_and_says_what_it_did() {
    let (clock, policy) = policy(usual());
    let run = policy.call(CALL).run(|attempt| {
        let clock = clock.clone();
        async move {
            clock.sleep(millis(5)).await;
            assert_eq!(attempt.began() + millis(5), clock.now());
            if attempt.number() < 3 {
                Err(attempt.number())
            } else {
                Ok("value")
            }
        }
    });
    let recovered = clock.run(run);
    assert!(recovered.is_good());
    let report = recovered.report();
    assert_eq!((report.call(), report.attempts()), ("get", 3));
    assert_eq!((report.took(), report.waited()), (millis(45), millis(30)));
    let log: Vec<_> = report
        .log()
        .map(|it| {
            (
                it.number,
                it.began.as_nanos() / 1_000_000,
                it.took,
                it.verdict,
            )
        })
        .collect();
    let transient = Some(Verdict::TRANSIENT);
    assert_eq!(
        log,
        [
            (1, 0, millis(5), transient),
            (2, 15, millis(5), transient),
            (3, 40, millis(5), Some(Verdict::Good)),
        ]
    );
    assert_eq!(recovered.into_result().expect("good"), "value");
    near(policy.balance(), 8.2);
    let counted = policy.counters();
    assert_eq!(
        (counted.calls, counted.retries, counted.attempts_per_call[3]),
        (1, 2, 1)
    );
    assert_eq!(counted.waited, millis(30));
}

#[test]
fn each_attempt_knows_the_remaining_time() {
    let (clock, policy) = policy(usual());
    let seen = RefCell::new(Vec::new());
    let callers = Deadline::new(Instant::ZERO, millis(700));
    let run = policy.call(CALL.until(callers)).run(|attempt| {
        seen.borrow_mut()
            .push((attempt.remaining(), attempt.timeout()));
        let clock = clock.clone();
        async move {
            clock.sleep(millis(250)).await;
            Err::<(), _>("down")
        }
    });
    let recovered = clock.run(run);
    // Attempts of 250 ms, and 10 and 20 ms between them; the caller's deadline is earlier than the policy's.
    assert_eq!(
        *seen.borrow(),
        [
            (millis(700), millis(300)),
            (millis(440), millis(300)),
            (millis(170), millis(170)),
        ]
    );
    assert_eq!(recovered.stopped(), Stopped::Deadline);
    assert_eq!(recovered.report().took(), millis(700));
    let failed = recovered.into_result().expect_err("down");
    assert_eq!(failed.error, Some("down"), "not the timeout after it");
    assert_eq!(
        failed.to_string(),
        "get failed after 3 attempts in 700ms (stopped: deadline): down"
    );
}

#[test]
fn what_hangs_is_cut_and_retried_as_often_as_timeouts_may_be() {
    let (clock, policy) = policy(usual());
    let run = policy
        .call(CALL)
        .run(|_| async { pending::<Result<(), &str>>().await });
    let recovered = clock.run(run);
    assert_eq!(recovered.stopped(), Stopped::Timeouts);
    assert_eq!(recovered.report().took(), millis(610));
    assert!(recovered.into_result().expect_err("hangs").error.is_none());
    let counted = policy.counters();
    assert_eq!((counted.timeouts, counted.retries_after_timeout), (2, 1));
    assert_eq!(counted.denied[Stopped::Timeouts.index()], 1);
    assert_eq!(clock.waiting(), 0, "no timer is left");
}

#[test]
fn a_call_that_may_be_made_once_is_repeated_only_if_nothing_was_sent() {
    let verdict = |wanted| {
        let (clock, policy) = policy(usual());
        let run = policy
            .call(Call::once("charge"))
            .classify(Errors(move |_: &&str| wanted))
            .run(|_| async { Err::<(), _>("no") });
        let recovered = clock.run(run);
        (recovered.stopped(), recovered.report().attempts())
    };
    assert_eq!(verdict(Verdict::TRANSIENT), (Stopped::Once, 1));
    assert_eq!(verdict(Verdict::Fatal), (Stopped::Fatal, 1));
    assert_eq!(verdict(Verdict::Lost), (Stopped::Once, 1));
    // One free, two counted.
    assert_eq!(verdict(Verdict::Unsent), (Stopped::Attempts, 4));
}

/// Counts how many of it are alive.
pub(crate) struct Alive(Arc<AtomicI64>);

impl Alive {
    fn new(count: &Arc<AtomicI64>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn a_second_attempt_wins_and_the_first_is_cancelled() {
    let (clock, policy) = policy(hedged(50));
    let alive = Arc::new(AtomicI64::new(0));
    let run = policy.call(CALL).run(|attempt| {
        let (clock, alive) = (clock.clone(), Alive::new(&alive));
        async move {
            let _alive = alive;
            clock
                .sleep(millis(if attempt.is_hedge() { 20 } else { 200 }))
                .await;
            Ok::<_, ()>(attempt.number())
        }
    });
    let recovered = clock.run(run);
    assert_eq!(recovered.report().took(), millis(70));
    assert_eq!(alive.load(Ordering::Relaxed), 0, "the loser is dropped");
    assert_eq!(clock.waiting(), 0);
    let log: Vec<_> = recovered
        .report()
        .log()
        .map(|it| (it.number, it.verdict))
        .collect();
    assert_eq!(log, [(2, Some(Verdict::Good)), (1, None)]);
    assert!(matches!(recovered.into_result(), Ok(2)));
    let counted = policy.counters();
    assert_eq!(
        (
            counted.hedges,
            counted.hedges_won,
            counted.cancelled,
            counted.retries
        ),
        (1, 1, 1, 0)
    );
    near(policy.balance(), 9.2);
}

#[test]
fn a_hedge_that_fails_leaves_the_first_to_answer() {
    let (clock, policy) = policy(hedged(50));
    let run = policy.call(CALL).run(|attempt| {
        let clock = clock.clone();
        async move {
            if attempt.is_hedge() {
                return Err("hedge");
            }
            clock.sleep(millis(120)).await;
            Ok(attempt.number())
        }
    });
    let recovered = clock.run(run);
    assert_eq!(recovered.report().took(), millis(120));
    assert!(matches!(recovered.into_result(), Ok(1)));
    let counted = policy.counters();
    assert_eq!((counted.hedges, counted.hedges_won), (1, 0));
}

#[test]
fn nothing_is_hedged_that_may_not_overlap_or_without_budget() {
    for (call, burst) in [
        (Call::once("a"), 10.0),
        (Call::keyed("b"), 10.0),
        (CALL, 0.5),
    ] {
        let mut options = hedged(50);
        options.budget.burst = burst;
        let (clock, policy) = policy(options);
        let run = policy.call(call).run(|_| {
            let clock = clock.clone();
            async move {
                clock.sleep(millis(100)).await;
                Ok::<_, ()>(())
            }
        });
        assert!(clock.run(run).is_good());
        let counted = policy.counters();
        let denied = u64::from(burst < 1.0);
        assert_eq!(
            (counted.hedges, counted.hedges_denied),
            (0, denied),
            "{call:?}"
        );
    }
}

#[test]
fn servers_that_were_tried_are_avoided() {
    let (clock, policy) = policy(usual());
    let run = policy
        .call(CALL)
        .pick(|avoid, _| (0..3).find(|server| !avoid.contains(server)))
        .run(|attempt| ready(Err::<(), _>(attempt.server())));
    let recovered = clock.run(run);
    let servers: Vec<_> = recovered.report().log().map(|it| it.server).collect();
    assert_eq!(servers, [Some(0), Some(1), Some(2)]);
    let run = policy
        .call(CALL)
        .pick(|_, _| None)
        .run(|_| ready(Ok::<_, ()>(())));
    let recovered = clock.run(run);
    assert_eq!(
        (recovered.stopped(), recovered.report().attempts()),
        (Stopped::NoServer, 0)
    );
}

#[test]
fn a_repair_runs_between_attempts_and_no_error_is_lost() {
    let (clock, policy) = policy(usual());
    let broken = Arc::new(AtomicU32::new(1));
    let run = policy
        .call(CALL)
        .repair(|error: Option<&String>, attempt| {
            let (broken, clock) = (Arc::clone(&broken), clock.clone());
            Box::pin(async move {
                assert_eq!(error.map(String::as_str), Some("broken"));
                assert_eq!(attempt.number(), 1);
                clock.sleep(millis(100)).await;
                broken.store(0, Ordering::Relaxed);
                Repaired::Done
            })
        })
        .run(|_| {
            let is_broken = broken.load(Ordering::Relaxed) > 0;
            ready(if is_broken {
                Err("broken".to_owned())
            } else {
                Ok(7)
            })
        });
    let recovered = clock.run(run);
    assert_eq!(recovered.report().repaired(), Some(Repaired::Done));
    assert_eq!(
        recovered.report().waited(),
        millis(100),
        "the back-off is over by then"
    );
    assert_eq!(recovered.into_result().expect("repaired"), 7);

    // One that never ends is ended by the deadline.
    let run = policy
        .call(CALL)
        .repair(|_: Option<&String>, _| Box::pin(pending()))
        .run(|_| ready(Err::<(), _>("broken".to_owned())));
    let recovered = clock.run(run);
    assert_eq!(recovered.stopped(), Stopped::Deadline);
    assert_eq!(recovered.report().repaired(), Some(Repaired::Failed));
    assert_eq!(
        recovered
            .into_result()
            .expect_err("broken")
            .error
            .as_deref(),
        Some("broken")
    );
    let counted = policy.counters();
    assert_eq!((counted.repairs, counted.repairs_failed), (2, 1));
}

#[test]
fn a_fallback_gives_its_value_or_the_calls_own_error() {
    let (clock, policy) = policy(usual());
    let down = |_| ready(Err::<u32, _>("down"));
    let recovered = clock.run(policy.call(CALL).run_or_else(down, |why| {
        assert_eq!(why, Stopped::Attempts);
        ready(Ok(1))
    }));
    assert!(!recovered.is_good() && recovered.report().fell_back());
    assert_eq!(recovered.into_result().expect("a value"), 1);
    let recovered = clock.run(
        policy
            .call(CALL)
            .run_or_else(down, |_| ready(Err("fallback is down"))),
    );
    assert_eq!(
        recovered.into_result().expect_err("both").error,
        Some("down")
    );
    let recovered = clock.run(policy.call(CALL).run(down)).or_value(3);
    assert!(matches!(recovered.into_result(), Ok(3)));
    let counted = policy.counters();
    assert_eq!((counted.fallbacks, counted.fallbacks_failed), (2, 1));
}

#[test]
fn a_value_that_is_not_good_is_retried_and_kept() {
    let (clock, policy) = policy(usual());
    let run = policy
        .call(CALL)
        .classify_by(|result: &Result<u16, ()>| {
            result.map_or(Verdict::TRANSIENT, |status| {
                Verdict::of_status(status, None)
            })
        })
        .run(|_| ready(Ok(503)));
    let recovered = clock.run(run);
    assert_eq!(
        (recovered.stopped(), recovered.report().attempts()),
        (Stopped::Attempts, 3)
    );
    assert_eq!(recovered.into_result().ok(), Some(503));
}
