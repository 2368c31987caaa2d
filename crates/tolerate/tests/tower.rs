//! The layers, around services that count what is asked of them.
#![cfg(feature = "tower")]

use std::future::{Ready, ready};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use evenkeel_tolerate::clock::Virtual;
use evenkeel_tolerate::recover::Errors;
use evenkeel_tolerate::tower::{
    DeadlineLayer, HedgeLayer, LimitLayer, RecoverLayer, RetryLayer, TimeoutLayer,
};
use evenkeel_tolerate::{
    BackoffOptions, Call, HedgeOptions, Jitter, LimitOptions, Recovery, Stopped, Verdict,
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
    let clock = Virtual::new();
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
    let clock = Virtual::new();
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
    let clock = Virtual::new();
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
