//! Waiting for a place: the queue behind a policy's limit, in virtual time and with threads.
#![cfg(all(feature = "async", feature = "blocking"))]

#[path = "../common/mod.rs"]
mod common;

use std::cell::{Cell, RefCell};

use std::future::{Future, pending, ready};

use std::pin::pin;

use std::task::{Context, Waker};

use common::{Crowd, millis, options, policy};

use evenkeel_core::Instant;

use evenkeel_tolerate::clock::{Clock, VirtualClock};

use evenkeel_tolerate::queue::{CodelRule, DequeueReason};

use evenkeel_tolerate::{
    BreakerOptions, Call, Class, CodelOptions, Deadline, HedgeAfter, HedgeOptions, LimitOptions,
    QueueOptions, RateOptions, Recovery, RecoveryOptions, Stopped,
};

mod threads;
mod leaks;

pub(crate) const CALL: Call = Call::idempotent("get");

pub(crate) fn queued(places: u32, length: u32) -> RecoveryOptions {
    RecoveryOptions {
        limit: Some(LimitOptions::Fixed(places)),
        queue: Some(QueueOptions {
            length,
            wait: millis(500),
            codel: CodelRule::Off,
            newest_first_after: None,
        }),
        ..options()
    }
}

/// A call that takes so long once it has a place.
pub(crate) async fn takes(
    policy: &Recovery<VirtualClock>,
    clock: &VirtualClock,
    call: Call,
    time: u64,
) -> evenkeel_tolerate::Recovered<(), ()> {
    let run = policy.call(call).run(|_| async move {
        clock.sleep(millis(time)).await;
        Ok(())
    });
    run.await
}

#[test]
fn higher_classes_are_served_first_and_each_class_in_order() {
    let (clock, policy) = policy(queued(1, 10));
    let order = RefCell::new(Vec::new());
    let mut crowd = Crowd::default();
    for (name, class) in [
        ("first", Class::Sheddable),
        ("crawler", Class::Sheddable),
        ("page", Class::Critical),
        ("another page", Class::Critical),
        ("payment", Class::CriticalPlus),
    ] {
        let (policy, clock, order) = (&policy, &clock, &order);
        crowd.add(async move {
            let recovered = takes(policy, clock, CALL.class(class), 100).await;
            assert!(recovered.is_good());
            let waited = recovered.report().queued().as_millis();
            order.borrow_mut().push((name, waited));
        });
    }
    clock.run(crowd);
    assert_eq!(
        *order.borrow(),
        [
            ("first", 0),
            ("payment", 100),
            ("page", 200),
            ("another page", 300),
            ("crawler", 400),
        ]
    );
    let counted = policy.counters();
    assert_eq!((counted.queued, counted.queue_refused), (4, 0));
    assert_eq!(counted.queued_for, millis(1_000));
    assert_eq!(counted.waited, millis(0), "it is not counted twice");
    let queue = policy.queue().expect("there is one");
    assert_eq!(queue.left[DequeueReason::Served as usize], 4);
    let text = policy.prometheus();
    assert!(text.contains("evenkeel_recovery_queued_seconds_total{policy=\"test\"} 1.000000\n"));
    assert!(text.contains("evenkeel_recovery_waiting{policy=\"test\",class=\"critical\"} 0\n"));
    assert!(text.contains("evenkeel_recovery_in_flight{policy=\"test\"} 0\n"));
}

#[test]
fn what_is_past_its_time_is_not_served() {
    let (clock, policy) = policy(queued(1, 10));
    let ends = RefCell::new(Vec::new());
    let mut crowd = Crowd::default();
    let soon = |at| Deadline::new(Instant::ZERO, millis(at));
    for (name, call, time) in [
        ("holds", CALL, 700),
        ("soon", CALL.until(soon(200)), 100),
        ("queue", CALL, 100),
    ] {
        let (policy, clock, ends) = (&policy, &clock, &ends);
        crowd.add(async move {
            let recovered = takes(policy, clock, call, time).await;
            let (why, report) = (recovered.stopped(), recovered.report());
            let end = (name, why, report.attempts(), report.took().as_millis());
            ends.borrow_mut().push(end);
        });
    }
    clock.run(crowd);
    assert_eq!(
        *ends.borrow(),
        [
            ("soon", Stopped::Expired, 0, 200),
            ("queue", Stopped::Expired, 0, 500),
            ("holds", Stopped::Good, 1, 700),
        ]
    );
    assert_eq!(policy.counters().queue_refused, 2);
    assert_eq!(clock.waiting(), 0);
}

/// At the very moment at which a place becomes free, its time is over: it is found at the dequeue.
#[test]
fn a_slot_does_not_go_to_an_expired_entry() {
    let (clock, policy) = policy(queued(1, 10));
    let ends = RefCell::new(Vec::new());
    let mut crowd = Crowd::default();
    let soon = Deadline::new(Instant::ZERO, millis(200));
    for (name, call) in [("holds", CALL), ("late", CALL.until(soon)), ("next", CALL)] {
        let (policy, clock, ends) = (&policy, &clock, &ends);
        crowd.add(async move {
            let recovered = takes(policy, clock, call, 200).await;
            ends.borrow_mut().push((name, recovered.stopped()));
        });
    }
    clock.run(crowd);
    ends.borrow_mut().sort_unstable_by_key(|(name, _)| *name);
    assert_eq!(
        *ends.borrow(),
        [
            ("holds", Stopped::Good),
            ("late", Stopped::Expired),
            ("next", Stopped::Good)
        ]
    );
    assert_eq!(clock.now(), Instant::from_millis(400), "nothing stood idle");
}

#[test]
fn a_full_queue_refuses_and_makes_room_for_what_matters_more() {
    let (clock, policy) = policy(queued(1, 1));
    let ends = RefCell::new(Vec::new());
    let mut crowd = Crowd::default();
    for (name, class) in [
        ("holds", Class::Critical),
        ("crawler", Class::Sheddable),
        ("another", Class::Sheddable),
        ("page", Class::Critical),
        ("another page", Class::Critical),
    ] {
        let (policy, clock, ends) = (&policy, &clock, &ends);
        crowd.add(async move {
            let recovered = takes(policy, clock, CALL.class(class), 100).await;
            ends.borrow_mut().push((name, recovered.stopped()));
        });
    }
    clock.run(crowd);
    assert_eq!(
        *ends.borrow(),
        [
            ("another", Stopped::QueueFull),
            ("another page", Stopped::QueueFull),
            ("crawler", Stopped::QueueFull),
            ("holds", Stopped::Good),
            ("page", Stopped::Good),
        ]
    );
    let counted = policy.counters();
    assert_eq!(counted.stopped[Stopped::QueueFull.index()], 3);
}

#[test]
fn a_class_with_slots_left_overtakes_those_without() {
    let (clock, policy) = policy(queued(4, 10));
    let ends = RefCell::new(Vec::new());
    let mut crowd = Crowd::default();
    // Three of four places are for crawlers.
    let crawlers = [Class::Sheddable; 4];
    for (number, class) in crawlers.into_iter().chain([Class::Critical]).enumerate() {
        let (policy, clock, ends) = (&policy, &clock, &ends);
        crowd.add(async move {
            let recovered = takes(policy, clock, CALL.class(class), 100).await;
            assert!(recovered.is_good());
            let waited = recovered.report().queued().as_millis();
            ends.borrow_mut().push((number, waited));
        });
    }
    clock.run(crowd);
    assert_eq!(*ends.borrow(), [(0, 0), (1, 0), (2, 0), (4, 0), (3, 100)]);
}

#[test]
fn nothing_is_displaced_for_an_attempt_that_need_not_wait() {
    let (clock, policy) = policy(queued(4, 1));
    let mut crowd = Crowd::default();
    let crawlers = [Class::Sheddable; 4];
    for class in crawlers.into_iter().chain([Class::Critical]) {
        let (policy, clock) = (&policy, &clock);
        crowd.add(async move {
            let recovered = takes(policy, clock, CALL.class(class), 100).await;
            assert!(recovered.is_good());
        });
    }
    clock.run(crowd);
    assert_eq!(policy.counters().queued, 1);
}

/// Who waits how long if half of two places are for pages and all for crawlers, which is an odd choice.
fn oddly_shared(calls: &[(&'static str, Call)]) -> Vec<(&'static str, Stopped, u128)> {
    let mut options = queued(2, 10);
    (options.shares.critical, options.shares.sheddable) = (0.5, 1.0);
    let (clock, policy) = policy(options);
    let ends = RefCell::new(Vec::new());
    let mut crowd = Crowd::default();
    for &(name, call) in calls {
        let (policy, clock, ends) = (&policy, &clock, &ends);
        crowd.add(async move {
            let recovered = takes(policy, clock, call, 100).await;
            let waited = recovered.report().queued().as_millis();
            ends.borrow_mut().push((name, recovered.stopped(), waited));
        });
    }
    clock.run(crowd);
    ends.take()
}

#[test]
fn when_the_first_goes_the_next_is_looked_at() {
    let page = CALL.class(Class::Critical);
    let soon = Deadline::new(Instant::ZERO, millis(50));
    let crawler = CALL.class(Class::Sheddable);
    assert_eq!(
        oddly_shared(&[
            ("holds", page),
            ("page", page.until(soon)),
            ("crawler", crawler)
        ]),
        [
            ("page", Stopped::Expired, 50),
            ("holds", Stopped::Good, 0),
            ("crawler", Stopped::Good, 50),
        ]
    );
}

#[test]
fn an_attempt_overtakes_only_lower_classes() {
    let page = CALL.class(Class::Critical);
    // Without a class, it may fill the limit; it waits like a page all the same.
    assert_eq!(
        oddly_shared(&[("holds", page), ("page", page), ("no class", CALL)]),
        [
            ("holds", Stopped::Good, 0),
            ("page", Stopped::Good, 100),
            ("no class", Stopped::Good, 200),
        ]
    );
}

/// It was served, and dropped before it looked.
#[test]
fn a_slot_of_a_dropped_attempt_goes_to_the_next() {
    let (clock, policy) = policy(queued(1, 10));
    let mut context = Context::from_waker(Waker::noop());
    let call = || Box::pin(takes(&policy, &clock, CALL, 100));
    let (mut holds, mut gone, mut next) = (call(), call(), call());
    assert!(holds.as_mut().poll(&mut context).is_pending());
    assert!(gone.as_mut().poll(&mut context).is_pending());
    assert!(next.as_mut().poll(&mut context).is_pending());
    drop(holds);
    assert_eq!(
        policy.limit().map(|it| it.in_flight),
        Some(1),
        "it is given"
    );
    drop(gone);
    assert!(clock.run(next).is_good());
    assert_eq!(clock.now(), Instant::from_millis(100));
}

/// A server's trial that waits for a place does not keep others from trying.
#[test]
fn an_attempt_that_waits_holds_no_trial() {
    let mut options = queued(1, 10);
    options.breaker = Some(BreakerOptions {
        consecutive: Some(1),
        open_for: millis(10),
        jitter: 0.0,
        ..BreakerOptions::default()
    });
    let (clock, policy) = policy(options);
    let fails = policy
        .call(CALL)
        .pick(|_, _| Some(0))
        .run(|_| ready(Err::<(), _>(())));
    assert!(!clock.run(fails).is_good());
    clock.pass(millis(10));
    let mut crowd = Crowd::default();
    for server in [1, 0, 0] {
        let (policy, clock) = (&policy, &clock);
        crowd.add(async move {
            let run = policy
                .call(CALL)
                .pick(|_, _| Some(server))
                .run(|_| async move {
                    clock.sleep(millis(100)).await;
                    Ok::<_, ()>(())
                });
            assert_eq!(run.await.stopped(), Stopped::Good);
        });
    }
    clock.run(crowd);
    assert_eq!(policy.counters().breakers_closed, 1);
}

#[test]
fn codel_refuses_what_waited_while_all_do() {
    let mut options = queued(1, 1_000);
    options.queue = Some(QueueOptions {
        length: 1_000,
        wait: millis(900),
        codel: CodelRule::MinimumDelay(CodelOptions {
            target: millis(20),
            interval: millis(100),
        }),
        newest_first_after: None,
    });
    let (clock, policy) = policy(options);
    let mut crowd = Crowd::default();
    for n in 0..200 {
        let (policy, clock) = (&policy, &clock);
        crowd.add(async move {
            // Twice as many as can be served.
            clock.sleep(millis(n * 5)).await;
            let recovered = takes(policy, clock, CALL, 10).await;
            let why = recovered.stopped();
            assert!(matches!(why, Stopped::Good | Stopped::ShedLate), "{why:?}");
            assert!(recovered.report().queued() < millis(200), "{recovered:?}");
        });
    }
    clock.run(crowd);
    let counted = policy.counters();
    let shed = counted.stopped[Stopped::ShedLate.index()];
    assert!((60..120).contains(&shed), "{shed}");
    let text = policy.prometheus();
    let line = format!("calls_total{{policy=\"test\",stopped=\"shed-codel\"}} {shed}\n");
    assert!(text.contains(&line));
}

#[test]
fn a_hedge_neither_waits_nor_overtakes_those_that_wait() {
    let mut options = queued(2, 10);
    options.hedge = Some(HedgeOptions {
        after: HedgeAfter::Delay(millis(50)),
        ..HedgeOptions::default()
    });
    options.retries = 1;
    let (clock, policy) = policy(options);
    let mut crowd = Crowd::default();
    for _ in 0..3 {
        let (policy, clock) = (&policy, &clock);
        crowd.add(async move {
            let recovered = takes(policy, clock, CALL, 100).await;
            assert!(recovered.is_good());
        });
    }
    clock.run(crowd);
    let counted = policy.counters();
    assert_eq!((counted.hedges_denied, counted.queued), (2, 1));
    // The third one is alone in the end.
    assert_eq!(counted.hedges, 1);
}

/// Its server died while it waited: the place is not used, and free for others.
#[test]
fn an_attempt_that_waited_asks_the_breaker_again() {
    let mut options = queued(1, 10);
    options.breaker = Some(BreakerOptions {
        consecutive: Some(1),
        ..BreakerOptions::default()
    });
    let (clock, policy) = policy(options);
    let ends = RefCell::new(Vec::new());
    let mut crowd = Crowd::default();
    for name in ["fails", "waits"] {
        let (policy, clock, ends) = (&policy, &clock, &ends);
        crowd.add(async move {
            let run = policy.call(CALL).run(|_| async move {
                clock.sleep(millis(100)).await;
                Err::<(), _>(())
            });
            let recovered = run.await;
            let report = recovered.report();
            ends.borrow_mut().push((
                name,
                recovered.stopped(),
                report.attempts(),
                report.queued(),
            ));
        });
    }
    clock.run(crowd);
    assert_eq!(
        *ends.borrow(),
        [
            ("fails", Stopped::Attempts, 1, millis(0)),
            ("waits", Stopped::Open, 0, millis(100)),
        ]
    );
    assert_eq!(policy.limit().map(|it| it.in_flight), Some(0));
}

#[test]
fn options_are_replaced_while_attempts_wait() {
    let (clock, policy) = policy(queued(1, 10));
    let ends = RefCell::new(Vec::new());
    let mut crowd = Crowd::default();
    for name in ["holds", "waits", "comes later"] {
        let (policy, clock, ends) = (&policy, &clock, &ends);
        crowd.add(async move {
            if name == "comes later" {
                clock.sleep(millis(10)).await;
                let mut other = queued(1, 1);
                other.rate = Some(RateOptions::default());
                policy.replace(other).expect("no errors");
                let left = policy.queue().expect("it stays").waiting;
                assert_eq!(left.iter().sum::<usize>(), 1);
            }
            let recovered = takes(policy, clock, CALL, 100).await;
            ends.borrow_mut().push((name, recovered.stopped()));
        });
    }
    clock.run(crowd);
    assert_eq!(
        *ends.borrow(),
        [
            ("comes later", Stopped::QueueFull),
            ("holds", Stopped::Good),
            ("waits", Stopped::Good)
        ]
    );
    // Another limit is another room: nobody is lost in the old one.
    let mut crowd = Crowd::default();
    let good = Cell::new(0);
    for n in 0..3 {
        let (policy, clock, good) = (&policy, &clock, &good);
        crowd.add(async move {
            clock.sleep(millis(n)).await;
            if n == 2 {
                policy.replace(queued(5, 5)).expect("no errors");
            }
            let recovered = takes(policy, clock, CALL, 100).await;
            good.set(good.get() + u32::from(recovered.is_good()));
        });
    }
    clock.run(crowd);
    assert_eq!(good.get(), 3);
}

#[test]
fn without_a_queue_a_full_limit_refuses() {
    let mut options = queued(1, 10);
    options.queue = None;
    let (clock, policy) = policy(options);
    let mut context = Context::from_waker(Waker::noop());
    let mut holds = pin!(policy.call(CALL).run(|_| pending::<Result<(), ()>>()));
    assert!(holds.as_mut().poll(&mut context).is_pending());
    let shed = clock.run(policy.call(CALL).run(|_| ready(Ok::<_, ()>(()))));
    assert_eq!(shed.stopped(), Stopped::Shed);
    assert!(policy.queue().is_none());
}
