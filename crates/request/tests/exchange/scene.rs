//! A few requests of one worker, told what happens one after the other: for what the simulation meets too seldom, or cannot tell apart.

use std::cell::RefCell;
use std::task::Waker;
use std::time::Duration;

use evenkeel_balance::ServerState;
use evenkeel_core::{
    Directive, EjectionReason, Instant, Outcome, Random, ServerId, ServiceId, ShapeOrders,
};
use evenkeel_request::Exchange;
use evenkeel_request::exchange::{Arrival, AttemptEnd, Event, ResponseEnd, Step};
use evenkeel_request::service::{Service, ServiceOptions};

use crate::host::{Facts, RequestHost, Worker};
use crate::plan;

pub(crate) const MS: Duration = Duration::from_millis(1);

/// A request, and what it does now.
pub(crate) struct Caller<'a> {
    pub(crate) exchange: Exchange<'a>,
    pub(crate) facts: Facts,
    pub(crate) step: Step,
}

/// Some services and one worker.
pub(crate) struct Scene<'a> {
    pub(crate) services: &'a [Service],
    pub(crate) worker: Worker<'a>,
    pub(crate) now: Instant,
}

/// Services with these options, which get the names and places of the first of the simulation.
pub(crate) fn services(all: Vec<ServiceOptions>) -> Vec<Service> {
    let mut random = Random::seeded(1);
    let named = all.into_iter().zip(plan::NAMES).zip(0..);
    let made = named.map(|((mut options, name), place)| {
        options.name = name.to_owned();
        options.policies.place = place;
        Service::new(options, Instant::ZERO, &mut random)
    });
    made.collect()
}

/// A plain service of so many servers, each with this limit; 0: none.
pub(crate) fn plain(servers: usize, limit: u32) -> ServiceOptions {
    let mut options = plan::options(0, "plain");
    options.servers.truncate(servers);
    (options.servers.iter_mut()).for_each(|server| server.max_requests = limit);
    options
}

impl<'a> Scene<'a> {
    pub(crate) fn new(services: &'a [Service]) -> Self {
        let policies: Vec<_> = services.iter().map(Service::policies).collect();
        Self {
            services,
            worker: Worker::new(services, &policies, &mut Random::seeded(2)),
            now: Instant::from_millis(1_000),
        }
    }

    /// A GET comes to the first service.
    pub(crate) fn arrive(&self) -> Caller<'a> {
        self.arrive_with(0, &[])
    }

    /// A GET comes to a service, with these fields.
    pub(crate) fn arrive_with(&self, service: u32, fields: &[(&'static str, &str)]) -> Caller<'a> {
        self.arrive_as(service, "/", fields)
    }

    /// A GET of this target comes to the first service.
    pub(crate) fn arrive_to(&self, target: &str) -> Caller<'a> {
        self.arrive_as(0, target, &[])
    }

    fn arrive_as(&self, service: u32, target: &str, fields: &[(&'static str, &str)]) -> Caller<'a> {
        let fields = fields
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        let facts = Facts {
            route: None,
            method: "GET",
            target: target.to_owned(),
            fields: fields.collect(),
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
            service: ServiceId(service),
            route: None,
            rate: None,
            head: &facts,
            shape: facts.shape(),
            peer: Some(facts.peer),
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

    pub(crate) fn tell(&self, caller: &mut Caller<'a>, event: Event) {
        let calls = RefCell::default();
        let mut host = RequestHost {
            worker: &self.worker,
            facts: &caller.facts,
            calls: &calls,
        };
        caller.step = caller.exchange.next(event, self.now, &mut host);
    }

    /// Its attempt ends so, after a millisecond.
    pub(crate) fn ends(&self, caller: &mut Caller<'a>, outcome: Outcome) {
        self.tell(caller, Event::Ended(AttemptEnd::failed(outcome, MS)));
    }

    /// Its attempt is answered, and the response passed on.
    pub(crate) fn answer(&self, caller: &mut Caller<'a>) {
        self.ends(caller, Outcome::Answered(200));
        let end = ResponseEnd {
            outcome: Outcome::Answered(200),
            broke_off: None,
            is_tunnel: false,
        };
        self.tell(caller, Event::Passed(end));
        assert_eq!(caller.step, Step::Done);
    }

    /// Until the first of these makes an attempt, for so long at most: each hears of its turn, or of its time. How long that took.
    pub(crate) fn run(
        &mut self,
        callers: &mut [&mut Caller<'a>],
        most: Duration,
    ) -> Option<Duration> {
        let began = self.now;
        while self.now < began + most {
            for caller in callers.iter_mut() {
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

    pub(crate) fn apply(&self, directive: &Directive) {
        let service = directive.server().service.0 as usize;
        self.services[service].apply(directive, self.now);
    }

    /// A server is known to be down, for as long as nothing else is said.
    pub(crate) fn eject(&self, service: u32, server: u32) {
        self.apply(&Directive::Eject {
            server: ServerId::new(service, server),
            verdict: EjectionReason::Known,
            until: Instant::NEVER,
        });
    }

    /// Such requests are in quarantine from now on.
    pub(crate) fn quarantine(&self, like: &Caller<'_>) {
        let until = Instant::NEVER;
        self.services[0].set_shapes(&ShapeOrders {
            service: ServiceId(0),
            refused: vec![(like.facts.exact_shape().path, until)],
            watched: Vec::new(),
            until,
        });
    }

    /// The state of a server of the first service.
    pub(crate) fn server(&self, index: usize) -> std::sync::Arc<ServerState> {
        let set = self.services[0].servers();
        std::sync::Arc::clone(&set.pool().members()[index].state)
    }
}
