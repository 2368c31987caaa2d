//! What the fault path and people order in the simulation, at random: directives about servers, maintenance, quarantine, closed routes,
//! limits for an overload; and what happens to servers without anybody's order.

use std::time::Duration;

use evenkeel_core::blame::{EndEvent as Blamed, Peer};
use evenkeel_core::{
    ClosedRoute, Directive, EjectionReason, Instant, LimitHint, RequestShape, ServerId, ServiceId,
    ServiceOrders, ShapeOrders,
};
use evenkeel_request::service::Joined;

use crate::clients::{METHODS, TARGETS, draw_request};
use crate::plan::held_at_most;
use crate::servers::{Condition, Happening};
use crate::world::{Due, World};

impl World<'_> {
    /// One order, and later the next one.
    pub(crate) fn order(&mut self) {
        let service = self.random.below(self.services.len());
        match self.random.below(29) {
            0..8 => self.eject(service),
            8..14 => self.bring_back(service),
            14 => self.outage(service),
            15 => self.outage_where_held(),
            16 => self.drain(service),
            17 => self.begin_maintenance(service),
            18..21 => self.order_shapes(service),
            21..23 => self.order_routes(service),
            23..25 => self.end_holds(),
            25 => self.end_repair(service),
            _ => self.change_servers(service),
        }
        if self.left > 0 {
            let at = self.within(30);
            self.enter(at, Due::Order);
        }
    }

    fn draw_server(&mut self, service: usize) -> ServerId {
        let index = self.random.below(self.places[service].len());
        ServerId::new(service as u32, index as u32)
    }

    fn apply(&self, directive: &Directive) {
        let service = directive.server().service.0 as usize;
        self.services[service].apply(directive, self.now);
    }

    fn eject(&mut self, service: usize) {
        let mut server = self.draw_server(service);
        let mut verdict = [
            EjectionReason::Suspected,
            EjectionReason::Hung,
            EjectionReason::Known,
        ][self.random.below(3)];
        for index in 0..self.places[service].len() {
            let place = self.places[service][index];
            let found = match self.servers[place].condition {
                Condition::Hangs | Condition::Unreachable => EjectionReason::Hung,
                Condition::Refuses => EjectionReason::Known,
                _ => continue,
            };
            if self.one_in(3) {
                server = ServerId::new(service as u32, index as u32);
                verdict = found;
            }
        }
        let until = self.within(1_200);
        self.take_out(server, verdict, until);
        if self.one_in(2) {
            self.repair(server, 1_500);
        }
    }

    /// A server is being repaired for so many milliseconds at most. Renewed it lasts longer, never shorter, unless it ends now.
    fn repair(&mut self, server: ServerId, millis: usize) {
        let mut until = self.within(millis);
        let place = self.places[server.service.0 as usize][server.index as usize];
        let known = &mut self.servers[place].repaired_until;
        until = until.max(*known);
        *known = until;
        self.apply(&Directive::Repair { server, until });
    }

    fn end_repair(&mut self, service: usize) {
        let (server, until) = (self.draw_server(service), self.now);
        let place = self.places[service][server.index as usize];
        self.servers[place].repaired_until = until;
        self.apply(&Directive::Repair { server, until });
    }

    /// Takes a server out until then. Renewed it lasts longer, never shorter.
    fn take_out(&mut self, server: ServerId, verdict: EjectionReason, until: Instant) {
        let place = self.places[server.service.0 as usize][server.index as usize];
        let known = &mut self.servers[place].out_until;
        let until = until.max(*known);
        *known = until;
        self.apply(&Directive::Eject {
            server,
            verdict,
            until,
        });
        if verdict != EjectionReason::Suspected {
            self.apply(&Directive::Rescue { server });
            self.rescue(server);
        }
    }

    /// Who waits on the server hears of it.
    fn rescue(&mut self, server: ServerId) {
        let place = self.places[server.service.0 as usize][server.index as usize];
        let mut keys = Vec::new();
        for request in self.requests.iter().flatten() {
            let mut sending = request.sending.iter();
            if sending.any(|it| it.first.place == place) {
                keys.push(request.key);
            }
        }
        for key in keys {
            let at = self.within(3);
            self.enter(at, Due::ServerOut(key, place));
        }
    }

    fn bring_back(&mut self, service: usize) {
        let server = self.draw_server(service);
        let directive = if self.one_in(3) {
            let until = self.within(800);
            Directive::Trial {
                server,
                share: 0.2,
                until,
            }
        } else {
            let slowly = self.one_in(2);
            Directive::Restore { server, slowly }
        };
        self.apply(&directive);
    }

    /// All servers of a service are gone for a while, and most are repaired.
    fn outage(&mut self, service: usize) {
        let until = self.within(1_500);
        for index in 0..self.places[service].len() {
            let server = ServerId::new(service as u32, index as u32);
            let place = self.places[service][index];
            self.take_out(server, EjectionReason::Known, until);
            self.set_condition(place, Condition::Refuses);
            if !self.one_in(5) {
                self.repair(server, 1_000);
            }
        }
    }

    /// The same, of a service whose requests are held then.
    fn outage_where_held(&mut self) {
        let all = (0..self.services.len()).filter(|id| held_at_most(ServiceId(*id as u32)) > 0);
        let all: Vec<usize> = all.collect();
        let at = self.random.below(all.len());
        self.outage(all[at]);
    }

    fn drain(&mut self, service: usize) {
        let server = self.draw_server(service);
        self.apply(&Directive::Drain { server });
    }

    fn begin_maintenance(&mut self, service: usize) {
        if self.books[service].maintenance_since.is_none() {
            self.services[service].set_maintenance(true);
            self.books[service].maintenance_since = Some(self.now);
            let at = self.within(400);
            self.enter(at, Due::OrderEnds(service));
        }
    }

    pub(crate) fn end_maintenance(&mut self, service: usize) {
        self.services[service].set_maintenance(false);
        self.books[service].maintenance_since = None;
    }

    /// As when evenkeel is about to end: nobody waits any longer for a server to come back. For the last requests only, and where some wait.
    fn end_holds(&mut self) {
        let held = self.services.iter().position(|service| service.held() > 0);
        let Some(service) = held.filter(|_| self.left < self.holds_until) else {
            return;
        };
        self.services[service].end_holds();
        self.books[service].holds_ended.get_or_insert(self.now);
    }

    /// Some requests are in quarantine, others are watched.
    fn order_shapes(&mut self, service: usize) {
        let mut hash = || {
            let (_, facts) = draw_request(&mut self.random, self.services, self.routes, 0);
            facts.exact_shape().path
        };
        let hashes = [hash(), hash(), hash(), hash()];
        let (one, other) = (self.within(1_500), self.within(1_500));
        let orders = ShapeOrders {
            service: ServiceId(service as u32),
            refused: vec![(hashes[0], one), (hashes[1], other)],
            watched: hashes[2..].to_vec(),
            until: self.within(2_500),
        };
        self.services[service].set_shapes(&orders);
        self.books[service].set_shapes(orders);
    }

    /// Routes are closed, limits are found, the first tier gives way; or nothing of that any more.
    fn order_routes(&mut self, service: usize) {
        let id = ServiceId(service as u32);
        let mut orders = ServiceOrders::none(id);
        orders.until = self.within(3_000);
        let method = METHODS[self.random.below(METHODS.len())];
        let target = TARGETS[self.random.below(TARGETS.len())];
        let shape = RequestShape::of(method.as_bytes(), target.as_bytes());
        match self.random.below(7) {
            0 | 1 => orders.closed.push(ClosedRoute::Route(shape.route)),
            2 => orders.closed.push(ClosedRoute::Method(shape.method)),
            3 => orders.closed.push(ClosedRoute::All),
            4 => orders.fails_over = true,
            5 => {
                let hint = LimitHint {
                    initial: 3,
                    usual: Duration::from_millis(20),
                };
                orders.limits = vec![hint; self.places[service].len()];
            }
            _ => {}
        }
        orders.until_success = self.one_in(2);
        self.services[service].set_orders(&orders, self.now);
        self.books[service].set_orders(orders);
    }

    /// DNS says that another server is in the place of one, or none.
    fn change_servers(&mut self, service: usize) {
        let server = self.draw_server(service);
        let index = server.index as usize;
        let port = 1_000 + self.random.below(60_000) as u16;
        let joined = (!self.one_in(3)).then_some(Joined {
            address: ([10, 2, service as u8, index as u8], port).into(),
            weight: 1 + self.random.below(3) as u32,
            tier: u8::from(self.one_in(4)),
        });
        let shared = &self.services[service];
        shared.change(&[(server.index, joined)], self.now);
        let set = shared.servers();
        let state = &set.pool().members()[index].state;
        let place = self.places[service][index];
        if !std::sync::Arc::ptr_eq(&self.servers[place].state, state) {
            self.places[service][index] = self.add_server(service as u32, state);
        }
    }

    /// A server does better or worse from now on.
    pub(crate) fn condition_changes(&mut self, place: usize) {
        let condition = Condition::draw(&mut self.random);
        self.set_condition(place, condition);
        if self.left > 0 {
            let pause = Duration::from_millis(300 + self.random.below(2_500) as u64);
            self.enter(self.now + pause, Due::Condition(place));
        }
    }

    fn set_condition(&mut self, place: usize, condition: Condition) {
        self.servers[place].condition = condition;
        if condition != Condition::Refuses {
            return;
        }
        // It has died, and with it its connections.
        let mut deaths = Vec::new();
        for request in self.requests.iter().flatten() {
            let sending = request.sending.iter();
            let attempts = sending.flat_map(|it| it.hedges.iter().chain([&it.first]));
            let on_it = attempts.filter(|attempt| attempt.place == place);
            deaths.extend(on_it.map(|attempt| (request.key, attempt.number)));
        }
        for (key, number) in deaths {
            let at = self.within(3);
            let happening = Happening::Ended(Blamed::Closed(Peer::Server));
            self.enter(at, Due::Attempt(key, number, happening));
        }
    }
}
