//! Requests that bring servers down: those in quarantine are not sent to one, and of those that are watched it is told what became of
//! their attempts. Which they are is [`evenkeel_request::quarantine`]'s to say; where nothing is ordered, a request pays one load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use evenkeel_core::metric::Sink;
use evenkeel_core::{
    ExactShape, ExactText, Exposed, Exposure, Instant, Outcome, ServerId, ShapeOrders,
};
use evenkeel_request::Cause;
use evenkeel_request::quarantine::{Quarantine, Treatment};

use crate::drive::Journey;
use crate::state::ProxyState;

/// What is ordered about the requests of one service.
#[derive(Debug, Default)]
pub(crate) struct QuarantineGate {
    /// Whether anything is.
    is_on: AtomicBool,
    orders: ArcSwap<Quarantine>,
    /// Requests that no server got.
    refused: AtomicU64,
}

impl QuarantineGate {
    fn set(&self, orders: &ShapeOrders) {
        let orders = Quarantine::new(orders);
        let is_on = !orders.is_empty();
        self.orders.store(Arc::new(orders));
        self.is_on.store(is_on, Ordering::Release);
    }

    fn collect(&self, sink: &mut dyn Sink, service: &str, now: Instant) {
        let labels = [("service", service)];
        let about = "Kinds of requests in quarantine, since they bring servers down.";
        let number = self.orders.load().refuses(now);
        sink.gauge("evenkeel_quarantined", about, &labels, number as f64);
        let about = "Requests that no server got, since such requests bring servers down.";
        let value = self.refused.load(Ordering::Relaxed);
        sink.counter("evenkeel_quarantine_refused_total", about, &labels, value);
    }
}

impl ProxyState {
    /// Keeps certain requests of a service from its servers, and has others told of. Replaces what was ordered before.
    pub fn set_shapes(&self, orders: &ShapeOrders) {
        if let Some(service) = self.services().get(orders.service.0 as usize) {
            service.quarantine.set(orders);
        }
    }

    /// Exactly what the request with this head asks for. Nobody outside knows the key of the hashes.
    #[must_use]
    pub fn exact_shape(&self, head: &[u8]) -> ExactShape {
        ExactShape::of_head(&self.shape_keys, head)
    }

    pub(crate) fn collect_quarantine(&self, sink: &mut dyn Sink) {
        let now = self.now();
        for service in self.services() {
            service.quarantine.collect(sink, service.name(), now);
            service.ordered.collect(sink, service.name(), now);
        }
    }
}

impl Journey<'_> {
    /// Whether a server may get the request with this head. Asked before each attempt: what is under way when a quarantine begins
    /// is not tried again.
    ///
    /// # Errors
    /// Why none may.
    pub(crate) fn quarantined(&mut self, head: &[u8], now: Instant) -> Result<(), Cause> {
        self.watched = None;
        let gate = &self.service.quarantine;
        if !gate.is_on.load(Ordering::Acquire) {
            return Ok(());
        }
        let shape = self.worker.state.exact_shape(head);
        match gate.orders.load().treatment(shape, now) {
            Treatment::Usual => {}
            Treatment::Watched => self.watched = Some(Box::new(shape)),
            Treatment::Refused(cause) => {
                gate.refused.fetch_add(1, Ordering::Relaxed);
                return Err(cause);
            }
        }
        Ok(())
    }

    /// An attempt begins: tells of it if the request is watched.
    pub(crate) fn tell_began(&self, server: ServerId, at: Instant) {
        if let Some(shape) = self.watched.as_deref() {
            self.expose(at, server, *shape, Exposed::Began);
        }
    }

    /// An attempt that began at `begun` has ended so. Says what the request is called if it failed, and tells of the attempt if it may
    /// have brought its server down, or is watched.
    pub(crate) fn tell_ended(
        &self,
        head: &[u8],
        (begun, at): (Instant, Instant),
        server: ServerId,
        outcome: Outcome,
    ) {
        if outcome.is_failure() {
            self.name_shape(head);
        }
        let what = match outcome {
            Outcome::Reset { sent: true } | Outcome::Truncated | Outcome::Rescued => {
                let shape = self.watched.as_deref().copied();
                let shape = shape.unwrap_or_else(|| self.worker.state.exact_shape(head));
                let broke = Exposed::Broke {
                    age: at.since(begun),
                    route: self.shape,
                    text: ExactText::of_head(head),
                };
                return self.expose(at, server, shape, broke);
            }
            _ if self.watched.is_none() => return,
            Outcome::Answered(_)
            | Outcome::AttemptTimeout
            | Outcome::BadResponse
            | Outcome::IdleTimeout => Exposed::Survived,
            // Whether the server would have survived it is not known.
            Outcome::Cancelled
            | Outcome::Reset { sent: false }
            | Outcome::ConnectRefused
            | Outcome::ConnectTimeout
            | Outcome::Unreachable
            | Outcome::Stale
            | Outcome::LocalError => Exposed::Unsent,
        };
        if let Some(shape) = self.watched.as_deref() {
            self.expose(at, server, *shape, what);
        }
    }

    fn expose(&self, at: Instant, server: ServerId, shape: ExactShape, what: Exposed) {
        self.worker.expose(Exposure {
            at,
            server,
            shape,
            what,
        });
    }
}
