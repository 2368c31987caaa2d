//! Attempts that were not waited for: clients that leave say nothing about servers, quicker attempts beside them do.

use std::collections::VecDeque;
use std::time::Duration;

use evenkeel_core::{Instant, Observation, Outcome, Random, RequestShape, ServerId, Signal};
use evenkeel_fault::contract::Managed;
use evenkeel_fault::{FaultKind, Input};

use super::kinds::kind;
use super::world::{World, ms, options};

/// Requests that a server works on at a time.
const PLACES: usize = 2;

/// How an attempt on a server ends.
type End = (Instant, u32, Outcome, Duration);

/// A request on its way.
#[derive(Clone, Copy)]
struct Request {
    /// How long its server works on it.
    work: Duration,
    /// When its client leaves; whoever asks for something quick waits for it.
    leaves: Option<Instant>,
}

/// Three equal servers with a queue before them. Requests are chosen for by how many a server has.
struct Traffic {
    random: Random,
    now: Instant,
    /// When the requests on each server end.
    busy: [Vec<Instant>; 3],
    queue: VecDeque<Request>,
}

impl Traffic {
    /// About 19 quick requests a second, and 9 of up to 0.8 s whose clients leave after up to 0.4 s.
    fn arrive(&mut self) -> Request {
        self.now += self.random.duration_up_to(ms(71));
        if self.random.below(28) < 19 {
            return Request {
                work: ms(1) + self.random.duration_up_to(ms(4)),
                leaves: None,
            };
        }
        Request {
            work: self.random.duration_up_to(ms(800)),
            leaves: Some(self.now + self.random.duration_up_to(ms(400))),
        }
    }

    /// The server with fewer requests of two, if it has a place.
    fn select(&mut self) -> Option<usize> {
        let first = self.random.below(3);
        let second = (first + 1 + self.random.below(2)) % 3;
        let [a, b] = [first, second].map(|server| self.busy[server].len());
        let server = if b < a { second } else { first };
        (self.busy[server].len() < PLACES).then_some(server)
    }

    /// Begins what waits, at `at`.
    fn begin(&mut self, at: Instant, ends: &mut Vec<End>) {
        while let Some(request) = self.queue.front().copied() {
            if request.leaves.is_some_and(|leaves| leaves <= at) {
                self.queue.pop_front();
                continue;
            }
            let Some(server) = self.select() else {
                return;
            };
            self.queue.pop_front();
            let done = at + request.work;
            let (end, outcome) = match request.leaves {
                Some(leaves) if leaves < done => (leaves, Outcome::Cancelled),
                _ => (done, Outcome::Answered(200)),
            };
            self.busy[server].push(end);
            let index = u32::try_from(server).expect("small");
            ends.push((end, index, outcome, end.since(at)));
        }
    }

    /// The ends of all attempts until `until`, in their order.
    fn run(&mut self, until: Instant) -> Vec<End> {
        let mut ends = Vec::new();
        while self.now < until {
            let request = self.arrive();
            // Places that become free before it comes go to those who wait.
            while let Some(free) = self.next_end().filter(|end| *end <= self.now) {
                self.busy
                    .iter_mut()
                    .for_each(|busy| busy.retain(|end| *end > free));
                self.begin(free, &mut ends);
            }
            self.queue.push_back(request);
            self.begin(self.now, &mut ends);
        }
        ends.sort_by_key(|end| end.0);
        ends
    }

    fn next_end(&self) -> Option<Instant> {
        self.busy.iter().flatten().min().copied()
    }
}

/// A world without requests of its own.
fn quiet() -> World {
    let mut world = World::new(3, Managed::Nothing, options());
    world.ask_every(1_000_000_000);
    world.run(5_000);
    world
}

/// The keeper hears of these attempts, those of half a second together, as from the workers.
fn tell(world: &mut World, ends: &[End]) {
    let mut rest = ends;
    while let Some(first) = rest.first() {
        let until = first.0 + ms(500);
        let (batch, later) = rest.split_at(rest.partition_point(|end| end.0 < until));
        rest = later;
        let wait = until.since(world.now).as_millis();
        world.run(u64::try_from(wait).expect("small") + 1);
        let signal = |&(at, index, outcome, latency): &End| {
            Input::Signal(Signal {
                at,
                server: ServerId::new(0, index),
                observation: Observation::Attempt {
                    outcome,
                    latency,
                    shape: RequestShape::UNKNOWN,
                },
            })
        };
        world.feed(batch.iter().map(signal).collect());
    }
}

#[test]
fn requests_that_their_clients_give_up_make_no_server_slow() {
    for seed in 0..100 {
        let mut world = quiet();
        let mut traffic = Traffic {
            random: Random::seeded(seed),
            now: world.now,
            busy: Default::default(),
            queue: VecDeque::new(),
        };
        let ends = traffic.run(world.now + ms(600_000));
        let given_up = ends.iter().filter(|end| end.2 == Outcome::Cancelled);
        assert!(given_up.count() * 8 > ends.len(), "seed {seed}");
        tell(&mut world, &ends);
        assert!(
            world.incidents.is_empty(),
            "seed {seed}: {:#?}",
            world.incidents
        );
    }
}

/// So many attempts on each server, 40 ms apart, all answered in 5 ms; those on the second one that `other` says end otherwise.
fn attempts(world: &World, count: u32, other: impl Fn(u32) -> Option<(Outcome, u64)>) -> Vec<End> {
    let at = |number: u32| world.now + ms(40) * number;
    let one = |number: u32| (0..3).map(move |server| (number, server));
    let all = (1..=count).flat_map(one);
    all.map(|(number, server)| {
        let other = if server == 1 { other(number) } else { None };
        let (outcome, millis) = other.unwrap_or((Outcome::Answered(200), 5));
        (at(number), server, outcome, ms(millis))
    })
    .collect()
}

/// They come back to the server that they were at before, with a cookie: it has all of them.
#[test]
fn clients_that_give_up_at_one_server_say_nothing_about_it() {
    let mut world = quiet();
    let leave = |number: u32| (!number.is_multiple_of(3)).then_some((Outcome::Cancelled, 300));
    let ends = attempts(&world, 2_000, leave);
    tell(&mut world, &ends);
    assert!(world.incidents.is_empty(), "{:#?}", world.incidents);
}

#[test]
fn a_server_whose_attempts_lose_to_those_beside_them_is_found() {
    let mut world = quiet();
    let ends = attempts(&world, 500, |_| None);
    tell(&mut world, &ends);
    assert!(world.incidents.is_empty(), "{:#?}", world.incidents);
    let ends = attempts(&world, 500, |_| Some((Outcome::Superseded, 60)));
    tell(&mut world, &ends);
    let incident = world.incidents.values().next().expect("it is slow");
    assert_eq!(incident.servers, ["two"]);
    assert_eq!(kind(incident), FaultKind::SlowServer);
}

/// A hedged attempt that had hardly begun when the first one was answered does not make its server quick, nor slow.
#[test]
fn attempts_that_lost_before_they_were_slow_say_nothing() {
    let mut world = quiet();
    let ends = attempts(&world, 500, |_| Some((Outcome::Superseded, 1)));
    tell(&mut world, &ends);
    assert!(world.incidents.is_empty(), "{:#?}", world.incidents);
    let hedged = |number: u32| {
        let answered = (Outcome::Answered(200), 60);
        Some(if number.is_multiple_of(3) {
            answered
        } else {
            (Outcome::Superseded, 1)
        })
    };
    let ends = attempts(&world, 500, hedged);
    tell(&mut world, &ends);
    let incident = world.incidents.values().next().expect("it is slow");
    assert_eq!(incident.servers, ["two"]);
}
