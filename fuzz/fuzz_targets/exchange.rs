//! An exchange is told anything in any order: whatever bytes say, each request ends once, nothing is sent that may not be, and all
//! that a request holds of its service is given back. The first byte chooses the service and the route to it, each two more are one thing
//! that happens.
#![no_main]

use std::cell::RefCell;
use std::sync::LazyLock;
use std::time::Duration;

use evenkeel_core::{Instant, Outcome, Random, ServiceId};
use evenkeel_request::exchange::{
    Arrival, AttemptEnd, Event, FirstEnd, HedgeEnd, ResponseEnd, Step,
};
use evenkeel_request::route::{RateRule, Route};
use evenkeel_request::service::Service;
use evenkeel_request::{Cause, Exchange};
use evenkeel_tolerate::Class;
// Named by the files of the simulation.
use evenkeel_balance as _;
use libfuzzer_sys::fuzz_target;

#[expect(dead_code, reason = "the simulation reads more of it")]
#[path = "../../crates/request/tests/exchange/checks/mod.rs"]
mod checks;
mod exchange_orders;
mod exchange_steps;
#[expect(dead_code, reason = "the simulation reads more of it")]
#[path = "../../crates/request/tests/exchange/host.rs"]
mod host;
#[expect(dead_code, reason = "the simulation reads more of it")]
#[path = "../../crates/request/tests/exchange/plan.rs"]
mod plan;
#[expect(dead_code, reason = "the simulation reads more of it")]
#[path = "../../crates/request/tests/exchange/routes.rs"]
mod routes;

use checks::{Arrived, RateBooks, RequestBooks, ServiceBooks, Stepped, WaitingNow};
use host::{Facts, RequestHost, Worker};

/// Requests at a time.
const SLOTS: usize = 8;
/// So much happens at most.
const MOST: usize = 64;
/// Servers of each service.
const SERVERS: usize = 3;
/// So many steps without a pause are a circle.
const MOST_STEPS: usize = 64;

const OUTCOMES: [Outcome; 13] = [
    Outcome::Answered(200),
    Outcome::Answered(404),
    Outcome::Answered(429),
    Outcome::Answered(500),
    Outcome::Answered(503),
    Outcome::ConnectRefused,
    Outcome::ConnectTimeout,
    Outcome::Stale,
    Outcome::Reset { sent: false },
    Outcome::Reset { sent: true },
    Outcome::AttemptTimeout,
    Outcome::LocalError,
    Outcome::StreamRefused,
];

/// Without their rate limits, which take long to make.
static ROUTES: LazyLock<Vec<Route>> = LazyLock::new(routes::routes);
static RATES: LazyLock<Vec<Option<RateRule>>> = LazyLock::new(|| plan::rates().collect());

fuzz_target!(|input: &[u8]| {
    let Some((&first, rest)) = input.split_first() else {
        return;
    };
    let mut random = Random::seeded(1);
    let service = u32::from(first) % plan::NAMES.len() as u32;
    let ways = routes::routes_to(&ROUTES, ServiceId(service));
    // None, or one of those that there are.
    let way = usize::from(first) / plan::NAMES.len() % (ways.len() + 1);
    let route = way.checked_sub(1).map(|way| ways[way]);
    let all = (0..).zip(plan::NAMES);
    let services: Vec<Service> = all
        .map(|(index, name)| {
            let mut options = plan::options(index, name);
            // Others are asked as fallback services, if at all.
            let is_asked = index == service || matches!(name, "everything" | "sticky");
            options.servers.truncate(if is_asked { SERVERS } else { 0 });
            Service::new(options, Instant::ZERO, &mut random)
        })
        .collect();
    let mut run = Run::new(&services, service, route, random);
    for what in rest.as_chunks::<2>().0.iter().take(MOST) {
        run.happens(what[0], what[1]);
    }
    run.end();
});

/// A request in flight.
struct Slot<'a> {
    exchange: Exchange<'a>,
    facts: Facts,
    books: RequestBooks,
    first: Option<Attempt>,
    hedges: Vec<Attempt>,
    is_waiting: bool,
}

/// An attempt in flight, by its index.
struct Attempt {
    entry: usize,
    server: u32,
    has_ended: bool,
}

struct Run<'a> {
    services: &'a [Service],
    service: ServiceId,
    /// The place of the route by which all requests come, if they do.
    route: Option<usize>,
    rates: RateBooks,
    now: Instant,
    worker: Worker<'a>,
    books: Vec<ServiceBooks>,
    slots: [Option<Box<Slot<'a>>>; SLOTS],
    /// By service and server.
    in_flight: Vec<u32>,
}

impl<'a> Run<'a> {
    fn new(
        services: &'a [Service],
        service: u32,
        route: Option<usize>,
        mut random: Random,
    ) -> Self {
        let policies = routes::policies(services, &ROUTES);
        Self {
            services,
            service: ServiceId(service),
            route,
            rates: RateBooks::new(RATES.iter().cloned(), std::iter::empty()),
            now: Instant::from_millis(1_000),
            worker: Worker::new(services, &policies, &mut random),
            books: services.iter().map(ServiceBooks::new).collect(),
            slots: Default::default(),
            in_flight: vec![0; services.len() * SERVERS],
        }
    }

    fn happens(&mut self, what: u8, detail: u8) {
        let slot = usize::from(detail) % SLOTS;
        let outcome = OUTCOMES[usize::from(detail / 8) % OUTCOMES.len()];
        match what % 20 {
            0..4 => {
                const PAUSES: [u64; 8] = [1, 2, 5, 20, 21, 60, 200, 600];
                let pause = PAUSES[usize::from(detail) % PAUSES.len()];
                self.now += Duration::from_millis(pause);
                self.wake_all();
            }
            4..7 => self.arrive(slot, detail / 8),
            7..10 => self.end_attempt(slot, outcome),
            10 => self.connect(slot),
            11 => self.tell(slot, Event::HedgeDue),
            12 => self.end_hedge(slot, outcome),
            13 => self.tell(slot, Event::ServerOut),
            14 => self.client_leaves(slot),
            15 => self.pass(slot, outcome, detail >= 128),
            16 => self.abort(slot),
            17 => self.give_up(slot),
            18 => self.direct(detail),
            _ => self.order(detail),
        }
    }

    fn arrive(&mut self, slot: usize, detail: u8) {
        if self.slots[slot].is_some() {
            return;
        }
        let is_repeatable = detail & 1 == 0;
        let told = (detail & 4 > 0).then_some(Duration::from_millis(300));
        let mut fields = vec![(plan::KEY, format!("client-{slot}"))];
        fields.extend(told.map(|told| (plan::DEADLINE, told.as_millis().to_string())));
        let facts = Facts {
            route: self.route,
            method: if is_repeatable { "GET" } else { "POST" },
            target: "/crash".to_owned(),
            fields,
            peer: [10, 1, 1, slot as u8].into(),
            is_upgrade: detail & 16 > 0,
            is_large: detail & 2 > 0,
            is_lost: false,
            is_sent: false,
            bytes: 1_000,
            fresh: None,
            has_stale: detail & 8 > 0,
        };
        let calls = RefCell::default();
        let host = RequestHost {
            worker: &self.worker,
            facts: &facts,
            calls: &calls,
        };
        let arrival = Arrival {
            service: self.service,
            route: self.route.map(|place| &ROUTES[place]),
            rate: None,
            head: &facts,
            shape: facts.shape(),
            peer: Some(facts.peer),
            is_upgrade: facts.is_upgrade,
            at: self.now,
        };
        let exchange = Exchange::new(&arrival, &host);
        let policies = routes::policies_of(self.services, arrival.route, self.service);
        let arrived = Arrived {
            policies,
            told: told.filter(|_| policies.deadline.is_some()),
            class: arrival
                .route
                .and_then(|route| route.class)
                .unwrap_or(Class::Critical),
            refused: self.rates.take(self.service, &facts, self.now),
        };
        let books = RequestBooks::new(&exchange, self.now, &arrived, &facts);
        self.slots[slot] = Some(Box::new(Slot {
            exchange,
            facts,
            books,
            first: None,
            hedges: Vec::new(),
            is_waiting: true,
        }));
        self.tell(slot, Event::Woken);
    }

    /// The current attempt has a connection, on which the whole request is sent.
    fn connect(&mut self, at: usize) {
        if let Some(slot) = &mut self.slots[at] {
            slot.facts.is_sent = true;
        }
        self.tell(at, Event::Connected);
    }

    /// The current attempt ends like this; without one, the event is unexpected.
    fn end_attempt(&mut self, at: usize, outcome: Outcome) {
        let Some(slot) = &mut self.slots[at] else {
            return;
        };
        let end = AttemptEnd::failed(outcome, Duration::ZERO);
        let is_attempting = !slot.is_waiting && !slot.books.is_passing;
        let Some(first) = slot.first.as_mut().filter(|_| is_attempting) else {
            return self.tell(at, Event::Ended(end));
        };
        if !outcome.is_unsent() || outcome == Outcome::StreamRefused {
            slot.books.attempts[first.entry].is_sent = true;
            slot.facts.is_lost |= slot.facts.is_large;
            slot.facts.is_sent = true;
        }
        if slot.hedges.is_empty() {
            slot.books.attempts[first.entry].outcome = Some(outcome);
            return self.tell(at, Event::Ended(end));
        }
        if std::mem::replace(&mut first.has_ended, true) {
            return;
        }
        slot.books.attempts[first.entry].outcome = Some(outcome);
        let end = match outcome {
            Outcome::Answered(status) => FirstEnd::Response(status),
            outcome => FirstEnd::Failed(outcome),
        };
        self.tell(at, Event::FirstEnded(end));
    }

    fn end_hedge(&mut self, at: usize, outcome: Outcome) {
        let Some(slot) = &mut self.slots[at] else {
            return;
        };
        let hedge = (!slot.hedges.is_empty()).then(|| slot.hedges.remove(0));
        let server = hedge.as_ref().map_or(0, |hedge| hedge.server);
        if let Some(mut hedge) = hedge {
            slot.books.attempts[hedge.entry].outcome = Some(outcome);
            hedge.has_ended = true;
            slot.hedges.push(hedge);
        }
        self.tell(at, Event::HedgeEnded(HedgeEnd { server, outcome }));
        if let Some(slot) = &mut self.slots[at] {
            slot.hedges.retain(|hedge| !hedge.has_ended);
        }
    }

    fn client_leaves(&mut self, at: usize) {
        if let Some(slot) = &mut self.slots[at] {
            if slot.books.is_passing {
                return self.pass(at, Outcome::Cancelled, true);
            }
            slot.books.has_client_gone = true;
        }
        self.tell(at, Event::ClientGone);
    }

    fn pass(&mut self, at: usize, outcome: Outcome, breaks: bool) {
        let broke_off = Some(outcome).filter(|_| breaks);
        let event = Event::Passed(ResponseEnd {
            outcome,
            broke_off,
            is_tunnel: false,
        });
        self.tell(at, event);
    }

    /// The client's body is none.
    fn abort(&mut self, at: usize) {
        let Some(slot) = &mut self.slots[at] else {
            return;
        };
        let is_attempting = !slot.is_waiting && !slot.books.is_passing;
        if let Some(first) = slot.first.as_ref().filter(|_| is_attempting) {
            slot.books.attempts[first.entry].outcome = Some(Outcome::Cancelled);
        }
        self.tell(at, Event::Aborted(Cause::RequestTimeout));
    }

    /// The task of the client's connection ends.
    fn give_up(&mut self, at: usize) {
        let Some(slot) = self.slots[at].take() else {
            return;
        };
        let service = slot.exchange.service_id().0 as usize;
        for place in slot.books.dropped() {
            self.in_flight[place] -= 1;
            self.books[service].dropped(place);
        }
        drop(slot);
        self.check_in_flight();
        self.wake_all();
    }

    /// Each that waits looks again.
    fn wake_all(&mut self) {
        for at in 0..SLOTS {
            if self.slots[at].as_ref().is_some_and(|slot| slot.is_waiting) {
                self.tell(at, Event::Woken);
            }
        }
    }

    fn tell(&mut self, at: usize, event: Event) {
        let Some(mut slot) = self.slots[at].take() else {
            return;
        };
        let mut next = Some(event);
        let mut steps = 0;
        while let Some(event) = next {
            steps += 1;
            assert!(steps < MOST_STEPS, "in circles: {:?}", slot.exchange);
            next = self.step(&mut slot, event);
        }
        if slot.books.end.is_none() {
            self.slots[at] = Some(slot);
        }
        self.check_in_flight();
    }

    fn step(&mut self, slot: &mut Slot<'a>, event: Event) -> Option<Event> {
        let calls = RefCell::default();
        let mut host = RequestHost {
            worker: &self.worker,
            facts: &slot.facts,
            calls: &calls,
        };
        let before = WaitingNow::of(self.services);
        let step = slot.exchange.next(event, self.now, &mut host);
        let stepped = Stepped {
            now: self.now,
            event,
            step,
            calls: &calls.into_inner(),
            facts: &slot.facts,
            exchange: &slot.exchange,
            before,
            after: WaitingNow::of(self.services),
        };
        for place in slot.books.enter(&stepped, &mut self.books) {
            self.in_flight[place] -= 1;
        }
        slot.is_waiting = matches!(step, Step::Wait(_));
        if let Step::Attempt(server) | Step::Hedge(server, _) = step {
            let is_hedge = matches!(step, Step::Hedge(..));
            let place = slot.exchange.service_id().0 as usize * SERVERS + server as usize;
            self.in_flight[place] += 1;
            let entry =
                (slot.books).begin_attempt(server, is_hedge, place, &stepped, &mut self.books);
            let attempt = Attempt {
                entry,
                server,
                has_ended: false,
            };
            if is_hedge {
                slot.hedges.push(attempt);
            } else {
                slot.facts.is_sent = false;
                slot.first = Some(attempt);
            }
        }
        exchange_steps::carry_out(slot, step)
    }

    fn check_in_flight(&self) {
        for (at, expected) in self.in_flight.iter().enumerate() {
            let set = self.services[at / SERVERS].servers();
            let member = set.pool().members().get(at % SERVERS);
            let found = member.map_or(0, |member| member.state.in_flight());
            assert_eq!(found, *expected, "in flight on server {at}");
        }
    }

    /// The rest is dropped, so that nothing is held any longer.
    fn end(mut self) {
        for at in 0..SLOTS {
            self.give_up(at);
        }
        let waiting = WaitingNow::of(self.services);
        assert_eq!((waiting.queued, waiting.held), (0, 0));
    }
}
