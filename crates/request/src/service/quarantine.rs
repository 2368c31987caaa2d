//! Requests that crash servers: those in quarantine are not sent to one, and what became of the attempts of those that
//! are watched is reported. Which they are is [`crate::quarantine`]'s to say; where nothing is ordered, a request pays
//! one load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use evenkeel_core::metric::{Counter, Sink};
use evenkeel_core::{Directive, EjectionReason, ExactShape, Instant, ShapeOrders};

use super::unsettled::UnsettledBreaks;
use crate::quarantine::{Quarantine, Treatment};

/// What is ordered about the requests of one service.
#[derive(Debug, Default)]
pub(crate) struct QuarantineGate {
    /// Whether anything is.
    is_on: AtomicBool,
    orders: ArcSwap<Quarantine>,
    /// Requests that no server got.
    refused: AtomicU64,
    /// What broke a moment ago, and may be ordered about soon.
    pub(crate) unsettled: UnsettledBreaks,
    /// Requests that were held back for it.
    pub(crate) held_back: Counter,
}

impl QuarantineGate {
    pub(super) fn set(&self, orders: &ShapeOrders) {
        let orders = Quarantine::new(orders);
        let is_on = !orders.is_empty();
        self.orders.store(Arc::new(orders));
        self.is_on.store(is_on, Ordering::Release);
    }

    /// A directive about a server was applied.
    pub(super) fn apply(&self, directive: &Directive, now: Instant) {
        if let Directive::Eject {
            server,
            verdict: EjectionReason::Known,
            ..
        } = directive
        {
            self.unsettled.ended(server.index, now);
        }
    }

    /// Whether anything is ordered.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    /// What is done with a request of this shape.
    pub(crate) fn treatment(&self, shape: ExactShape, now: Instant) -> Treatment {
        let treatment = self.orders.load().treatment(shape, now);
        if matches!(treatment, Treatment::Refused(_)) {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        treatment
    }

    /// Whether no server may get a request of this shape any more. One that is under way is not counted.
    pub(crate) fn refuses(&self, shape: ExactShape, now: Instant) -> bool {
        let treatment = self.orders.load().treatment(shape, now);
        matches!(treatment, Treatment::Refused(_))
    }

    pub(super) fn collect(&self, sink: &mut dyn Sink, service: &str, now: Instant) {
        let labels = [("service", service)];
        let about = "Kinds of requests in quarantine, since they bring servers down.";
        let number = self.orders.load().refuses(now);
        sink.gauge("evenkeel_quarantined", about, &labels, number as f64);
        let about = "Requests that no server got, since such requests bring servers down.";
        let value = self.refused.load(Ordering::Relaxed);
        sink.counter("evenkeel_quarantine_refused_total", about, &labels, value);
        let about =
            "Requests that were held back until it was known whether they had ended two servers.";
        let value = self.held_back.value();
        sink.counter("evenkeel_quarantine_held_total", about, &labels, value);
    }
}
