//! A few requests, one after the other: who gets the room that a server has, and when those that are held are told that there is nothing
//! to wait for.

use std::cell::RefCell;
use std::task::Waker;
use std::time::Duration;

use evenkeel_core::{Directive, Instant, Outcome, Random, ServerId, ServiceId, Verdict};
use evenkeel_request::exchange::{Arrival, AttemptEnd, Event, Reply, ResponseEnd, Step};
use evenkeel_request::service::{Service, ServiceOptions};
use evenkeel_request::{Cause, Exchange};
use evenkeel_tolerate::QueueOptions;

use crate::host::{Facts, RequestHost, Worker};
use crate::plan;

const MS: Duration = Duration::from_millis(1);

/// A request, and what it does now.
struct Caller<'a> {
    exchange: Exchange<'a>,
    facts: Facts,
    step: Step,
}

/// One service and one worker.
struct Scene<'a> {
    worker: Worker<'a>,
    now: Instant,
}

fn service(options: ServiceOptions) -> Vec<Service> {
    let service = Service::new(options, Instant::ZERO, &mut Random::seeded(1));
    vec![service]
}

impl<'a> Scene<'a> {
    fn new(services: &'a [Service]) -> Self {
        let policies = [services[0].policies()];
        Self {
            worker: Worker::new(services, &policies, &mut Random::seeded(2)),
            now: Instant::from_millis(1_000),
        }
    }

    fn arrive(&self, class: &str) -> Caller<'a> {
        let facts = Facts {
            route: None,
            method: "GET",
            target: "/".to_owned(),
            fields: vec![(plan::CLASS, class.to_owned())],
            peer: [10, 1, 1, 1].into(),
            is_upgrade: false,
            is_large: false,
            is_lost: false,
            is_sent: false,
            bytes: 100,
            fresh: None,
            has_stale: false,
        };
        let calls = RefCell::default();
        let host = RequestHost {
            worker: &self.worker,
            facts: &facts,
            calls: &calls,
        };
        let arrival = Arrival {
            service: ServiceId(0),
            route: None,
            rate: None,
            head: &facts,
            shape: facts.shape(),
            peer: facts.peer,
            is_upgrade: false,
            at: self.now,
        };
        let exchange = Exchange::new(&arrival, &host);
        let mut caller = Caller {
            exchange,
            facts,
            step: Step::Done,
        };
        self.tell(&mut caller, Event::Woken);
        caller
    }

    fn tell(&self, caller: &mut Caller<'a>, event: Event) {
        let calls = RefCell::default();
        let mut host = RequestHost {
            worker: &self.worker,
            facts: &caller.facts,
            calls: &calls,
        };
        caller.step = caller.exchange.next(event, self.now, &mut host);
    }

    /// Its attempt is answered, and the response passed on.
    fn answer(&self, caller: &mut Caller<'a>) {
        let outcome = Outcome::Answered(200);
        self.tell(caller, Event::Ended(AttemptEnd::failed(outcome, MS)));
        let end = ResponseEnd {
            outcome,
            broke_off: None,
            is_tunnel: false,
        };
        self.tell(caller, Event::Passed(end));
        assert_eq!(caller.step, Step::Done);
    }

    /// Until the first of these makes an attempt, for so long at most: each hears of its turn, or of its time. How long that took.
    fn run(&mut self, callers: &mut [Caller<'a>], most: Duration) -> Option<Duration> {
        let began = self.now;
        while self.now < began + most {
            for at in 0..callers.len() {
                let caller = &mut callers[at];
                let Step::Wait(until) = caller.step else {
                    continue;
                };
                if caller.exchange.poll_wake(Waker::noop()) || self.now >= until {
                    self.tell(caller, Event::Woken);
                }
            }
            if matches!(callers[0].step, Step::Attempt(_)) {
                return Some(self.now.since(began));
            }
            self.now += MS;
        }
        None
    }
}

/// One server has room, which a request that has been on it may not take. It is called first all the same: since it came last and the
/// newest go first, or since it matters more. Those behind it wait for no other server.
#[test]
fn who_may_not_take_a_servers_room_keeps_nobody_from_it() {
    let _one = crate::one_at_a_time();
    let newest_first = QueueOptions {
        newest_first_after: Some(Duration::ZERO),
        ..QueueOptions::default()
    };
    for (queue, class) in [
        (newest_first, "critical"),
        (QueueOptions::default(), "critical"),
        (QueueOptions::default(), "critical-plus"),
    ] {
        let mut options = plan::options(0, "plain");
        options.servers.truncate(2);
        (options.servers.iter_mut()).for_each(|server| server.max_requests = 1);
        options.queue = queue;
        let services = service(options);
        let mut scene = Scene::new(&services);
        let mut picky = scene.arrive(class);
        let tried = picky.step;
        let refused = AttemptEnd::failed(Outcome::Answered(503), MS);
        scene.tell(&mut picky, Event::Ended(refused));
        let Step::Wait(again) = picky.step else {
            panic!("{:?}", picky.step);
        };
        let mut busy = [scene.arrive("critical"), scene.arrive("critical")];
        let other = scene.arrive("critical");
        assert!(matches!(other.step, Step::Wait(_)), "{:?}", other.step);
        scene.now = again;
        scene.tell(&mut picky, Event::Woken);
        assert!(matches!(picky.step, Step::Wait(_)), "{:?}", picky.step);
        let ends = busy.iter_mut().find(|caller| caller.step == tried);
        scene.answer(ends.expect("one is on the server that was tried"));
        let mut waiting = [other, picky];
        let took = scene.run(&mut waiting, 200 * MS);
        assert!(
            took.is_some_and(|took| took <= 25 * MS),
            "{queue:?}, {class}: {took:?}"
        );
        assert_eq!(waiting[0].step, tried);
        // The other server is for the request that may go there.
        let ends = busy.iter_mut().find(|caller| caller.step != Step::Done);
        scene.answer(ends.expect("one is on the other server"));
        waiting.swap(0, 1);
        let took = scene.run(&mut waiting, 200 * MS);
        assert!(
            took.is_some_and(|took| took <= 25 * MS),
            "{queue:?}, {class}: {took:?}"
        );
    }
}

#[test]
fn a_request_is_held_no_longer_than_a_server_is_being_repaired() {
    let _one = crate::one_at_a_time();
    let mut options = plan::options(4, "held");
    options.servers.truncate(1);
    options.policies.place = 0;
    let services = service(options);
    let scene = Scene::new(&services);
    let server = ServerId::new(0, 0);
    let repaired = scene.now + 300 * MS;
    services[0].apply(
        &Directive::Repair {
            server,
            until: repaired,
        },
        scene.now,
    );
    let eject = Directive::Eject {
        server,
        verdict: Verdict::Known,
        until: Instant::NEVER,
    };
    services[0].apply(&eject, scene.now);
    let mut held = scene.arrive("critical");
    assert_eq!(held.step, Step::Wait(repaired));
    let scene = Scene {
        now: repaired,
        ..scene
    };
    scene.tell(&mut held, Event::Woken);
    assert_eq!(held.step, Step::Reply(Reply::Cause(Cause::NoServer)));
}
