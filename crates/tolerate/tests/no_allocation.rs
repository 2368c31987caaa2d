//! No decision allocates: not to admit, not to refuse, not to learn.

use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use evenkeel_core::{Instant, Random};
use evenkeel_tolerate::{
    Breaker, BreakerOptions, Class, KeyedRate, KeyedRateOptions, Limit, LimitOptions, LimitOutcome,
    Queue, QueueOptions, Rate, RateOptions, ShedOptions, Throttle, ThrottleOptions, breaker, limit,
};

/// 5,000 times, two milliseconds apart.
fn allocations(mut decide: impl FnMut(u64, Instant)) -> u64 {
    let run = || (0..5_000).for_each(|n| decide(n, Instant::from_millis(n * 2)));
    measure(run).count_total
}

#[test]
fn this_test_would_see_an_allocation() {
    let boxed = |_, _| drop(std::hint::black_box(Box::new(7)));
    assert_eq!(allocations(boxed), 5_000);
}

#[test]
fn limits() {
    for options in [
        LimitOptions::Fixed(3),
        LimitOptions::default(),
        LimitOptions::Vegas(limit::VegasOptions::default()),
        LimitOptions::Aimd(limit::AimdOptions::default()),
    ] {
        let limit = Arc::new(Limit::new(&options, Instant::ZERO, 1));
        let shares = ShedOptions::default();
        let mut held: [Option<_>; 25] = [const { None }; 25];
        let count = allocations(|n, now| {
            let took = Duration::from_millis(n % 9);
            if let Some(permit) = limit.try_acquire_as(&shares, Class::Sheddable, now) {
                permit.finish(now + took, LimitOutcome::Good);
            }
            held[(n % 25) as usize] = limit.try_acquire_owned(now);
        });
        assert_eq!(count, 0, "{options:?}");
        assert!(limit.granted() > 0);
    }
}

#[test]
fn breakers() {
    for window in [
        BreakerOptions::default().window,
        breaker::WindowKind::Count(100),
    ] {
        let options = BreakerOptions {
            window,
            open_for: Duration::from_millis(50),
            ..BreakerOptions::default()
        };
        let breaker = Breaker::new(options, 1);
        // A window by count grows until it is full for the first time.
        for _ in 0..100 {
            if let Ok(pass) = breaker.try_pass(Instant::ZERO) {
                pass.finish(Instant::ZERO, breaker::BreakerOutcome::Good);
            }
        }
        let count = allocations(|n, now| {
            if let Ok(pass) = breaker.try_pass(now) {
                let end = if n % 50 < 20 {
                    breaker::BreakerOutcome::Bad
                } else {
                    breaker::BreakerOutcome::Good
                };
                pass.finish(now, end);
            }
        });
        let snapshot = breaker.snapshot(Instant::ZERO);
        assert_eq!(count, 0, "{snapshot:?}");
        assert!(snapshot.refused > 0, "it opened");
    }
}

#[test]
fn rates() {
    let rate = Rate::new(RateOptions::default());
    let keyed: KeyedRate<u64> = KeyedRate::new(KeyedRateOptions::default(), 1);
    let count = allocations(|n, now| {
        let one = rate.take(now).is_ok();
        let other = keyed.take(&(n % 70), now).is_ok();
        std::hint::black_box((one, other));
    });
    assert_eq!(count, 0);
}

#[test]
fn a_throttle_allocates_nothing() {
    let throttle = Throttle::new(ThrottleOptions::default());
    let mut rng = Random::seeded(1);
    let count = allocations(|n, now| {
        if throttle.allow(now, &mut rng) {
            throttle.note(now, n % 3 == 0);
        }
    });
    assert_eq!(count, 0);
}

/// A queue has room for all that may wait as soon as that many have waited.
#[test]
fn queues() {
    let mut queue = Queue::new(QueueOptions::default());
    let mut step = |n: u64, now: Instant| {
        for class in Class::ALL {
            let until = now + Duration::from_millis(n % 300);
            std::hint::black_box(&queue.push(now, class, until, n));
        }
        std::hint::black_box(&queue.serve(now, |_| {}));
    };
    // Twice the same, so that the change from one run to the next has been, too.
    for round in 0..2 {
        (0..5_000).for_each(|n| step(n, Instant::from_millis(round * 10_000 + n * 2)));
    }
    let count = allocations(|n, now| step(n, now + Duration::from_secs(20)));
    assert_eq!(count, 0);
}

/// Breaker, rate, throttle, limit with a queue: none of them allocates for a call that need not wait.
#[cfg(all(feature = "async", feature = "blocking"))]
#[test]
fn a_call_under_a_policy_with_everything_on_it() {
    use evenkeel_tolerate::{Call, HedgeOptions, InjectOptions, Recovery, RecoveryOptions};
    let clock = evenkeel_tolerate::clock::VirtualClock::new();
    let policy = Recovery::named("ready").options(RecoveryOptions {
        breaker: Some(BreakerOptions::default()),
        rate: Some(RateOptions {
            per_second: 1e6,
            burst: 1_000_000,
        }),
        throttle: Some(ThrottleOptions::default()),
        limit: Some(LimitOptions::default()),
        queue: Some(QueueOptions::default()),
        inject: Some(InjectOptions::default()),
        hedge: Some(HedgeOptions::default()),
        ..RecoveryOptions::default()
    });
    let policy = policy.clock(clock).build().expect("no errors");
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut call = |n: u64| {
        let run = policy
            .call(Call::idempotent("get"))
            .pick(|_, _| Some((n % 3) as u32))
            .run(|_| std::future::ready(Ok::<_, ()>(n)));
        let polled = Future::poll(std::pin::pin!(run), &mut context);
        assert!(matches!(polled, std::task::Poll::Ready(it) if it.is_good()));
        let call = policy.call(Call::idempotent("get"));
        assert!(call.run_blocking(|_| Ok::<_, ()>(n)).is_good());
    };
    // Each server has its breaker made.
    (0..3).for_each(&mut call);
    assert_eq!(allocations(|n, _| call(n)), 0);
}

#[cfg(all(feature = "async", feature = "blocking"))]
#[test]
fn a_call_under_a_policy_that_works_at_once() {
    use evenkeel_tolerate::{Call, Recovery, RecoveryOptions, clock::VirtualClock};
    let policy = Recovery::named("ready").limit(LimitOptions::Fixed(3));
    let policy = policy
        .clock(VirtualClock::new())
        .build()
        .expect("no errors");
    let _: RecoveryOptions = policy.options(); // the first look of a thread makes its slot for snapshots
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let count = allocations(|n, _| {
        let call = Call::idempotent("get");
        let run = policy
            .call(call)
            .run(|_| std::future::ready(Ok::<_, ()>(n)));
        let polled = Future::poll(std::pin::pin!(run), &mut context);
        assert!(matches!(polled, std::task::Poll::Ready(it) if it.is_good()));
        assert!(policy.call(call).run_blocking(|_| Ok::<_, ()>(n)).is_good());
    });
    assert_eq!(count, 0);
}
