//! What a policy costs around a future that is ready: beside a plain retry of tower, of backon, of tower-resilience. Nothing
//! fails, so this is the price of every call.

use std::future::{Future, Ready, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use backon::{ExponentialBuilder, Retryable};
use divan::{AllocProfiler, Bencher, black_box};
use evenkeel_tolerate::tower::RecoverLayer;
use evenkeel_tolerate::{Call, LimitOptions, Recovery};
use tower::{Layer, Service};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// Polls once what is ready.
fn at_once<F: Future>(future: F) -> F::Output {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("it is ready"),
    }
}

const CALL: Call = Call::idempotent("bench");

#[divan::bench(sample_size = 500)]
fn a_bare_future(bencher: Bencher<'_, '_>) {
    bencher.bench(|| at_once(ready(black_box(Ok::<u64, ()>(7)))));
}

#[divan::bench(sample_size = 500)]
fn evenkeel_policy(bencher: Bencher<'_, '_>) {
    let policy = Recovery::default();
    bencher.bench(|| {
        let run = policy
            .call(CALL)
            .run(|_| ready(black_box(Ok::<u64, ()>(7))));
        at_once(run).into_result().map_err(drop)
    });
}

#[divan::bench(sample_size = 500)]
fn evenkeel_policy_with_limit(bencher: Bencher<'_, '_>) {
    let policy = Recovery::named("bench").limit(LimitOptions::Fixed(8));
    let policy = policy.build().expect("no errors");
    bencher.bench(|| {
        let run = policy
            .call(CALL)
            .run(|_| ready(black_box(Ok::<u64, ()>(7))));
        at_once(run).into_result().map_err(drop)
    });
}

#[divan::bench(sample_size = 500)]
fn evenkeel_blocking(bencher: Bencher<'_, '_>) {
    let policy = Recovery::default();
    bencher.bench(|| {
        let run = policy
            .call(CALL)
            .run_blocking(|_| black_box(Ok::<u64, ()>(7)));
        run.into_result().map_err(drop)
    });
}

#[divan::bench(sample_size = 500)]
fn backon_retry(bencher: Bencher<'_, '_>) {
    bencher.bench(|| {
        let attempt = || ready(black_box(Ok::<u64, ()>(7)));
        at_once(attempt.retry(ExponentialBuilder::default()))
    });
}

#[derive(Clone)]
struct Echo;

impl Service<u64> for Echo {
    type Response = u64;
    type Error = std::io::Error;
    type Future = Ready<Result<u64, std::io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        ready(Ok(black_box(request)))
    }
}

fn call<S: Service<u64>>(service: &mut S) -> Option<S::Response> {
    let mut context = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut context).is_ready());
    at_once(service.call(7)).ok()
}

#[divan::bench(sample_size = 500)]
fn evenkeel_tower_layer(bencher: Bencher<'_, '_>) {
    let mut service = RecoverLayer::new(Recovery::default(), CALL).layer(Echo);
    bencher.bench_local(|| call(&mut service));
}

/// Twice again, at once: tower leaves the rest to its user.
#[derive(Clone)]
struct Twice(u32);

impl tower::retry::Policy<u64, u64, std::io::Error> for Twice {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut u64,
        result: &mut Result<u64, std::io::Error>,
    ) -> Option<Ready<()>> {
        let again = result.is_err() && self.0 > 0;
        self.0 = self.0.saturating_sub(1);
        again.then(|| ready(()))
    }

    fn clone_request(&mut self, request: &u64) -> Option<u64> {
        Some(*request)
    }
}

#[divan::bench(sample_size = 500)]
fn tower_retry(bencher: Bencher<'_, '_>) {
    let mut service = tower::retry::RetryLayer::new(Twice(2)).layer(Echo);
    bencher.bench_local(|| call(&mut service));
}

#[divan::bench(sample_size = 500)]
fn tower_resilience_retry(bencher: Bencher<'_, '_>) {
    let layer = tower_resilience_retry::RetryLayer::<u64, u64, std::io::Error>::builder();
    let mut service = layer.max_attempts(3).build().layer(Echo);
    bencher.bench_local(|| call(&mut service));
}
