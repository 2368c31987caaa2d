//! Calls at the same time in virtual time: each is polled only when it was woken, so a wake that is lost is seen.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_tolerate::clock::{AsyncClock, VirtualClock};
use evenkeel_tolerate::{
    BackoffOptions, BudgetOptions, HedgeAfter, HedgeOptions, Jitter, Recovery, RecoveryOptions,
};

pub(crate) const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A call that is not retried, with a second's time.
pub(crate) fn options() -> RecoveryOptions {
    RecoveryOptions {
        deadline: Some(millis(1_000)),
        attempt_timeout: None,
        retries: 0,
        retries_after_timeout: 0,
        ..RecoveryOptions::default()
    }
}

/// Two retries, 10 and 20 ms apart.
pub(crate) fn retrying() -> RecoveryOptions {
    RecoveryOptions {
        retries: 2,
        backoff: BackoffOptions::exponential(millis(10), millis(40), Jitter::None),
        budget: BudgetOptions {
            ratio: 0.0,
            floor_per_second: 0.0,
            burst: 1_000.0,
        },
        ..options()
    }
}

/// Three attempts, 10 and 20 ms apart, and a budget that only successes fill.
pub(crate) fn usual() -> RecoveryOptions {
    RecoveryOptions {
        deadline: Some(millis(1_000)),
        attempt_timeout: Some(millis(300)),
        backoff: BackoffOptions::exponential(millis(10), millis(40), Jitter::None),
        budget: BudgetOptions {
            ratio: 0.2,
            floor_per_second: 0.0,
            burst: 10.0,
        },
        ..RecoveryOptions::default()
    }
}

/// The same with one second attempt after so many milliseconds.
pub(crate) fn hedged(after: u64) -> RecoveryOptions {
    RecoveryOptions {
        hedge: Some(HedgeOptions {
            after: HedgeAfter::Delay(millis(after)),
            ..HedgeOptions::default()
        }),
        ..usual()
    }
}

pub(crate) fn near(found: f64, wanted: f64) {
    assert!((found - wanted).abs() < 1e-6, "{found}, not {wanted}");
}

pub(crate) fn policy(options: RecoveryOptions) -> (VirtualClock, Recovery<VirtualClock>) {
    let clock = VirtualClock::new();
    let builder = Recovery::named("test").options(options).seed(1);
    let policy = builder.clock(clock.clone()).build().expect("no errors");
    (clock, policy)
}

#[derive(Default)]
struct Flag {
    is_woken: AtomicBool,
    all: Mutex<Option<Waker>>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        let all = self.all.lock().expect("no panic").take();
        if let Some(all) = all {
            all.wake();
        }
    }
}

type Task<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Runs futures beside each other.
#[derive(Default)]
pub(crate) struct Crowd<'a>(Vec<(Arc<Flag>, Option<Task<'a>>)>);

impl<'a> Crowd<'a> {
    pub(crate) fn add(&mut self, task: impl Future<Output = ()> + 'a) {
        let flag = Arc::new(Flag::default());
        flag.is_woken.store(true, Ordering::Release);
        self.0.push((flag, Some(Box::pin(task))));
    }
}

impl Future for Crowd<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        for (flag, task) in &mut self.0 {
            *flag.all.lock().expect("no panic") = Some(context.waker().clone());
            if task.is_some() && flag.is_woken.swap(false, Ordering::AcqRel) {
                let waker = Waker::from(Arc::clone(flag));
                let mut context = Context::from_waker(&waker);
                let running = task.as_mut().expect("it is some");
                if running.as_mut().poll(&mut context).is_ready() {
                    *task = None;
                }
            }
        }
        // Who was woken by a later one in the same round.
        if self
            .0
            .iter()
            .any(|(flag, task)| task.is_some() && flag.is_woken.load(Ordering::Acquire))
        {
            context.waker().wake_by_ref();
        }
        if self.0.iter().all(|(_, task)| task.is_none()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// The future's output, or nothing if it is dropped at `at`.
pub(crate) async fn unless_dropped<F: Future>(
    clock: &VirtualClock,
    at: Instant,
    future: F,
) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut dropped = pin!(clock.sleep_until(at));
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        dropped.as_mut().poll(context).map(|()| None)
    })
    .await
}
