//! What must hold of one service, whatever happens to its requests: who may reach its servers, and what its retries have cost.

use evenkeel_core::{
    ClosedRoute, ExactShape, Instant, Outcome, RequestShape, ServiceOrders, ShapeOrders,
};
use evenkeel_request::service::Service;
use evenkeel_tolerate::BudgetOptions;

/// Trials of a closed route at once, before one was answered.
const TRIALS: usize = 4;

/// The books of one service.
#[derive(Debug)]
pub(crate) struct ServiceBooks {
    budget: BudgetOptions,
    successes: u64,
    /// Retries and hedged attempts that cannot have been free.
    paid: u64,
    pub(crate) maintenance_since: Option<Instant>,
    shapes: Option<ShapeOrders>,
    orders: Option<ServiceOrders>,
    /// While a route is closed: attempts of it that began since, by their places.
    trials: Vec<usize>,
    /// A trial was answered, so that more get through.
    is_opening: bool,
}

impl ServiceBooks {
    pub(crate) fn new(service: &Service) -> Self {
        Self {
            budget: service.policies().retry.budget,
            successes: 0,
            paid: 0,
            maintenance_since: None,
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

    /// An attempt's end was reported.
    pub(crate) fn attempt_ended(&mut self, place: usize, outcome: Outcome, now: Instant) {
        self.successes += u64::from(outcome.is_success());
        if let Some(at) = self.trials.iter().position(|trial| *trial == place) {
            self.trials.swap_remove(at);
            self.is_opening |= matches!(outcome, Outcome::Answered(_));
        }
        self.check_budget(now);
    }

    /// An attempt was abandoned with its request.
    pub(crate) fn dropped(&mut self, place: usize) {
        if let Some(at) = self.trials.iter().position(|trial| *trial == place) {
            self.trials.swap_remove(at);
        }
    }

    /// A retry or a hedged attempt that was not free.
    pub(crate) const fn paid(&mut self) {
        self.paid += 1;
    }

    /// Never more was spent than was there, or earned.
    fn check_budget(&self, now: Instant) {
        let budget = self.budget;
        let time = now.since(Instant::ZERO).as_secs_f64();
        let earned = budget.ratio.mul_add(
            self.successes as f64,
            budget.floor_per_second.mul_add(time, budget.burst),
        );
        assert!(
            self.paid as f64 <= earned + 1.0,
            "{} retries were paid with {earned}",
            self.paid
        );
    }
}
