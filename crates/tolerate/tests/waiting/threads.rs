//! Threads that wait, and that give up.

use crate::common::millis;
use crate::common::options;
use crate::common::policy;
use crate::{CALL, queued};
use evenkeel_core::Instant;
use evenkeel_tolerate::Deadline;
use evenkeel_tolerate::LimitOptions;
use evenkeel_tolerate::QueueOptions;
use evenkeel_tolerate::Recovery;
use evenkeel_tolerate::RecoveryOptions;
use evenkeel_tolerate::Stopped;
use evenkeel_tolerate::clock::Clock;
use evenkeel_tolerate::queue::CodelRule;
use std::future::Future;
use std::future::pending;
use std::pin::pin;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Waker;
use std::thread;

#[test]
fn threads_wait_for_each_other() {
    // With two of them, nobody comes later who would notice that one was forgotten.
    for (threads, places, times) in [(8, 2, 300), (2, 1, 5_000)] {
        wait_for_each_other(threads, places, times);
    }
}

fn wait_for_each_other(threads: u32, places: u32, times: u32) {
    let policy = Recovery::named("threads")
        .options(RecoveryOptions {
            deadline: Some(millis(60_000)),
            limit: Some(LimitOptions::Fixed(places)),
            queue: Some(QueueOptions {
                wait: millis(60_000),
                codel: CodelRule::Off,
                ..QueueOptions::default()
            }),
            ..options()
        })
        .build()
        .expect("no errors");
    let (inside, served) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..times {
                    let recovered = policy.call(CALL).run_blocking(|_| {
                        assert!(inside.fetch_add(1, Ordering::AcqRel) < places);
                        thread::yield_now();
                        inside.fetch_sub(1, Ordering::AcqRel);
                        Ok::<_, ()>(())
                    });
                    served.fetch_add(u32::from(recovered.is_good()), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(served.load(Ordering::Relaxed), threads * times);
    assert!(policy.counters().queued > 0, "somebody waited");
    assert_eq!(policy.limit().map(|it| it.in_flight), Some(0));
    assert_eq!(policy.queue().expect("there is one").waiting, [0; 4]);
}

/// Some are served in the very moment in which they go.
#[test]
fn threads_that_give_up_lose_no_slot() {
    let policy = Recovery::named("threads")
        .options(RecoveryOptions {
            deadline: Some(millis(60_000)),
            limit: Some(LimitOptions::Fixed(1)),
            queue: Some(QueueOptions {
                wait: millis(60_000),
                codel: CodelRule::Off,
                ..QueueOptions::default()
            }),
            ..options()
        })
        .build()
        .expect("no errors");
    let inside = AtomicU32::new(0);
    thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (policy, inside) = (&policy, &inside);
            scope.spawn(move || {
                for turn in 0..300_u64 {
                    let now = policy.clock().now();
                    let patience = std::time::Duration::from_micros(turn * 7 % 60 + 1);
                    let call = if thread < 6 {
                        CALL.until(Deadline::new(now, patience))
                    } else {
                        CALL
                    };
                    let recovered = policy.call(call).run_blocking(|_| {
                        assert_eq!(inside.fetch_add(1, Ordering::AcqRel), 0);
                        thread::yield_now();
                        inside.fetch_sub(1, Ordering::AcqRel);
                        Ok::<_, ()>(())
                    });
                    assert!(thread < 6 || recovered.is_good(), "{recovered:?}");
                }
            });
        }
    });
    assert_eq!(policy.limit().map(|it| it.in_flight), Some(0));
    assert_eq!(policy.queue().expect("there is one").waiting, [0; 4]);
    let counted = policy.counters();
    assert!(counted.stopped[Stopped::Expired.index()] > 0, "{counted:?}");
}

#[test]
fn a_thread_does_not_wait_longer_than_the_queue_lets_it() {
    let (clock, policy) = policy(queued(1, 10));
    let mut context = Context::from_waker(Waker::noop());
    let mut holds = pin!(policy.call(CALL).run(|_| pending::<Result<(), ()>>()));
    assert!(holds.as_mut().poll(&mut context).is_pending());
    let recovered = policy.call(CALL).run_blocking(|_| Ok::<_, ()>(()));
    assert_eq!(recovered.stopped(), Stopped::Expired);
    assert_eq!(recovered.report().queued(), millis(500));
    assert_eq!(clock.now(), Instant::from_millis(500));
}
