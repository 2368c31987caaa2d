//! The published example of a failure that outlives its cause (HotOS 2021): 280 calls a second, a server that can do 300, clients
//! that give up after 1 s and retry once, and a stall of 10 s. Real policies and a queueing server in virtual time.
#![cfg(feature = "async")]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_tolerate::clock::{AsyncClock, Clock, VirtualClock};
use evenkeel_tolerate::limit::Gradient2Options;
use evenkeel_tolerate::{
    BackoffOptions, BudgetOptions, Call, Class, Jitter, LimitOptions, Queue, QueueOptions,
    Recovery, RecoveryOptions, Verdict,
};

const OFFERED: u64 = 280;
const CAPACITY: u64 = 300;
const STALL: std::ops::Range<u64> = 10..20;
const SECONDS: u64 = 45;

/// How a request ended at the server: nothing yet, done, or refused; and who waits for that.
#[derive(Clone, Default)]
struct Slot(Rc<Place>);

#[derive(Default)]
struct Place {
    end: Cell<Option<bool>>,
    waker: Cell<Option<Waker>>,
}

impl Slot {
    fn set(&self, done: bool) {
        self.0.end.set(Some(done));
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }

    async fn end(self) -> Result<(), ()> {
        poll_fn(|context| match self.0.end.get() {
            Some(done) => Poll::Ready(done.then_some(()).ok_or(())),
            None => {
                self.0.waker.set(Some(context.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }
}

/// One of many futures, polled only when it was woken.
struct Task {
    future: Pin<Box<dyn Future<Output = ()>>>,
    woken: Arc<Woken>,
}

struct Woken {
    is_set: AtomicBool,
    parent: Waker,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.is_set.store(true, Ordering::Relaxed);
        self.parent.wake_by_ref();
    }
}

impl Task {
    fn new(future: impl Future<Output = ()> + 'static, parent: &Waker) -> Self {
        let woken = Woken {
            is_set: AtomicBool::new(true),
            parent: parent.clone(),
        };
        Self {
            future: Box::pin(future),
            woken: Arc::new(woken),
        }
    }

    fn is_pending(&mut self) -> bool {
        if !self.woken.is_set.swap(false, Ordering::Relaxed) {
            return true;
        }
        let waker = Waker::from(Arc::clone(&self.woken));
        self.future
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    }
}

enum Line {
    /// First come, first served, for as long as it takes.
    Endless(VecDeque<Slot>),
    /// Bounded, and what nobody waits for any more is not served.
    Bounded(Box<Queue<Slot>>),
}

impl Line {
    fn push(&mut self, now: Instant, deadline: Instant, slot: Slot) {
        match self {
            Self::Endless(line) => line.push_back(slot),
            Self::Bounded(queue) => {
                use evenkeel_tolerate::queue::PushResult;
                match queue.push(now, Class::Critical, deadline, slot) {
                    PushResult::Queued(_) => {}
                    PushResult::Displaced(_, left) => left.item.set(false),
                    PushResult::Rejected(slot) => slot.set(false),
                }
            }
        }
    }

    fn pop(&mut self, now: Instant) -> Option<Slot> {
        match self {
            Self::Endless(line) => line.pop_front(),
            Self::Bounded(queue) => queue
                .serve(now, |gone| gone.item.set(false))
                .map(|left| left.item),
        }
    }
}

struct World {
    clock: VirtualClock,
    policy: Recovery<VirtualClock>,
    line: RefCell<Line>,
    /// Answers in time, and attempts, by second.
    good: RefCell<Vec<u64>>,
    attempts: RefCell<Vec<u64>>,
}

impl World {
    fn second(&self) -> usize {
        (self.clock.now().as_nanos() / 1_000_000_000) as usize
    }

    /// Does one after the other, but nothing while it is stalled.
    async fn serve(self: Rc<Self>) {
        let each = Duration::from_nanos(1_000_000_000 / CAPACITY);
        loop {
            self.clock.sleep(each).await;
            let stalled = STALL.contains(&(self.second() as u64));
            if !stalled && let Some(slot) = self.line.borrow_mut().pop(self.clock.now()) {
                slot.set(true);
            }
        }
    }

    async fn client(self: Rc<Self>) {
        let run = self.policy.call(Call::idempotent("get"));
        let run = run.classify_errors(|_: &()| Verdict::THROTTLED);
        let recovered = run
            .run(|attempt| {
                self.attempts.borrow_mut()[self.second()] += 1;
                let slot = Slot::default();
                let now = self.clock.now();
                let deadline = now + attempt.timeout();
                self.line.borrow_mut().push(now, deadline, slot.clone());
                slot.end()
            })
            .await;
        if recovered.is_good() {
            let second = self.second();
            self.good.borrow_mut()[second] += 1;
        }
    }
}

/// Answers in time and attempts, for each second.
fn simulate(options: RecoveryOptions, line: Line) -> (Vec<u64>, Vec<u64>) {
    let clock = VirtualClock::new();
    let policy = Recovery::named("metastable").options(options).seed(1);
    let world = Rc::new(World {
        policy: policy.clock(clock.clone()).build().expect("no errors"),
        clock: clock.clone(),
        line: RefCell::new(line),
        good: RefCell::new(vec![0; SECONDS as usize + 30]),
        attempts: RefCell::new(vec![0; SECONDS as usize + 30]),
    });
    let mut tasks = Vec::new();
    let end = Instant::from_millis(SECONDS * 1_000);
    let mut over = pin!(clock.sleep_until(end));
    let between = Duration::from_nanos(1_000_000_000 / OFFERED);
    let mut arrival = pin!(clock.sleep(between));
    clock.run(poll_fn(|context| {
        if tasks.is_empty() {
            tasks.push(Task::new(Rc::clone(&world).serve(), context.waker()));
        }
        while arrival.as_mut().poll(context).is_ready() {
            tasks.push(Task::new(Rc::clone(&world).client(), context.waker()));
            arrival.set(clock.sleep(between));
        }
        tasks.retain_mut(Task::is_pending);
        over.as_mut().poll(context)
    }));
    drop(tasks);
    (world.good.take(), world.attempts.take())
}

/// One retry at once, whatever happens.
fn naive() -> RecoveryOptions {
    RecoveryOptions {
        deadline: None,
        attempt_timeout: Some(Duration::from_secs(1)),
        retries: 1,
        retries_after_timeout: 1,
        backoff: BackoffOptions::exponential(Duration::ZERO, Duration::ZERO, Jitter::None),
        budget: BudgetOptions {
            ratio: 1.0,
            floor_per_second: 1e6,
            burst: 1e6,
        },
        ..RecoveryOptions::default()
    }
}

/// The defaults, within the second that the client waits; and the budget's ratio that is stable at this load.
fn careful() -> RecoveryOptions {
    let mut options = RecoveryOptions {
        deadline: Some(Duration::from_secs(1)),
        attempt_timeout: Some(Duration::from_millis(450)),
        retries: 1,
        retries_after_timeout: 1,
        ..RecoveryOptions::default()
    };
    options.budget.ratio = 0.05;
    options
}

/// The same before a server that takes all and does it in order: what it gets is bounded here, by how long it takes, and the rest waits
/// where it can be ended.
fn guarded() -> RecoveryOptions {
    RecoveryOptions {
        limit: Some(LimitOptions::Gradient2(Gradient2Options::default())),
        queue: Some(QueueOptions {
            wait: Duration::from_millis(500),
            ..QueueOptions::default()
        }),
        ..careful()
    }
}

#[test]
fn the_failure_ends_with_its_cause() {
    let bounded = || Line::Bounded(Box::new(Queue::new(QueueOptions::default())));
    let endless = || Line::Endless(VecDeque::new());
    let (naive, naive_load) = simulate(naive(), endless());
    let (careful, careful_load) = simulate(careful(), bounded());
    let (guarded, guarded_load) = simulate(guarded(), endless());
    println!("good answers and attempts in each second");
    println!("second |      naive | the server has the queue | the policy has limit and queue");
    for second in 0..SECONDS as usize {
        println!(
            "{second:>6} | {:>4}, {:>4} | {:>18}, {:>4} | {:>24}, {:>4}",
            naive[second],
            naive_load[second],
            careful[second],
            careful_load[second],
            guarded[second],
            guarded_load[second]
        );
    }
    let mean = |of: &[u64], from: usize| {
        let part = &of[from..SECONDS as usize];
        part.iter().sum::<u64>() as f64 / part.len() as f64
    };
    let offered = OFFERED as f64;
    for run in [&naive, &careful, &guarded] {
        assert!(
            run[2..10].iter().all(|good| *good >= OFFERED - 2),
            "before: {run:?}"
        );
        assert_eq!(run[11..20].iter().sum::<u64>(), 0, "it stalls");
    }
    assert!(
        mean(&naive_load, 22) > CAPACITY as f64,
        "its own retries keep it busy"
    );
    assert!(mean(&naive, 22) < 0.1 * offered, "it does not come back");
    for (run, load) in [(&careful, &careful_load), (&guarded, &guarded_load)] {
        assert!(mean(run, 22) > 0.98 * offered, "it is back in 2 s");
        assert!(mean(load, 12) < CAPACITY as f64);
    }
}
