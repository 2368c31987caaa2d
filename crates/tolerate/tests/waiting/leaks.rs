//! No place is lost, wherever a call is dropped.

use crate::common::Crowd;
use crate::common::millis;
use crate::common::policy;
use crate::common::retrying;
use crate::common::unless_dropped;
use crate::{CALL, queued, takes};
use evenkeel_tolerate::BreakerOptions;
use evenkeel_tolerate::Class;
use evenkeel_tolerate::InjectOptions;
use evenkeel_tolerate::LimitOptions;
use evenkeel_tolerate::QueueOptions;
use evenkeel_tolerate::RateOptions;
use evenkeel_tolerate::RecoveryOptions;
use evenkeel_tolerate::Stopped;
use evenkeel_tolerate::ThrottleOptions;
use evenkeel_tolerate::clock::Clock;
use evenkeel_tolerate::inject::DelayOptions;
use proptest::collection::vec;
use proptest::prelude::*;
use std::cell::Cell;
use std::future::Future;
use std::future::pending;
use std::pin::pin;
use std::task::Context;
use std::task::Waker;

/// Everything that may make an attempt wait: a token, a place, a fault on purpose, an attempt that hangs, a back-off.
fn everything() -> RecoveryOptions {
    RecoveryOptions {
        attempt_timeout: Some(millis(100)),
        retries: 1,
        retries_after_timeout: 1,
        limit: Some(LimitOptions::Fixed(1)),
        queue: Some(QueueOptions::default()),
        rate: Some(RateOptions {
            per_second: 20.0,
            burst: 1,
        }),
        breaker: Some(BreakerOptions {
            consecutive: Some(1),
            open_for: millis(5),
            jitter: 0.0,
            ..BreakerOptions::default()
        }),
        throttle: Some(ThrottleOptions::default()),
        inject: Some(InjectOptions {
            delay: Some(DelayOptions {
                share: 1.0,
                time: millis(7),
            }),
            ..InjectOptions::default()
        }),
        ..retrying()
    }
}

#[test]
fn nothing_leaks_wherever_the_call_is_dropped() {
    let mut reached = [false; 3];
    for polls in 0_u64.. {
        let (clock, policy) = policy(everything());
        let mut context = Context::from_waker(Waker::noop());
        let mut done = None;
        {
            let mut holds = pin!(takes(&policy, &clock, CALL, 85));
            assert!(holds.as_mut().poll(&mut context).is_pending());
            let mut way = pin!(policy.call(CALL).run(|attempt| {
                let clock = clock.clone();
                async move {
                    if attempt.number() == 1 {
                        pending().await
                    } else {
                        clock.sleep(millis(4)).await;
                        Ok::<_, ()>(())
                    }
                }
            }));
            let mut is_held = true;
            for _ in 0..polls {
                if let std::task::Poll::Ready(recovered) = way.as_mut().poll(&mut context) {
                    done = Some(recovered);
                    break;
                }
                is_held = is_held && holds.as_mut().poll(&mut context).is_pending();
                clock.pass(millis(1));
            }
            let counted = policy.counters();
            let now = policy.queue().expect("there is one");
            reached[0] |= counted.paced > 0;
            reached[1] |= now.waiting.iter().sum::<usize>() > 0;
            reached[2] |= counted.timeouts > 0;
        }
        assert_eq!(policy.limit().map(|it| it.in_flight), Some(0), "{polls}");
        let queue = policy.queue().expect("there is one");
        assert_eq!(queue.waiting, [0; 4], "{polls}");
        assert_eq!(clock.waiting(), 0, "timers after {polls} polls");
        let breaker = policy.breaker(None).expect("there is one");
        assert_eq!(breaker.snapshot(clock.now()).trials, 0, "{polls}");
        let counted = policy.counters();
        let throttle = policy.throttle().expect("there is one");
        assert!(
            throttle.requests <= counted.calls + counted.retries,
            "{polls}: {throttle:?}"
        );
        assert_eq!(
            counted.calls + counted.abandoned,
            1 + u64::from(polls > 0),
            "{polls}"
        );
        // Whatever was dropped, the next one comes through.
        clock.pass(millis(1_000));
        assert!(
            clock.run(takes(&policy, &clock, CALL, 1)).is_good(),
            "{polls}"
        );
        if let Some(recovered) = done {
            assert_eq!(recovered.stopped(), Stopped::Good);
            assert!(polls > 150, "it went all the way: {polls} polls");
            assert_eq!(reached, [true; 3]);
            break;
        }
    }
}

/// When one comes, of which class, how long it takes once it has a place, and when it is dropped.
type Visitor = (u64, usize, u64, u64);

proptest! {
    /// Whoever comes and goes: no more than the limit are inside, everyone ends, nothing is left, and while somebody waits whose
    /// class may have one no place stands empty.
    #[test]
    fn no_slot_is_lost(
        visitors in vec((0_u64..400, 0_usize..4, 1_u64..120, 1_u64..900), 1..40),
        (places, length) in (1_u32..5, 1_u32..20),
    ) {
        let (clock, policy) = policy(queued(places, length));
        let inside = Cell::new(0_u32);
        let ended = Cell::new(0_usize);
        let mut crowd = Crowd::default();
        for visitor in &visitors {
            let (come, class, takes, drops): Visitor = *visitor;
            let (policy, clock, inside, ended) = (&policy, &clock, &inside, &ended);
            crowd.add(async move {
                clock.sleep(millis(come)).await;
                let call = CALL.class(Class::ALL[class]);
                let run = policy.call(call).run(|_| async move {
                    inside.set(inside.get() + 1);
                    let leave = Leave(inside);
                    assert!(inside.get() <= places);
                    clock.sleep(millis(takes)).await;
                    drop(leave);
                    Ok::<_, ()>(())
                });
                let recovered = unless_dropped(clock, clock.now() + millis(drops), run).await;
                if let Some(recovered) = recovered {
                    assert!(matches!(
                        recovered.stopped(),
                        Stopped::Good | Stopped::QueueFull | Stopped::Expired
                    ));
                }
                ended.set(ended.get() + 1);
            });
        }
        // Somebody who looks, between all of them, whether a place stands empty.
        let (looks, all) = (&policy, visitors.len());
        let (clock_of, ended_of, inside_of) = (&clock, &ended, &inside);
        crowd.add(async move {
            while ended_of.get() < all {
                let waiting = looks.queue().expect("there is one").waiting;
                let in_flight = looks.limit().expect("there is one").in_flight;
                assert!(
                    waiting[2] + waiting[3] == 0 || in_flight == places,
                    "{waiting:?} wait, {in_flight} of {places} are inside"
                );
                assert!(inside_of.get() <= in_flight);
                clock_of.sleep(millis(1)).await;
            }
        });
        clock.run(crowd);
        prop_assert_eq!(policy.limit().map(|it| it.in_flight), Some(0));
        let queue = policy.queue().expect("there is one");
        prop_assert_eq!(queue.waiting, [0; 4]);
        prop_assert_eq!(clock.waiting(), 0);
        let counted = policy.counters();
        prop_assert_eq!(counted.calls + counted.abandoned, visitors.len() as u64);
    }
}

struct Leave<'a>(&'a Cell<u32>);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
