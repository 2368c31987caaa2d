//! The layers, around services that count what is asked of them.
#![cfg(feature = "tower")]

use std::future::{Ready, ready};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_tolerate::breaker::BreakerState;
use evenkeel_tolerate::clock::{Clock, VirtualClock};
use evenkeel_tolerate::inject::AbortOptions;
use evenkeel_tolerate::policy::Errors;
use evenkeel_tolerate::tower::{
    BreakerLayer, DeadlineLayer, FallbackLayer, FallbackToService, HedgeLayer, InjectLayer,
    LimitLayer, QueueLayer, RateLayer, RecoverLayer, RetryLayer, ThrottleLayer, TimeoutLayer,
};
use evenkeel_tolerate::{
    BackoffOptions, BreakerOptions, Call, Class, Deadline, Failed, HedgeOptions, InjectOptions,
    Jitter, LimitOptions, QueueOptions, RateOptions, Recovery, RecoveryOptions, Stopped,
    ThrottleOptions, Verdict,
};
use tower_layer::Layer;
use tower_service::Service;

#[derive(Debug, Default)]
struct Seen {
    calls: AtomicU32,
    clones: AtomicU32,
}

/// Fails so many times. Panics if it is called without having been ready, as tower's own services may.
#[derive(Debug)]
struct Failing {
    seen: Arc<Seen>,
    failures: u32,
    is_ready: bool,
    is_broken: bool,
}

impl Failing {
    fn new(failures: u32) -> Self {
        let seen = Arc::default();
        Self {
            seen,
            failures,
            is_ready: false,
            is_broken: false,
        }
    }
}

impl Clone for Failing {
    fn clone(&self) -> Self {
        self.seen.clones.fetch_add(1, Ordering::Relaxed);
        Self {
            seen: Arc::clone(&self.seen),
            is_ready: false,
            ..*self
        }
    }
}

impl Service<u32> for Failing {
    type Response = u32;
    type Error = &'static str;
    type Future = Ready<Result<u32, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        if self.is_broken {
            return Poll::Ready(Err("broken"));
        }
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Self::Future {
        assert!(self.is_ready, "called without being ready");
        self.is_ready = false;
        let before = self.seen.calls.fetch_add(1, Ordering::Relaxed);
        ready(if before < self.failures {
            Err("down")
        } else {
            Ok(request)
        })
    }
}

fn make_ready<S: Service<u32>>(service: &mut S) {
    let mut context = Context::from_waker(Waker::noop());
    assert!(matches!(
        service.poll_ready(&mut context),
        Poll::Ready(Ok(()))
    ));
}

#[test]
fn it_retries_and_calls_only_what_is_ready() {
    let clock = VirtualClock::new();
    let policy = Recovery::named("tower")
        .clock(clock.clone())
        .build()
        .expect("no errors");
    let inner = Failing::new(2);
    let seen = Arc::clone(&inner.seen);
    let mut service = RecoverLayer::new(policy.clone(), Call::idempotent("get")).layer(inner);
    for call in 0..3 {
        make_ready(&mut service);
        let response = clock.run(service.call(call));
        assert_eq!(response.expect("it works in the end"), call);
    }
    assert_eq!(seen.calls.load(Ordering::Relaxed), 5);
    assert_eq!(policy.counters().retries, 2);
}

#[test]
fn the_inner_services_readiness_is_passed_on() {
    let clock = VirtualClock::new();
    let policy = Recovery::named("tower")
        .clock(clock)
        .build()
        .expect("no errors");
    let broken = Failing {
        is_broken: true,
        ..Failing::new(0)
    };
    let mut service = RecoverLayer::new(policy, Call::idempotent("get")).layer(broken);
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(Err(failed)) = Service::<u32>::poll_ready(&mut service, &mut context) else {
        panic!("it is broken");
    };
    assert_eq!(
        (failed.error, failed.report.attempts()),
        (Some("broken"), 0)
    );
}

#[test]
fn once_is_once_and_errors_have_a_meaning() {
    let clock = VirtualClock::new();
    let policy = Recovery::named("tower")
        .clock(clock.clone())
        .build()
        .expect("no errors");
    let layer = RecoverLayer::new(policy, Call::once("charge"));
    let mut service = layer.layer(Failing::new(1));
    make_ready(&mut service);
    let failed = clock
        .run(service.call(1))
        .expect_err("it may have been done");
    assert_eq!(
        (failed.stopped, failed.error),
        (Stopped::Once, Some("down"))
    );
    let layer = layer.classify(Errors(|_: &&str| Verdict::Unsent));
    let mut service = layer.layer(Failing::new(1));
    make_ready(&mut service);
    assert_eq!(clock.run(service.call(1)).ok(), Some(1));
}

#[test]
fn each_part_does_its_part_only() {
    let call = Call::idempotent("get");
    let backoff = BackoffOptions::exponential(Duration::ZERO, Duration::ZERO, Jitter::None);
    let retries = RetryLayer::new(call, 1, backoff).expect("no errors");
    let mut service = retries.layer(Failing::new(1));
    let mut context = Context::from_waker(Waker::noop());
    make_ready(&mut service);
    let mut responding = pin!(service.call(4));
    assert!(matches!(
        responding.as_mut().poll(&mut context),
        Poll::Ready(Ok(4))
    ));
    assert_eq!(retries.recovery().counters().retries, 1);

    let limit = LimitLayer::new(call, LimitOptions::Fixed(1)).expect("no errors");
    let deadline = DeadlineLayer::new(call, Duration::from_secs(1)).expect("no errors");
    let timeout = TimeoutLayer::new(call, Duration::from_millis(100)).expect("no errors");
    let hedge = HedgeLayer::new(call, HedgeOptions::default()).expect("no errors");
    let inner = hedge.layer(timeout.layer(Failing::new(1)));
    let mut service = deadline.layer(limit.layer(inner));
    make_ready(&mut service);
    let mut responding = pin!(service.call(4));
    let Poll::Ready(Err(outer)) = responding.as_mut().poll(&mut context) else {
        panic!("nothing of it retries");
    };
    assert!(outer.to_string().ends_with(": down"), "{outer}");
    assert!(LimitLayer::new(call, LimitOptions::Fixed(0)).is_err());
}

/// The answer to a request that is ready at once, as these services' are.
fn answer<S: Service<u32>>(service: &mut S, request: u32) -> Result<S::Response, S::Error> {
    make_ready(service);
    let mut context = Context::from_waker(Waker::noop());
    match pin!(service.call(request)).poll(&mut context) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it waits"),
    }
}

fn stopped<T>(answer: Result<T, Failed<&'static str>>) -> Stopped {
    match answer {
        Ok(_) => Stopped::Good,
        Err(failed) => failed.stopped,
    }
}

const GET: Call = Call::idempotent("get");

#[test]
fn a_breaker_stops_asking() {
    let options = BreakerOptions {
        consecutive: Some(2),
        ..BreakerOptions::default()
    };
    let layer = BreakerLayer::new(GET, options).expect("no errors");
    let inner = Failing::new(9);
    let seen = Arc::clone(&inner.seen);
    let mut service = layer.layer(inner);
    let ends = [0; 4].map(|request| stopped(answer(&mut service, request)));
    let (failed, open) = (Stopped::Attempts, Stopped::Open);
    assert_eq!(ends, [failed, failed, open, open]);
    assert_eq!(seen.calls.load(Ordering::Relaxed), 2);
    let breaker = layer.recovery().breaker(None).expect("there is one");
    assert_eq!(breaker.state(), BreakerState::Open);
    // What an error means may be said: these are answers.
    let layer = BreakerLayer::new(GET, options).expect("no errors");
    let layer = layer.classify(Errors(|_: &&str| Verdict::Fatal));
    let mut service = layer.layer(Failing::new(9));
    let ends = [0; 4].map(|request| stopped(answer(&mut service, request)));
    assert_eq!(ends, [Stopped::Fatal; 4]);
}

#[test]
fn a_throttle_asks_less() {
    let layer = ThrottleLayer::new(GET, ThrottleOptions::default()).expect("no errors");
    let inner = Failing::new(1_000);
    let seen = Arc::clone(&inner.seen);
    let mut service = layer.layer(inner);
    let refused = (0..500)
        .filter(|request| stopped(answer(&mut service, *request)) == Stopped::Throttled)
        .count();
    assert!(refused > 400, "{refused}");
    assert_eq!(seen.calls.load(Ordering::Relaxed) as usize, 500 - refused);
}

#[test]
fn a_rate_delays_until_the_deadline_that_a_closure_gives() {
    let rate = RateOptions {
        per_second: 0.001,
        burst: 2,
    };
    let in_a_second = Deadline::new(Instant::ZERO, Duration::from_secs(1));
    // Odd requests have somebody who waits for a second.
    let of = move |request: &u32| {
        if request % 2 == 1 {
            GET.until(in_a_second)
        } else {
            GET
        }
    };
    let clock = VirtualClock::new();
    let policy = Recovery::named("rate")
        .options(RecoveryOptions {
            deadline: None,
            rate: Some(rate),
            ..RecoveryOptions::default()
        })
        .clock(clock.clone())
        .build()
        .expect("no errors");
    let mut service = RecoverLayer::new(policy, of).layer(Failing::new(0));
    for request in [1, 2] {
        make_ready(&mut service);
        assert_eq!(clock.run(service.call(request)).ok(), Some(request));
    }
    make_ready(&mut service);
    assert_eq!(stopped(clock.run(service.call(3))), Stopped::Rate);
    make_ready(&mut service);
    assert_eq!(clock.run(service.call(4)).ok(), Some(4));
    assert_eq!(clock.now(), Instant::from_millis(1_000_000));

    let layer = RateLayer::new(of, rate).expect("no errors");
    let mut service = layer.layer(Failing::new(0));
    assert_eq!(answer(&mut service, 1).ok(), Some(1));
    assert!(RateLayer::new(GET, RateOptions { burst: 0, ..rate }).is_err());
}

/// Takes a second of virtual time.
#[derive(Debug, Clone)]
struct Slow(VirtualClock);

impl Service<(Class, u64)> for Slow {
    type Response = u64;
    type Error = &'static str;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<u64, &'static str>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (_, until): (Class, u64)) -> Self::Future {
        let sleep = self.0.sleep(Duration::from_secs(1));
        Box::pin(async move {
            sleep.await;
            Ok(until)
        })
    }
}

/// As a server uses it: a request says of which class it is and until when its client waits.
#[test]
fn a_queue_serves_by_class_and_drops_expired_requests() {
    use std::cell::RefCell;

    let clock = VirtualClock::new();
    let queue = QueueOptions {
        wait: Duration::from_secs(60),
        ..QueueOptions::default()
    };
    let policy = Recovery::named("server")
        .options(RecoveryOptions {
            deadline: None,
            limit: Some(LimitOptions::Fixed(1)),
            queue: Some(queue),
            ..RecoveryOptions::default()
        })
        .clock(clock.clone())
        .build()
        .expect("no errors");
    let of = |request: &(Class, u64)| {
        let until = Deadline::new(Instant::ZERO, Duration::from_millis(request.1));
        GET.class(request.0).until(until)
    };
    let mut service = RecoverLayer::new(policy.clone(), of).layer(Slow(clock.clone()));
    let ends = RefCell::new(Vec::new());
    let all = [
        (Class::Critical, 9_000),
        (Class::Sheddable, 9_001),
        (Class::Sheddable, 1_500),
        (Class::CriticalPlus, 9_002),
    ];
    let mut calls: Vec<_> = all
        .map(|request| {
            let responding = Service::call(&mut service, request);
            let ends = &ends;
            Some(Box::pin(async move {
                let stopped = stopped(responding.await);
                ends.borrow_mut().push((request.1, stopped));
            }))
        })
        .into();
    clock.run(std::future::poll_fn(|context| {
        for call in &mut calls {
            if call
                .as_mut()
                .is_some_and(|it| it.as_mut().poll(context).is_ready())
            {
                *call = None;
            }
        }
        if calls.iter().all(Option::is_none) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }));
    assert_eq!(
        *ends.borrow(),
        [
            (9_000, Stopped::Good),
            (1_500, Stopped::Expired),
            (9_002, Stopped::Good),
            (9_001, Stopped::Good)
        ]
    );
    assert_eq!(policy.counters().queued, 3);

    let layer = QueueLayer::new(of, LimitOptions::Fixed(1), queue).expect("no errors");
    let mut service = layer.layer(Slow(clock));
    let responding = Service::call(&mut service, (Class::Critical, u64::MAX >> 20));
    drop(responding);
    assert_eq!(layer.recovery().limit().map(|it| it.in_flight), Some(0));
}

#[test]
fn injected_faults_are_not_made() {
    let abort = AbortOptions {
        share: 0.5,
        status: 503,
    };
    let options = InjectOptions {
        abort: Some(abort),
        ..InjectOptions::default()
    };
    let layer = InjectLayer::new(GET, options).expect("no errors");
    let inner = Failing::new(0);
    let seen = Arc::clone(&inner.seen);
    let mut service = layer.layer(inner);
    let failed = (0..1_024)
        .filter(|request| answer(&mut service, *request).is_err())
        .count();
    assert_eq!(failed, 512);
    assert_eq!(seen.calls.load(Ordering::Relaxed), 512);
    let wrong = AbortOptions {
        share: 2.0,
        ..abort
    };
    let wrong = InjectOptions {
        abort: Some(wrong),
        ..options
    };
    assert!(InjectLayer::new(GET, wrong).is_err());
}

#[test]
fn a_fallback_answers_and_hides_no_error() {
    let by = |request: u32, error: &&'static str| {
        assert_eq!(*error, "down");
        ready((request < 10).then_some(99))
    };
    let mut service = FallbackLayer::new(by).layer(Failing::new(9));
    assert_eq!(answer(&mut service, 1), Ok(99));
    assert_eq!(answer(&mut service, 10), Err("down"));
    // Another service; its own error is not shown.
    let other = FallbackLayer::new(FallbackToService(Failing::new(0)));
    let mut service = other.layer(Failing::new(1));
    assert_eq!(
        (answer(&mut service, 5), answer(&mut service, 6)),
        (Ok(5), Ok(6))
    );
    let both = FallbackLayer::new(FallbackToService(Failing::new(9)));
    let mut service = both.layer(Failing::new(9));
    assert_eq!(answer(&mut service, 5), Err("down"));
    // Outside of a policy.
    let policy = Recovery::named("tower").options(RecoveryOptions {
        retries: 0,
        retries_after_timeout: 0,
        ..RecoveryOptions::default()
    });
    let inner = RecoverLayer::new(policy.build().expect("no errors"), GET).layer(Failing::new(9));
    let last = |_: u32, failed: &Failed<&'static str>| ready(Some(failed.report.attempts()));
    let mut service = FallbackLayer::new(last).layer(inner);
    assert!(matches!(answer(&mut service, 5), Ok(1)));
}
