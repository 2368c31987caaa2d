//! What the fault path orders about a service as a whole: routes are closed but for trials, concurrency limits are found for servers that
//! have more to do than they can, and the servers of the first tier give way to those behind it. What the first means for a request is
//! decided by [`crate::closed`], the others make another [`ServerSet`](super::ServerSet); where nothing is ordered, a request pays one
//! load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use evenkeel_core::metric::Sink;
use evenkeel_core::{Instant, Outcome, RequestShape, ServiceOrders};

use crate::closed::{ClosedRoutes, RouteAdmission, Shown, Trial};

/// What is ordered about one service.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// Whether anything is ordered.
    is_on: AtomicBool,
    closed: ArcSwap<ClosedRoutes>,
    /// Requests that were answered since their route is closed.
    refused: AtomicU64,
    /// By what they have shown.
    trials: [AtomicU64; TRIALS.len()],
    /// What the set of servers follows: [`FINDS_LIMITS`], [`FAILS_OVER`].
    followed: AtomicU8,
    /// While it follows anything: until when, in nanoseconds; else zero.
    followed_until: AtomicU64,
}

/// Limits are found for servers.
const FINDS_LIMITS: u8 = 1;
/// The first tier gives way.
const FAILS_OVER: u8 = 2;

/// What trials have shown, by the words of metrics.
const TRIALS: [&str; 4] = ["answered", "hung", "nothing", "failed"];

impl Orders {
    pub(super) fn set(&self, orders: &ServiceOrders) {
        let closed = self.closed.load().follow(orders);
        self.closed.store(Arc::new(closed));
        self.is_on.store(!orders.is_none(), Ordering::Release);
    }

    /// Whether another set of servers is needed from now on.
    pub(super) fn changes_servers(&self, orders: &ServiceOrders) -> bool {
        let finds_limits = if orders.limits.is_empty() {
            0
        } else {
            FINDS_LIMITS
        };
        let fails_over = if orders.fails_over { FAILS_OVER } else { 0 };
        let follows = finds_limits | fails_over;
        let until = match follows {
            0 => 0,
            _ => orders.until.as_nanos(),
        };
        let before = self.followed.swap(follows, Ordering::AcqRel);
        let held_until = self.followed_until.swap(until, Ordering::AcqRel);
        (before, held_until == 0) != (follows, until == 0)
    }

    /// Whether what the set of servers follows was not renewed in time. Says so once.
    pub(super) fn has_run_out(&self, now: Instant) -> bool {
        let until = self.followed_until.load(Ordering::Acquire);
        let order = Ordering::AcqRel;
        until != 0
            && now.as_nanos() >= until
            && (self.followed_until)
                .compare_exchange(until, 0, order, Ordering::Relaxed)
                .is_ok()
    }

    /// Whether the set of servers follows orders, also if nobody has said yet that their time is over.
    pub(super) fn holds(&self) -> bool {
        self.followed_until.load(Ordering::Acquire) != 0
    }

    /// Whether anything is ordered.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    /// Whether a request of this shape gets to a server; an attempt of it may take as long as `patience`.
    pub(crate) fn entry(
        &self,
        shape: RequestShape,
        now: Instant,
        patience: Duration,
    ) -> RouteAdmission {
        let entry = self.closed.load().entry(shape, now, patience);
        if matches!(entry, RouteAdmission::Refused(_)) {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        entry
    }

    /// A trial has ended.
    pub(crate) fn trial_ended(&self, trial: Trial, outcome: Outcome, now: Instant) {
        let place = match trial.ended(outcome, now) {
            Shown::Answered => 0,
            Shown::Hung => 1,
            Shown::Nothing => 2,
            Shown::Failed => 3,
        };
        self.trials[place].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn collect(&self, sink: &mut dyn Sink, service: &str, now: Instant) {
        let labels = [("service", service)];
        let about = "Whether bounds are found for servers without a configured one, since more comes than they can do.";
        let holds = self.followed_until.load(Ordering::Relaxed) > now.as_nanos();
        let follows = if holds {
            self.followed.load(Ordering::Relaxed)
        } else {
            0
        };
        let is = |what| f64::from(u8::from(follows & what != 0));
        sink.gauge("evenkeel_limits_found", about, &labels, is(FINDS_LIMITS));
        let about =
            "Whether the servers of the first tier give way to those behind it, since they fail.";
        sink.gauge("evenkeel_failed_over", about, &labels, is(FAILS_OVER));
        let about =
            "Routes that are closed but for trials: they hang on all servers, or are answered for.";
        let number = self.closed.load().count(now);
        sink.gauge("evenkeel_routes_closed", about, &labels, number as f64);
        let about = "Requests that no server got, since their route is closed.";
        let value = self.refused.load(Ordering::Relaxed);
        sink.counter("evenkeel_route_refused_total", about, &labels, value);
        for (word, trials) in TRIALS.iter().zip(&self.trials) {
            let labels = [("service", service), ("outcome", *word)];
            let about = "Requests of closed routes that servers got, to see how they end.";
            let value = trials.load(Ordering::Relaxed);
            sink.counter("evenkeel_route_trials_total", about, &labels, value);
        }
    }
}
