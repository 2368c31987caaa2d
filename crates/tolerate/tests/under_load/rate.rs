//! A token whose waiter is gone is the next one's.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_tolerate::clock::{AsyncClock, Clock};
use evenkeel_tolerate::{
    Call, Deadline, LimitOptions, Rate, RateOptions, Recovery, RecoveryOptions,
};

use super::common::{Crowd, millis, options, policy, unless_dropped};

const fn ten_a_second() -> RateOptions {
    RateOptions {
        per_second: 10.0,
        burst: 1,
    }
}

fn paced() -> RecoveryOptions {
    RecoveryOptions {
        deadline: None,
        rate: Some(ten_a_second()),
        ..options()
    }
}

/// Twenty callers a second for a minute, ten tokens a second, and nobody waits for more than 300 ms.
#[test]
fn callers_that_give_up_cost_no_token() {
    let (clock, policy) = policy(paced());
    let served = RefCell::new(Vec::new());
    let mut crowd = Crowd::default();
    for n in 0..1_200 {
        let (clock, policy, served) = (&clock, &policy, &served);
        crowd.add(async move {
            clock.sleep_until(Instant::from_millis(n * 50)).await;
            let call = policy.call(Call::idempotent("get"));
            let run = call.run(|_| async {
                served.borrow_mut().push(clock.now());
                Ok::<_, ()>(())
            });
            let gives_up = clock.now() + millis(300);
            unless_dropped(clock, gives_up, run).await;
        });
    }
    clock.run(crowd);
    let served = served.into_inner();
    // One at the beginning, and ten a second until the last has given up.
    assert!((595..=603).contains(&served.len()), "{}", served.len());
    let late = served
        .iter()
        .filter(|at| **at >= Instant::from_millis(30_000));
    assert!(late.count() >= 295, "in the second half as in the first");
    for pair in served.windows(2) {
        assert!(pair[1] - pair[0] >= millis(99), "no two for one token");
    }
}

/// The second in line moves up when the first goes.
#[test]
fn those_behind_move_up_at_once() {
    let (clock, policy) = policy(paced());
    let ends = RefCell::new(Vec::new());
    let mut crowd = Crowd::default();
    for n in 0..4_u64 {
        let (clock, policy, ends) = (&clock, &policy, &ends);
        crowd.add(async move {
            clock.sleep_until(Instant::from_millis(n)).await;
            let run = policy
                .call(Call::idempotent("get"))
                .run(|_| async { Ok::<_, ()>(()) });
            let gives_up = Instant::from_millis(if n == 1 { 50 } else { 60_000 });
            if unless_dropped(clock, gives_up, run).await.is_some() {
                ends.borrow_mut().push((n, clock.now()));
            }
        });
    }
    clock.run(crowd);
    let at = Instant::from_millis;
    assert_eq!(*ends.borrow(), [(0, at(0)), (2, at(100)), (3, at(200))]);
}

/// Its token goes on also if the one that has it waits for something else then.
#[test]
fn a_token_of_a_dropped_attempt_goes_to_the_next() {
    let options = RecoveryOptions {
        limit: Some(LimitOptions::Fixed(1)),
        queue: Some(evenkeel_tolerate::QueueOptions {
            wait: Duration::from_secs(60),
            ..Default::default()
        }),
        rate: Some(RateOptions {
            per_second: 1.0,
            burst: 2,
        }),
        ..paced()
    };
    let (clock, policy) = policy(options);
    let third = Cell::new(None);
    let mut crowd = Crowd::default();
    let work = |millis_| {
        let clock = clock.clone();
        move |_| {
            let sleeping = clock.sleep(millis(millis_));
            async move {
                sleeping.await;
                Ok::<_, ()>(())
            }
        }
    };
    crowd.add(async {
        let end = policy.call(Call::idempotent("first")).run(work(300)).await;
        assert!(end.is_good());
    });
    crowd.add(async {
        // It has the second token and waits for the place.
        let run = policy.call(Call::idempotent("second")).run(work(1));
        unless_dropped(&clock, Instant::from_millis(100), run).await;
    });
    crowd.add(async {
        clock.sleep_until(Instant::from_millis(10)).await;
        let end = policy.call(Call::idempotent("third")).run(work(1)).await;
        assert!(end.is_good());
        third.set(Some(clock.now()));
    });
    clock.run(crowd);
    assert_eq!(third.get(), Some(Instant::from_millis(301)));
}

/// Without a policy: whoever reserves next gets what was given back, and no more is given out than the rate allows.
#[test]
fn a_reservation_that_is_given_back_goes_to_the_next_caller() {
    let rate = Rate::new(ten_a_second());
    let mut waiting: Vec<(Instant, Option<evenkeel_tolerate::rate::Reservation>)> = Vec::new();
    let mut used = Vec::new();
    for tick in 0..6_000 {
        let now = Instant::from_millis(tick * 10);
        for (came, reserved) in &mut waiting {
            if reserved.as_ref().is_some_and(|it| it.at() <= now) {
                used.push(now);
                *reserved = None;
            } else if now - *came >= millis(300)
                && let Some(reserved) = reserved.take()
            {
                rate.give_back(reserved);
            }
        }
        waiting.retain(|(_, reserved)| reserved.is_some());
        if tick % 5 == 0 {
            let reserved = rate.reserve(now, Instant::NEVER).unwrap();
            waiting.push((now, Some(reserved)));
        }
    }
    assert!((570..=601).contains(&used.len()), "{}", used.len());
}

/// Threads that wait: one that is refused, because its token would come after its deadline, takes none.
#[test]
fn threads_get_slots_tokens_and_stale_values() {
    let options = RecoveryOptions {
        rate: Some(RateOptions {
            per_second: 200.0,
            burst: 1,
        }),
        ..paced()
    };
    let policy = Recovery::named("threads").options(options).build().unwrap();
    let made = Arc::new(AtomicU32::new(0));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (policy, made) = (policy.clone(), Arc::clone(&made));
            thread::spawn(move || {
                for _ in 0..5 {
                    let gone = Deadline::new(policy.clock().now(), Duration::ZERO);
                    let late = policy.call(Call::idempotent("late").until(gone));
                    assert!(!late.run_blocking(|_| Ok::<_, ()>(())).is_good());
                    let call = policy.call(Call::idempotent("get"));
                    let end = call.run_blocking(|_| {
                        made.fetch_add(1, Ordering::Relaxed);
                        Ok::<_, ()>(())
                    });
                    assert!(end.is_good());
                }
            })
        })
        .collect();
    let began = policy.clock().now();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert_eq!(made.load(Ordering::Relaxed), 40);
    // 39 more than were there at the beginning, 5 ms apart, some of which may have passed before `began`.
    assert!(policy.clock().now() - began < Duration::from_secs(60));
}
