//! One of eleven servers stalls: how many requests does each policy lose?
//!
//! The experiment that is known from Finagle and linkerd, in virtual time. Nobody detects anything, ejects anything or
//! retries: what is measured is the policy alone.
//!
//! - 11 servers, each with 8 slots and a queue before them. An attempt takes 10 ms on average (exponential). That makes
//!   a capacity of 8,800 requests per second; half of it is offered, by clients that do not wait for each other (Poisson).
//! - From second 25 to second 55 every attempt that server 0 gets takes 2 s. The client waits 1 s. An attempt given up
//!   is reported as [`Outcome::AttemptTimeout`] at that moment; it leaves the queue, but not a slot that works on it.
//! - Counted are the requests that arrive from second 10 to second 70, half of that time with the stall. Requests and
//!   what they cost are drawn from the seed before anybody picks: each policy gets the same ones.
//!
//! What is lost depends on what an attempt takes, because what a stalled server holds are attempts and not time: see
//! `what_else_it_depends_on`, which prints and asserts little.

mod common;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use common::pool;
use evenkeel_balance::{Picker, Policy, Pool};
use evenkeel_core::{Instant, Outcome, Random};

const SERVERS: usize = 11;
const COUNTED: (Instant, Instant) = (Instant::from_millis(10_000), Instant::from_millis(70_000));
const STALL: (Instant, Instant) = (Instant::from_millis(25_000), Instant::from_millis(55_000));
const STALLED_TAKES: Duration = Duration::from_secs(2);
const CLIENT_WAITS: Duration = Duration::from_secs(1);
const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];

const POLICIES: [Policy; 5] = [
    Policy::RoundRobin,
    Policy::LeastRequests,
    Policy::PowerOfTwo,
    Policy::LeastResponseTime,
    Policy::Prequal,
];

/// What can be varied.
#[derive(Debug, Clone, Copy)]
struct World {
    slots: usize,
    /// What an attempt takes on average.
    takes: Duration,
    /// Offered load as a part of the capacity.
    load: f64,
    /// Pickers that share the servers' states.
    workers: usize,
    /// How an attempt that was given up is reported.
    given_up: Outcome,
}

const USUAL: World = World {
    slots: 8,
    takes: Duration::from_millis(10),
    load: 0.5,
    workers: 1,
    given_up: Outcome::AttemptTimeout,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives(usize),
    Finishes(usize),
    GivenUp(usize),
}

#[derive(Debug, Clone, Copy)]
struct Request {
    arrives: Instant,
    takes: Duration,
    worker: usize,
    server: usize,
    /// Answered or given up.
    is_over: bool,
}

#[derive(Debug, Default)]
struct Server {
    busy: usize,
    queue: VecDeque<usize>,
}

/// What became of the requests that were counted.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    requests: u32,
    lost: u32,
    /// Requests during the stall, all of them and those that the stalled server got.
    during: u32,
    to_stalled: u32,
}

impl Tally {
    fn success(self) -> f64 {
        1.0 - f64::from(self.lost) / f64::from(self.requests)
    }

    fn success_during_stall(self) -> f64 {
        1.0 - f64::from(self.lost) / f64::from(self.during)
    }
}

struct Run {
    world: World,
    pool: Pool,
    pickers: Vec<Picker>,
    servers: Vec<Server>,
    requests: Vec<Request>,
    /// The next request to arrive.
    next: usize,
    /// Attempts that a slot works on, by the moment when they are finished.
    at_work: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Requests in the order in which their clients give up, which is the order of their arrival.
    waiting: VecDeque<usize>,
    tally: Tally,
}

fn is_within(moment: Instant, (from, to): (Instant, Instant)) -> bool {
    from <= moment && moment < to
}

/// The requests of a seed, the same for every policy.
fn requests(world: &World, seed: u64) -> Vec<Request> {
    let mut rng = Random::seeded(seed);
    let mut exponential = |mean: f64| Duration::from_secs_f64(-(1.0 - rng.unit()).ln() * mean);
    let capacity = (SERVERS * world.slots) as f64 / world.takes.as_secs_f64();
    let gap = 1.0 / (capacity * world.load);
    let mut now = Instant::ZERO;
    let mut list = Vec::new();
    while now < COUNTED.1 {
        list.push(Request {
            arrives: now,
            takes: exponential(world.takes.as_secs_f64()),
            worker: list.len() % world.workers,
            server: 0,
            is_over: false,
        });
        now += exponential(gap);
    }
    list
}

fn run(world: World, policy: Policy, seed: u64) -> Tally {
    let pool = pool(policy, SERVERS);
    let mut run = Run {
        pickers: (0..world.workers as u64)
            .map(|worker| Picker::new(&pool, seed * 1_000 + worker))
            .collect(),
        servers: (0..SERVERS).map(|_| Server::default()).collect(),
        requests: requests(&world, seed),
        next: 0,
        at_work: BinaryHeap::new(),
        waiting: VecDeque::new(),
        tally: Tally::default(),
        world,
        pool,
    };
    while let Some((now, event)) = run.next_event() {
        match event {
            Event::Arrives(id) => run.arrives(id, now),
            Event::Finishes(id) => run.finishes(id, now),
            Event::GivenUp(id) => run.given_up(id, now),
        }
    }
    for member in run.pool.members() {
        assert_eq!(member.state.in_flight(), 0, "each attempt was ended once");
    }
    run.tally
}

impl Run {
    /// The earliest of what comes next of each kind, taken out.
    fn next_event(&mut self) -> Option<(Instant, Event)> {
        let arrives = self
            .requests
            .get(self.next)
            .map(|request| (request.arrives, Event::Arrives(self.next)));
        let finishes = self
            .at_work
            .peek()
            .map(|&Reverse((at, id))| (at, Event::Finishes(id)));
        let given_up = self.waiting.front().map(|&id| {
            let at = self.requests[id].arrives + CLIENT_WAITS;
            (at, Event::GivenUp(id))
        });
        let (now, event) = [arrives, finishes, given_up].into_iter().flatten().min()?;
        match event {
            Event::Arrives(_) => self.next += 1,
            Event::Finishes(_) => drop(self.at_work.pop()),
            Event::GivenUp(_) => drop(self.waiting.pop_front()),
        }
        Some((now, event))
    }

    fn arrives(&mut self, id: usize, now: Instant) {
        let worker = self.requests[id].worker;
        let pick = self.pickers[worker].pick(&self.pool, now, &[]);
        let server = pick.expect("nobody is ever ejected").index as usize;
        self.pool.members()[server].state.begin();
        self.requests[id].server = server;
        let is_stalled = server == 0 && is_within(now, STALL);
        if is_stalled {
            self.requests[id].takes = STALLED_TAKES;
        }
        if is_within(now, COUNTED) {
            self.tally.requests += 1;
            self.tally.during += u32::from(is_within(now, STALL));
            self.tally.to_stalled += u32::from(is_stalled);
        }
        self.waiting.push_back(id);
        if self.servers[server].busy < self.world.slots {
            self.starts(id, now);
        } else {
            self.servers[server].queue.push_back(id);
        }
    }

    fn starts(&mut self, id: usize, now: Instant) {
        let request = self.requests[id];
        self.servers[request.server].busy += 1;
        self.at_work.push(Reverse((now + request.takes, id)));
    }

    fn finishes(&mut self, id: usize, now: Instant) {
        let server = self.requests[id].server;
        self.ends(id, now, Outcome::Answered(200));
        self.servers[server].busy -= 1;
        while let Some(next) = self.servers[server].queue.pop_front() {
            if !self.requests[next].is_over {
                self.starts(next, now);
                break;
            }
        }
    }

    fn given_up(&mut self, id: usize, now: Instant) {
        let request = self.requests[id];
        if !request.is_over && is_within(request.arrives, COUNTED) {
            self.tally.lost += 1;
        }
        self.ends(id, now, self.world.given_up);
    }

    /// As the balancer hears of it: once.
    fn ends(&mut self, id: usize, now: Instant, outcome: Outcome) {
        let request = self.requests[id];
        if !request.is_over {
            self.requests[id].is_over = true;
            self.pool.members()[request.server].state.end(
                now,
                outcome,
                now.since(request.arrives),
                self.pickers[request.worker].typical_latency(),
            );
        }
    }
}

fn line(label: &str, tally: Tally) -> String {
    format!(
        "{label:<34} {:>9} {:>7} {:>8} {:>9.3} % {:>9.3} %",
        tally.requests,
        tally.to_stalled,
        tally.lost,
        tally.success() * 100.0,
        tally.success_during_stall() * 100.0,
    )
}

fn head(first: &str) -> String {
    format!(
        "{first:<34} {:>9} {:>7} {:>8} {:>11} {:>11}",
        "requests", "to it", "lost", "answered", "in stall"
    )
}

#[test]
fn least_response_time_loses_less_than_one_in_a_thousand() {
    println!("{}", head("policy, seed"));
    let seeds = std::thread::scope(|scope| {
        SEEDS
            .map(|seed| scope.spawn(move || POLICIES.map(|policy| run(USUAL, policy, seed))))
            .map(|thread| thread.join().unwrap())
    });
    for (seed, tallies) in SEEDS.into_iter().zip(seeds) {
        for (policy, tally) in POLICIES.iter().zip(tallies) {
            println!("{}", line(&format!("{policy:?}, {seed}"), tally));
        }
        let [round_robin, least_requests, _, least_response_time, _] = tallies.map(Tally::success);
        assert!(least_response_time >= 0.999, "seed {seed}: {tallies:?}");
        assert!(round_robin < least_requests, "seed {seed}: {tallies:?}");
        assert!(
            least_requests < least_response_time,
            "seed {seed}: {tallies:?}"
        );
    }
}

/// The same in other worlds. What least response time loses during a stall is first what the server has in flight before
/// the first timeout tells, then about one request per second that looks whether it still stalls, whatever the rate:
/// where there are fewer than some five hundred requests per second that is more than one in a thousand. Where a server
/// has many in flight it is more, too: ten times the latency with nothing in flight costs less than the latency with
/// sixteen in flight, so that the stalled server always holds a few. At 200 ms, 0.7 % take more than a second on every
/// server, stalled or not, and these peaks make all of them look alike.
///
/// An attempt that ends as cancelled (the client was gone before the attempt timeout) teaches nothing about the server:
/// least response time is then no better than the power of two choices. Printed and not asserted, since it is a weakness.
#[test]
fn what_else_it_depends_on() {
    let takes = |millis| World {
        takes: Duration::from_millis(millis),
        ..USUAL
    };
    let usual = takes(50);
    let worlds = [
        ("20 ms", takes(20)),
        ("50 ms", usual),
        ("100 ms", takes(100)),
        ("200 ms", takes(200)),
        (
            "100 ms, 32 slots",
            World {
                slots: 32,
                ..takes(100)
            },
        ),
        (
            "50 ms, 4 workers",
            World {
                workers: 4,
                ..usual
            },
        ),
        ("50 ms, 80 % load", World { load: 0.8, ..usual }),
        (
            "50 ms, reported as cancelled",
            World {
                given_up: Outcome::Cancelled,
                ..usual
            },
        ),
    ];
    for (label, world) in worlds {
        println!("{}", head(label));
        let tallies = POLICIES.map(|policy| run(world, policy, SEEDS[0]));
        for (policy, tally) in POLICIES.iter().zip(tallies) {
            println!("{}", line(&format!("  {policy:?}"), tally));
        }
        let [round_robin, least_requests, _, least_response_time, _] = tallies.map(Tally::success);
        assert!(round_robin < least_requests, "{label}: {tallies:?}");
        assert!(least_requests < least_response_time, "{label}: {tallies:?}");
    }
}
