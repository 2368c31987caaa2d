//! The simulation: clients, servers and orders in virtual time, and the part of the proxy that carries out what an exchange asks for.
//! All that happens follows from the seed.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::time::Duration;

use evenkeel_core::{Instant, Random};
use evenkeel_request::exchange::{Arrival, Event, Step};
use evenkeel_request::route::Route;
use evenkeel_request::service::{RateLimiter, Service};
use evenkeel_request::{Cause, Exchange};

use crate::attempts::Sending;
use crate::checks::{Arrived, End, RateBooks, RequestBooks, ServiceBooks, Stepped, WaitingNow};
use crate::clients::{class_of, draw_request, refusal, told};
use crate::host::{Calls, Facts, RequestHost, Worker};
use crate::plan;
use crate::routes::{policies, policies_of};
use crate::servers::{Condition, Happening, Server, check_in_flight};
use crate::totals::Totals;
use crate::waiting::Idle;

/// Clients that send one request after the other.
const CLIENTS: usize = 200;
/// No request takes longer, with its fallback service and its response.
const LONGEST: Duration = Duration::from_secs(10);
/// Milliseconds at most between two stalls of a worker, and of one.
const STALLS_EVERY: usize = 3_000;
const STALL: usize = 400;
/// So many steps without a pause are a circle.
const MOST_STEPS: usize = 64;

/// What the simulation is made of: services, routes, and the rate limits of routes by their places.
pub(crate) struct Plan {
    pub(crate) services: Vec<Service>,
    pub(crate) routes: Vec<Route>,
    pub(crate) limiters: Vec<Option<RateLimiter>>,
}

/// Something that is due.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Due {
    Arrives(usize),
    /// The time that a request waits for, if it still does.
    Wake(RequestKey, u32),
    Hedge(RequestKey, u32),
    Attempt(RequestKey, usize, Happening),
    ClientLeaves(RequestKey),
    /// The task of the client's connection ends, whatever it does.
    Dropped(RequestKey),
    Passed(RequestKey),
    /// Something is reported that nobody has asked for.
    Stray(RequestKey),
    ServerOut(RequestKey, usize),
    Condition(usize),
    /// A worker does nothing for a while.
    Stall(usize),
    Order,
    OrderEnds(usize),
}

/// A client's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestKey {
    pub(crate) client: usize,
    pub(crate) number: u64,
}

/// A request on its way, as the proxy has it.
pub(crate) struct Request<'a> {
    pub(crate) key: RequestKey,
    pub(crate) worker: usize,
    pub(crate) exchange: Exchange<'a>,
    pub(crate) facts: Facts,
    pub(crate) books: RequestBooks,
    /// What is under way for it, if it does not wait.
    pub(crate) sending: Option<Sending>,
    /// Tells what it waits for now from what it waited for before.
    pub(crate) token: u32,
    pub(crate) is_waiting: bool,
    pub(crate) is_new: bool,
    pub(crate) waker: Waker,
}

struct Alarm {
    key: RequestKey,
    woken: Arc<Mutex<Vec<RequestKey>>>,
}

/// Clients, servers and what happens to them.
pub(crate) struct World<'a> {
    pub(crate) now: Instant,
    pub(crate) random: Random,
    pub(crate) services: &'a [Service],
    pub(crate) routes: &'a [Route],
    pub(crate) books: Vec<ServiceBooks>,
    pub(crate) idle: Vec<Idle>,
    rates: RateBooks,
    /// The rate limits of routes, by their places.
    limiters: &'a [Option<RateLimiter>],
    pub(crate) servers: Vec<Server>,
    /// The places of each service's servers of now.
    pub(crate) places: Vec<Vec<usize>>,
    pub(crate) requests: Vec<Option<Box<Request<'a>>>>,
    pub(crate) totals: Totals,
    pub(crate) left: u64,
    /// Requests are left of which more may wait for servers to come back.
    pub(crate) holds_until: u64,
    workers: Vec<Worker<'a>>,
    /// Until when each worker is stuck, or was last.
    pub(crate) stuck_until: Vec<Instant>,
    heap: BinaryHeap<Reverse<(Instant, u64, u64, DueInHeap)>>,
    entered: u64,
    woken: Arc<Mutex<Vec<RequestKey>>>,
}

/// Ordered by what stands before it in the heap only.
struct DueInHeap(Due);

impl PartialEq for DueInHeap {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for DueInHeap {}
impl PartialOrd for DueInHeap {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for DueInHeap {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        woken.push(self.key);
    }
}

impl<'a> World<'a> {
    pub(crate) fn new(plan: &'a Plan, mut random: Random, requests: u64) -> Self {
        let Plan {
            services,
            routes,
            limiters,
        } = plan;
        let rates = routes.iter().map(|route| route.rate.clone());
        let all = policies(services, routes);
        let workers = (0..2).map(|_| Worker::new(services, &all, &mut random));
        let workers: Vec<_> = workers.collect();
        let mut world = Self {
            now: Instant::ZERO,
            services,
            routes,
            idle: vec![Idle::NEVER; services.len()],
            rates: RateBooks::new(plan::rates(), rates),
            limiters,
            books: services.iter().map(ServiceBooks::new).collect(),
            servers: Vec::new(),
            places: Vec::new(),
            requests: (0..CLIENTS).map(|_| None).collect(),
            totals: Totals::default(),
            left: requests,
            holds_until: requests / 5,
            stuck_until: vec![Instant::ZERO; workers.len()],
            workers,
            heap: BinaryHeap::new(),
            entered: 0,
            woken: Arc::default(),
            random,
        };
        for (service, index) in services.iter().zip(0..) {
            let set = service.servers();
            let members = set.pool().members().iter();
            let places = members.map(|member| world.add_server(index, &member.state));
            let places = places.collect();
            world.places.push(places);
        }
        for client in 0..CLIENTS {
            let at = world.within(200);
            world.enter(at, Due::Arrives(client));
        }
        world.enter(Instant::from_millis(100), Due::Order);
        for worker in 0..world.workers.len() {
            let at = world.within(STALLS_EVERY);
            world.enter(at, Due::Stall(worker));
        }
        world
    }

    pub(crate) fn add_server(
        &mut self,
        service: u32,
        state: &Arc<evenkeel_balance::ServerState>,
    ) -> usize {
        self.servers.push(Server {
            service,
            state: Arc::clone(state),
            condition: Condition::Well,
            in_flight: 0,
            out_until: Instant::ZERO,
            repaired_until: Instant::ZERO,
        });
        let place = self.servers.len() - 1;
        let at = self.within(2_000);
        self.enter(at, Due::Condition(place));
        place
    }

    /// A moment within so many milliseconds.
    pub(crate) fn within(&mut self, millis: usize) -> Instant {
        self.now + Duration::from_millis(self.random.below(millis + 1) as u64)
    }

    /// One in so many.
    pub(crate) fn one_in(&mut self, many: usize) -> bool {
        self.random.below(many) == 0
    }

    /// What is due at the same moment comes in any order.
    pub(crate) fn enter(&mut self, at: Instant, due: Due) {
        self.entered += 1;
        let at = at.max(self.now);
        let entry = (at, self.random.bits(), self.entered, DueInHeap(due));
        self.heap.push(Reverse(entry));
    }

    /// A timer may be late.
    pub(crate) fn enter_timer(&mut self, at: Instant, due: Due) {
        let late = match self.random.below(10) {
            0..2 => self.random.below(30),
            2..5 => self.random.below(3),
            _ => 0,
        };
        self.enter(at.max(self.now) + Duration::from_millis(late as u64), due);
    }

    /// Runs until the last request is over and nothing is due.
    pub(crate) fn run(mut self) -> Totals {
        while let Some(Reverse((at, .., DueInHeap(due)))) = self.heap.pop() {
            self.now = at;
            self.happens(due);
            self.wake_all();
        }
        for (service, index) in self.services.iter().zip(0..) {
            assert_eq!((service.waiting(), service.held()), (0, 0), "at the end");
            self.totals.lapsed += service.lapsed_turns();
            check_in_flight(&self.servers, index);
        }
        let mut left = self.requests.iter().flatten().map(|it| &it.books);
        let forgotten = left.next();
        assert!(forgotten.is_none(), "nothing is due for {forgotten:?}");
        assert!(self.servers.iter().all(|server| server.in_flight == 0));
        self.totals
    }

    fn happens(&mut self, due: Due) {
        if let Some(until) = self.stuck_with(due) {
            // What has come for it meanwhile comes in any order.
            return self.enter(until, due);
        }
        match due {
            Due::Arrives(client) => self.arrives(client),
            Due::Wake(key, token) => {
                if self.request(key).is_some_and(|it| it.token == token) {
                    self.tell(key, Event::Woken);
                }
            }
            Due::Hedge(key, token) => {
                if self.request(key).is_some_and(|it| it.token == token) {
                    self.tell(key, Event::HedgeDue);
                }
            }
            Due::Attempt(key, attempt, happening) => self.attempt_goes_on(key, attempt, happening),
            Due::ClientLeaves(key) => self.client_leaves(key),
            Due::Dropped(key) => self.drop_request(key),
            Due::Passed(key) => self.passed(key),
            Due::Stray(key) => self.stray(key),
            Due::ServerOut(key, place) => self.server_out(key, place),
            Due::Condition(place) => self.condition_changes(place),
            Due::Stall(worker) => self.stall(worker),
            Due::Order => {
                self.order();
                for service in 0..self.services.len() {
                    self.check_waiting(service);
                    self.check_ended_holds(service);
                }
            }
            Due::OrderEnds(service) => self.end_maintenance(service),
        }
    }

    /// Until when the worker is stuck that this is for, if it is.
    fn stuck_with(&self, due: Due) -> Option<Instant> {
        let client = match due {
            Due::Arrives(client) => client,
            Due::Wake(key, _)
            | Due::Hedge(key, _)
            | Due::Attempt(key, ..)
            | Due::ClientLeaves(key)
            | Due::Dropped(key)
            | Due::Passed(key)
            | Due::Stray(key)
            | Due::ServerOut(key, _) => key.client,
            Due::Condition(_) | Due::Stall(_) | Due::Order | Due::OrderEnds(_) => return None,
        };
        let until = self.stuck_until[client % self.workers.len()];
        (self.now < until).then_some(until)
    }

    /// A worker does nothing for a while, and some time later again, as long as there are requests.
    fn stall(&mut self, worker: usize) {
        if self.left == 0 {
            return;
        }
        self.totals.stalls += 1;
        self.stuck_until[worker] = self.within(STALL);
        let at = self.within(STALLS_EVERY);
        self.enter(at, Due::Stall(worker));
    }

    pub(crate) fn request(&self, key: RequestKey) -> Option<&Request<'a>> {
        let request = self.requests[key.client].as_deref()?;
        (request.key == key).then_some(request)
    }

    pub(crate) fn request_mut(&mut self, key: RequestKey) -> Option<&mut Request<'a>> {
        let request = self.requests[key.client].as_deref_mut()?;
        (request.key == key).then_some(request)
    }

    /// A client sends its next request.
    fn arrives(&mut self, client: usize) {
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        self.totals.requests += 1;
        let key = RequestKey {
            client,
            number: self.left,
        };
        let (service, facts) = draw_request(&mut self.random, self.services, self.routes, client);
        let route = facts.route.map(|place| &self.routes[place]);
        let policies = policies_of(self.services, route, service);
        let arrived = Arrived {
            policies,
            told: told(&facts, policies),
            class: class_of(&facts, route),
            refused: refusal(&facts, policies)
                .or_else(|| self.rates.take(service, &facts, self.now)),
        };
        let worker = client % self.workers.len();
        let calls = RefCell::default();
        let host = RequestHost {
            worker: &self.workers[worker],
            facts: &facts,
            calls: &calls,
        };
        let arrival = Arrival {
            service,
            route,
            rate: facts.route.and_then(|place| self.limiters[place].as_ref()),
            head: &facts,
            shape: facts.shape(),
            peer: Some(facts.peer),
            is_upgrade: facts.is_upgrade,
            at: self.now,
        };
        let exchange = Exchange::new(&arrival, &host);
        let books = RequestBooks::new(&exchange, self.now, &arrived, &facts);
        self.totals.routed += u64::from(route.is_some());
        let is_limited = matches!(arrived.refused, Some(Cause::RateLimited { .. }));
        self.totals.limited += u64::from(is_limited);
        let woken = Arc::clone(&self.woken);
        self.requests[client] = Some(Box::new(Request {
            key,
            worker,
            exchange,
            facts,
            books,
            sending: None,
            token: 0,
            is_waiting: false,
            is_new: true,
            waker: Waker::from(Arc::new(Alarm { key, woken })),
        }));
        self.enter_chances(key);
        self.tell(key, Event::Woken);
    }

    /// What may happen to a request at any moment.
    fn enter_chances(&mut self, key: RequestKey) {
        if self.one_in(8) {
            let at = self.within(100);
            self.enter(at, Due::ClientLeaves(key));
        }
        if self.one_in(30) {
            let at = self.within(100);
            self.enter(at, Due::Dropped(key));
        }
        if self.one_in(4) {
            let at = self.within(60);
            self.enter(at, Due::Stray(key));
        }
    }

    /// Tells the exchange what has happened, and does what it says until it has to wait.
    pub(crate) fn tell(&mut self, key: RequestKey, event: Event) {
        let Some(mut request) = self.requests[key.client].take_if(|it| it.key == key) else {
            return;
        };
        let mut next = Some(event);
        let mut steps = 0;
        while let Some(event) = next {
            steps += 1;
            assert!(steps < MOST_STEPS, "in circles: {:?}", request.books);
            next = self.step(&mut request, event);
        }
        let service = request.exchange.service_id().0;
        if request.books.end.is_some() {
            self.is_over(request);
        } else {
            self.requests[key.client] = Some(request);
        }
        check_in_flight(&self.servers, service);
        self.check_waiting(service as usize);
        self.check_ended_holds(service as usize);
    }

    /// One step, with the checks that follow from it.
    fn step(&mut self, request: &mut Request<'a>, event: Event) -> Option<Event> {
        self.totals.steps += 1;
        let time = self.now.since(request.books.arrived);
        assert!(time < LONGEST, "it takes for ever: {:?}", request.books);
        request.is_new = false;
        let calls = RefCell::default();
        let mut host = RequestHost {
            worker: &self.workers[request.worker],
            facts: &request.facts,
            calls: &calls,
        };
        let before = WaitingNow::of(self.services);
        let step = request.exchange.next(event, self.now, &mut host);
        let stepped = Stepped {
            now: self.now,
            event,
            step,
            calls: &calls.into_inner(),
            facts: &request.facts,
            exchange: &request.exchange,
            before,
            after: WaitingNow::of(self.services),
        };
        let was_waiting = request.books.is_waiting();
        let was_held = was_waiting && !request.books.is_queued();
        for place in request.books.enter(&stepped, &mut self.books) {
            self.servers[place].in_flight -= 1;
        }
        if request.books.is_waiting() && !was_waiting {
            self.totals.queued += u64::from(request.books.is_queued());
            self.totals.held += u64::from(!request.books.is_queued());
        }
        let service = request.exchange.service_id().0 as usize;
        let has_ended = was_held && self.books[service].holds_ended.is_some();
        self.totals.ended_holds += u64::from(has_ended);
        self.totals.switched_service += u64::from(stepped.calls.left.is_some());
        if let Step::Attempt(server) | Step::Hedge(server, _) = step {
            let is_hedge = matches!(step, Step::Hedge(..));
            let place = self.place_of(service, server, &request.exchange);
            self.servers[place].in_flight += 1;
            let entry =
                request
                    .books
                    .begin_attempt(server, is_hedge, place, &stepped, &mut self.books);
            self.totals.attempts += 1;
            self.totals.hedges += u64::from(is_hedge);
            self.begin_attempt(request, server, is_hedge, (entry, place));
        }
        self.carry_out(request, step)
    }

    /// The place of a server that an exchange knows by its index: it may have another one by now.
    fn place_of(&self, service: usize, server: u32, exchange: &Exchange<'_>) -> usize {
        let state = &exchange.servers().pool().members()[server as usize].state;
        let now = self.places[service][server as usize];
        if Arc::ptr_eq(&self.servers[now].state, state) {
            return now;
        }
        let mut servers = self.servers.iter();
        let place = servers.rposition(|it| Arc::ptr_eq(&it.state, state));
        place.expect("each server has a place")
    }

    fn wake_all(&mut self) {
        loop {
            let woken =
                std::mem::take(&mut *self.woken.lock().unwrap_or_else(PoisonError::into_inner));
            if woken.is_empty() {
                return;
            }
            for key in woken {
                let until = self.stuck_until[key.client % self.workers.len()];
                if self.now < until {
                    let token = self.request(key).map_or(0, |it| it.token);
                    self.enter(until, Due::Wake(key, token));
                } else if self.one_in(4) {
                    let token = self.request(key).map_or(0, |it| it.token);
                    let at = self.within(2);
                    self.enter(at, Due::Wake(key, token));
                } else if self.request(key).is_some_and(|it| it.is_waiting) {
                    self.tell(key, Event::Woken);
                }
            }
        }
    }

    /// The request is over: nothing may bring it back, and its client sends the next one.
    fn is_over(&mut self, mut request: Box<Request<'a>>) {
        match request.books.end {
            Some(End::PassedOn) => self.totals.passed_on += 1,
            Some(End::Replied(reply)) => self.count_reply(reply),
            Some(End::Aborted) | None => self.totals.aborted += 1,
        }
        if self.one_in(20) {
            let event = self.draw_event(&request);
            let calls = RefCell::default();
            let mut host = RequestHost {
                worker: &self.workers[request.worker],
                facts: &request.facts,
                calls: &calls,
            };
            let step = request.exchange.next(event, self.now, &mut host);
            assert_eq!(step, Step::Done, "{event:?} after the end");
            let calls: Calls = calls.into_inner();
            assert!(calls.is_empty(), "{event:?} after the end: {calls:?}");
        }
        self.next_request(request.key.client);
    }

    /// A client that has got its answer, or has not waited for it, sends the next request.
    fn next_request(&mut self, client: usize) {
        let at = self.within(60);
        self.enter(at, Due::Arrives(client));
    }

    fn drop_request(&mut self, key: RequestKey) {
        let Some(request) = self.requests[key.client].take_if(|it| it.key == key) else {
            return;
        };
        self.totals.dropped += 1;
        let before = WaitingNow::of(self.services);
        let is_waiting = i64::from(request.books.is_waiting());
        let service = request.exchange.service_id().0 as usize;
        for place in request.books.dropped() {
            self.servers[place].in_flight -= 1;
            self.books[service].dropped(place);
        }
        drop(request);
        let after = WaitingNow::of(self.services);
        let gone = (before.queued - after.queued) + (before.held - after.held);
        assert_eq!(gone, is_waiting, "it still waits, though nobody does");
        check_in_flight(&self.servers, service as u32);
        self.check_waiting(service);
        self.next_request(key.client);
    }
}
