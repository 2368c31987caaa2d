//! What must hold of one service, whatever happens to its requests: who may reach its servers, and what its retries have cost.

use evenkeel_core::{
    ClosedRoute, ExactShape, Instant, Outcome, RequestShape, ServiceId, ServiceOrders, ShapeOrders,
};
use evenkeel_request::service::Service;
use evenkeel_tolerate::BudgetOptions;

use crate::plan;

/// Trials of a closed route at once, before one was answered.
const TRIALS: usize = 4;

/// The books of one service.
#[derive(Debug)]
pub(crate) struct ServiceBooks {
    budget: BudgetOptions,
    /// What is there of the budget at most, and up to when its floor is paid: attempts that may have been free are not counted.
    tokens: f64,
    paid_until: Instant,
    pub(crate) maintenance_since: Option<Instant>,
    /// Since when no request waits for a server to come back.
    pub(crate) holds_ended: Option<Instant>,
    shapes: Option<ShapeOrders>,
    orders: Option<ServiceOrders>,
    /// While a route is closed: attempts of it that began since, by their places.
    trials: Vec<usize>,
    /// A trial was answered, so that more get through.
    is_opening: bool,
}

impl ServiceBooks {
    pub(crate) fn new(service: &Service) -> Self {
        let budget = service.policies().retry.budget;
        Self {
            budget,
            tokens: budget.burst,
            paid_until: Instant::ZERO,
            maintenance_since: None,
            holds_ended: None,
            shapes: None,
            orders: None,
            trials: Vec::new(),
            is_opening: false,
        }
    }

    pub(crate) fn set_shapes(&mut self, orders: ShapeOrders) {
        self.shapes = Some(orders);
    }

    pub(crate) fn set_orders(&mut self, orders: ServiceOrders) {
        // What was shown of a route that stays closed is kept.
        let before = self.orders.as_ref().map_or(&[][..], |it| &it.closed);
        if orders.closed.iter().any(|route| !before.contains(route)) {
            self.trials.clear();
            self.is_opening = before.iter().any(|it| orders.closed.contains(it));
        }
        self.orders = Some(orders);
    }

    /// Whether no server may get a request of this shape.
    pub(crate) fn is_quarantined(&self, shape: ExactShape, now: Instant) -> bool {
        self.shapes.as_ref().is_some_and(|orders| {
            let mut refused = orders.refused.iter();
            now < orders.until
                && refused.any(|(hash, until)| {
                    (*hash == shape.path || *hash == shape.target) && now < *until
                })
        })
    }

    /// Whether only trials may get to a server.
    pub(crate) fn is_closed(&self, shape: RequestShape, now: Instant) -> bool {
        self.orders.as_ref().is_some_and(|orders| {
            let mut closed = orders.closed.iter();
            now < orders.until && closed.any(|route: &ClosedRoute| route.covers(shape))
        })
    }

    pub(crate) fn begin_attempt(&mut self, shape: RequestShape, place: usize, now: Instant) {
        if self.is_closed(shape, now) {
            self.trials.push(place);
            let routes = self.orders.as_ref().map_or(0, |orders| orders.closed.len());
            assert!(
                self.is_opening || self.trials.len() <= TRIALS * routes,
                "too many trials of a closed route"
            );
        }
    }

    /// What was ordered about servers and not renewed has ended by the time that a request goes to one.
    pub(super) fn check_orders(&self, service: &Service, id: ServiceId, now: Instant) {
        let is_over = self
            .orders
            .as_ref()
            .is_none_or(|orders| now >= orders.until);
        let set = service.servers();
        let has_limits = (0..)
            .zip(set.pool().members())
            .any(|(index, _)| set.limit(index).is_some());
        let is_found = has_limits && !plan::finds_limits(id);
        assert!(
            !is_over || !(set.pool().fails_over() || is_found),
            "orders that are over still hold"
        );
    }

    /// An attempt's end was reported.
    pub(crate) fn attempt_ended(&mut self, place: usize, outcome: Outcome) {
        if outcome.is_success() && self.tokens < self.budget.burst {
            self.tokens += self.budget.ratio;
        }
        if let Some(at) = self.trials.iter().position(|trial| *trial == place) {
            self.trials.swap_remove(at);
            self.is_opening |= matches!(outcome, Outcome::Answered(_));
        }
    }

    /// An attempt was abandoned with its request.
    pub(crate) fn dropped(&mut self, place: usize) {
        if let Some(at) = self.trials.iter().position(|trial| *trial == place) {
            self.trials.swap_remove(at);
        }
    }

    /// A retry that was not free.
    pub(crate) fn pays_retry(&mut self, now: Instant) {
        self.pays(1.0, now);
    }

    /// A hedged attempt: it leaves half of the budget to retries.
    pub(crate) fn pays_hedge(&mut self, now: Instant) {
        self.pays((self.budget.burst / 2.0).max(1.0), now);
    }

    /// Never more is spent than is there, and only while so much is.
    fn pays(&mut self, least: f64, now: Instant) {
        let BudgetOptions {
            floor_per_second,
            burst,
            ..
        } = self.budget;
        let elapsed = now.since(self.paid_until).as_secs_f64();
        self.paid_until = now;
        let there = floor_per_second.mul_add(elapsed, self.tokens).min(burst);
        assert!(there + 1e-3 >= least, "{there} is there, {least} is needed");
        self.tokens = there - 1.0;
    }
}
