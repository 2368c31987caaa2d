//! The stall that does not end: 280 requests a second, a server that can do 300, clients that give up after a second and try
//! once more, and a stall of ten seconds. In order of arrival the server is busy with what nobody waits for any more, for
//! ever. In virtual time, with [`Queue`] and without.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use evenkeel_core::{Instant, Random};
use evenkeel_tolerate::{
    Class, CodelOptions, Queue, QueueOptions, queue::CodelRule, queue::DequeueReason,
    queue::PushResult,
};

/// Requests a second: offered, and what the server can do.
type Load = (f64, f64);
const BUSY: Load = (280.0, 300.0);
const PATIENCE: Duration = Duration::from_secs(1);
const STALL: std::ops::Range<u64> = 60..70;
const END: usize = 300;

/// One attempt of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Attempt {
    request: usize,
    until: Instant,
}

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    ThrottlePermit,
    AskedAgain,
    Answered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives,
    Send(usize),
    GivesUp(Attempt),
    Done(Attempt),
    StallEnds,
}

/// What waits for the server.
trait Waiting {
    /// Those that were refused or had to go.
    fn push(&mut self, now: Instant, attempt: Attempt) -> Vec<Attempt>;
    /// The next to serve, and those that had to go.
    fn next(&mut self, now: Instant) -> (Option<Attempt>, Vec<Attempt>);
}

impl Waiting for VecDeque<Attempt> {
    fn push(&mut self, _: Instant, attempt: Attempt) -> Vec<Attempt> {
        self.push_back(attempt);
        Vec::new()
    }
    fn next(&mut self, _: Instant) -> (Option<Attempt>, Vec<Attempt>) {
        (self.pop_front(), Vec::new())
    }
}

impl Waiting for Queue<Attempt> {
    fn push(&mut self, now: Instant, attempt: Attempt) -> Vec<Attempt> {
        match self.push(now, Class::Critical, attempt.until, attempt) {
            PushResult::Queued(_) => Vec::new(),
            PushResult::Displaced(_, left) => vec![left.item],
            PushResult::Rejected(attempt) => vec![attempt],
        }
    }
    fn next(&mut self, now: Instant) -> (Option<Attempt>, Vec<Attempt>) {
        let mut gone = Vec::new();
        let next = self.serve(now, |left| {
            assert_ne!(left.reason, DequeueReason::Served);
            gone.push(left.item);
        });
        (next.map(|left| left.item), gone)
    }
}

/// The world: requests that were answered in time, by second.
struct World<W> {
    load: Load,
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    number: u64,
    rng: Random,
    waiting: W,
    is_busy: bool,
    requests: Vec<Request>,
    good: [u32; END],
}

impl<W: Waiting> World<W> {
    fn run(load: Load, waiting: W, seed: u64) -> [u32; END] {
        let mut world = Self {
            load,
            events: BinaryHeap::new(),
            number: 0,
            rng: Random::seeded(seed),
            waiting,
            is_busy: false,
            requests: Vec::new(),
            good: [0; END],
        };
        world.at(Instant::ZERO, Event::Arrives);
        world.at(second(STALL.end), Event::StallEnds);
        while let Some(Reverse((now, _, event))) = world.events.pop() {
            if now >= second(END as u64) {
                break;
            }
            world.step(now, event);
        }
        world.good
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.number += 1;
        self.events.push(Reverse((at, self.number, event)));
    }

    fn draw(&mut self, rate: f64) -> Duration {
        Duration::from_secs_f64(-(1.0 - self.rng.unit()).ln() / rate)
    }

    fn step(&mut self, now: Instant, event: Event) {
        match event {
            Event::Arrives => {
                self.requests.push(Request::ThrottlePermit);
                self.step(now, Event::Send(self.requests.len() - 1));
                let next = now + self.draw(self.load.0);
                self.at(next, Event::Arrives);
            }
            Event::Send(request) => {
                let until = now + PATIENCE;
                let attempt = Attempt { request, until };
                self.at(until, Event::GivesUp(attempt));
                let gone = self.waiting.push(now, attempt);
                self.fail(now, gone);
                self.serve(now);
            }
            Event::GivesUp(attempt) => self.fail(now, vec![attempt]),
            Event::Done(attempt) => {
                self.is_busy = false;
                let request = &mut self.requests[attempt.request];
                if now < attempt.until && *request != Request::Answered {
                    *request = Request::Answered;
                    self.good[(now.as_nanos() / 1_000_000_000) as usize] += 1;
                }
                self.serve(now);
            }
            Event::StallEnds => self.serve(now),
        }
    }

    /// A first attempt that was refused or took too long is made again 50 ms later.
    fn fail(&mut self, now: Instant, attempts: Vec<Attempt>) {
        for Attempt { request, .. } in attempts {
            if self.requests[request] == Request::ThrottlePermit {
                self.requests[request] = Request::AskedAgain;
                let again = now + Duration::from_millis(50);
                self.at(again, Event::Send(request));
            }
        }
    }

    fn serve(&mut self, now: Instant) {
        let is_stalled = now >= second(STALL.start) && now < second(STALL.end);
        if self.is_busy || is_stalled {
            return;
        }
        let (next, gone) = self.waiting.next(now);
        self.fail(now, gone);
        if let Some(attempt) = next {
            self.is_busy = true;
            let done = now + self.draw(self.load.1);
            self.at(done, Event::Done(attempt));
        }
    }
}

fn second(second: u64) -> Instant {
    Instant::from_millis(second * 1_000)
}

/// Seconds from the stall's end until nine tenths of what is offered are answered, for ten seconds on end.
fn back_after(good: &[u32; END]) -> Option<usize> {
    let enough = |second: &[u32]| second.iter().sum::<u32>() >= (BUSY.0 * 9.0) as u32;
    let after = &good[STALL.end as usize..];
    after.windows(10).position(enough)
}

#[test]
fn a_stall_ends_when_no_expired_request_is_served() {
    for seed in 1..=3 {
        let naive = World::run(BUSY, VecDeque::new(), seed);
        assert_eq!(
            back_after(&naive),
            None,
            "seed {seed}: never, in four minutes"
        );
        let lasting: u32 = naive[100..].iter().sum();
        assert!(
            lasting < 200 * 28,
            "less than a tenth is answered: {lasting}"
        );

        let queue = Queue::new(QueueOptions::default());
        let back = back_after(&World::run(BUSY, queue, seed)).expect("it comes back");
        assert!(back <= 2, "seed {seed}: after {back} s");
    }
}

#[test]
fn deadlines_alone_end_it_but_late() {
    let deadlines = QueueOptions {
        length: 100_000,
        codel: CodelRule::Off,
        ..QueueOptions::default()
    };
    let back = back_after(&World::run(BUSY, Queue::new(deadlines), 1)).expect("it comes back");
    assert!((3..200).contains(&back), "after {back} s");
}

/// The share of what could be answered that was not, without the stall.
fn lost(load: Load, options: QueueOptions) -> f64 {
    let good = World::run(load, Queue::new(options), 1);
    let quiet = good[10..58].iter().chain(&good[100..]);
    let per_second = f64::from(quiet.sum::<u32>()) / 248.0;
    1.0 - per_second / load.0.min(load.1)
}

/// Requests of 33 ms: what a target fit for networks makes of them, and what deadlines alone do under twice the load.
#[test]
fn slow_requests_are_neither_refused_for_nothing_nor_served_for_nothing() {
    let (quiet, twice) = ((24.0, 30.0), (60.0, 30.0));
    let with = |codel| QueueOptions {
        codel,
        ..QueueOptions::default()
    };
    let network = CodelRule::MinimumDelay(CodelOptions::default());
    assert!(lost(quiet, with(network)) > 0.08);
    assert!(lost(twice, with(CodelRule::Off)) > 0.6);
    let newest_first = QueueOptions {
        newest_first_after: Some(Duration::from_millis(100)),
        ..with(CodelRule::Off)
    };
    for options in [QueueOptions::default(), newest_first] {
        for load in [quiet, twice] {
            let lost = lost(load, options);
            assert!(lost < 0.02, "{load:?} {options:?}: {lost}");
        }
    }
}
