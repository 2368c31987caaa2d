//! What must hold when an attempt begins: there is time, it may be made, and its server takes it.

use evenkeel_balance::{Availability, PickReason};
use evenkeel_core::{EjectionReason, ServerId};
use evenkeel_request::Exchange;
use evenkeel_request::exchange::REMEMBERED;
use evenkeel_tolerate::ShedOptions;

use super::{AttemptEntry, RequestBooks, ServiceBooks, Stepped};

impl RequestBooks {
    /// An attempt begins: all that must hold then. Its place in the books.
    pub(crate) fn begin_attempt(
        &mut self,
        server: u32,
        is_hedge: bool,
        place: usize,
        stepped: &Stepped<'_, '_>,
        services: &mut [ServiceBooks],
    ) -> usize {
        let (now, exchange) = (stepped.now, stepped.exchange);
        let id = exchange.service_id();
        let service = &mut services[id.0 as usize];
        assert_eq!(id, self.visit.service);
        assert!(now < self.visit.deadline, "after the deadline: {self:?}");
        assert!(
            now >= self.visit.not_before,
            "before the time that was asked for"
        );
        assert!(!self.has_client_gone, "nobody waits for it");
        assert!(!self.is_passing && self.end.is_none());
        assert!(!stepped.facts.is_lost, "its body is not there any more");
        assert!(
            !self.was_seen() || self.visit.policies_repeat,
            "it may not be sent again: {self:?}"
        );
        let shape = stepped.facts.exact_shape();
        assert!(!service.is_quarantined(shape, now), "it is in quarantine");
        let is_first = self.attempts.len() == self.visit.first;
        if let Some(since) = service.maintenance_since {
            // Those under way go on.
            assert!(!is_first || self.visit.began <= since, "in maintenance");
        }
        let selected = stepped
            .calls
            .selected
            .last()
            .expect("a server was selected");
        assert_eq!(selected.0.index, server);
        assert_eq!(
            stepped.calls.selected.len(),
            1,
            "one server for one attempt"
        );
        self.check_server(server, selected.1.reason, stepped);
        self.check_again(server, selected.1.reason);
        assert_eq!(self.refused, None, "it was refused");
        if is_hedge {
            self.check_hedge(server, stepped);
            service.pays_hedge(now);
        } else {
            assert!(self.under_way().next().is_none(), "two first attempts");
            self.check_number(exchange);
            self.check_class(stepped);
            service.check_orders(exchange.service(), id, now);
            service.begin_attempt(stepped.facts.shape(), place, now);
        }
        self.attempts.push(AttemptEntry {
            server: ServerId {
                service: id,
                index: server,
            },
            place,
            is_hedge,
            generation: exchange.servers().generation(server),
            outcome: None,
            is_sent: false,
            is_reported: false,
            is_counted: false,
        });
        self.attempts.len() - 1
    }

    /// No attempt goes to a server that takes none, or more than it takes.
    fn check_server(&self, server: u32, reason: PickReason, stepped: &Stepped<'_, '_>) {
        let pool = stepped.exchange.servers().pool();
        let member = &pool.members()[server as usize];
        let now = stepped.now;
        match member.state.standing(now) {
            Availability::InService
            | Availability::Trial
            | Availability::Relieved
            | Availability::Warming => {}
            Availability::Ejected {
                verdict: EjectionReason::Suspected | EjectionReason::Hung,
            } => {
                let part = pool.in_service(now) as f64 / pool.members().len() as f64;
                let least = pool.options().panic_below;
                assert!(
                    part < least,
                    "{server} is ejected, and {part} serve: {reason:?}"
                );
            }
            standing => panic!("{server} is {standing:?}: {reason:?}"),
        }
        if let Some(bound) = member.bound() {
            let in_flight = member.state.in_flight();
            assert!(
                in_flight <= bound,
                "{in_flight} on {server}, at most {bound}"
            );
        }
        assert!(stepped.exchange.servers().address(server).is_some());
    }

    /// A server that was tried is asked again only if all were.
    fn check_again(&self, server: u32, reason: PickReason) {
        let attempts = &self.attempts[self.visit.first..];
        let is_remembered = attempts.len() <= REMEMBERED;
        let is_again = attempts.iter().any(|one| one.server.index == server);
        assert!(
            !(is_again && is_remembered)
                || matches!(reason, PickReason::Again | PickReason::Overflow),
            "{server} is asked again: {reason:?}"
        );
    }

    /// Whoever has not waited for its turn takes no place that its class may not have.
    fn check_class(&self, stepped: &Stepped<'_, '_>) {
        let (used, bounds) = stepped.exchange.servers().pool().used(stepped.now);
        let (before, shares) = (used.saturating_sub(1), ShedOptions::default());
        // Where none is in service, none has a share.
        if let Some(bounds) = bounds.filter(|bounds| *bounds > 0)
            && shares.share(self.class) < 1.0
            && !self.was_queued
            && !stepped.exchange.service().takes_up_burst()
        {
            assert!(
                shares.admits(self.class, before, bounds),
                "{:?} takes one of {bounds}, {before} in use",
                self.class
            );
        }
    }

    fn check_hedge(&self, server: u32, stepped: &Stepped<'_, '_>) {
        let hedge = stepped.exchange.policies().hedge.expect("it hedges");
        assert!(self.visit.policies_repeat && !stepped.facts.is_upgrade);
        assert!(stepped.facts.is_sent, "not all of it was sent");
        let attempts = &self.attempts[self.visit.first..];
        let hedges = attempts.iter().filter(|one| one.is_hedge).count();
        assert!(hedges < hedge.limit as usize, "too many hedges");
        // More are not remembered.
        let mut all = attempts.iter().rev().take(REMEMBERED);
        assert!(
            all.all(|one| one.server.index != server),
            "a hedge on a server that was asked: {server}, {self:?}"
        );
    }

    /// Each attempt but the first follows a retry that was granted, or a wait for a server to come back.
    fn check_number(&self, exchange: &Exchange<'_>) {
        let attempts = &self.attempts[self.visit.first..];
        let first = attempts.iter().filter(|one| !one.is_hedge).count() as u32;
        let seen = |one: &&AttemptEntry| one.outcome.is_none_or(|outcome| !outcome.is_unsent());
        let seen = attempts
            .iter()
            .filter(|one| !one.is_hedge)
            .filter(seen)
            .count() as u32;
        let limit = exchange.policies().retry.limit;
        if crate::plan::held_at_most(self.visit.service) > 0 {
            assert!(seen <= 2 * limit + 1, "{seen} servers have seen it");
        } else {
            assert!(first <= self.visit.retries, "nobody has granted it");
        }
    }
}
