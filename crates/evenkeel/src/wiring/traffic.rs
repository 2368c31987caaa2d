//! The request's way as the control loop sees it.

use std::sync::Arc;

use evenkeel_control::Traffic;
use evenkeel_core::{
    Directive, Exposure, Instant, RequestShape, ServiceId, ServiceOrders, ShapeOrders, ShapeText,
    Signal,
};
use evenkeel_fault::contract::Totals;
use evenkeel_proxy::{ProxyState, SignalReader};
use tokio::sync::Notify;

/// The data plane's shared state and the reading end of its signals.
#[derive(Debug)]
pub(crate) struct DataPlane {
    pub(crate) state: Arc<ProxyState>,
    signals: SignalReader,
    wake: Arc<Notify>,
}

impl DataPlane {
    pub(crate) fn new(state: Arc<ProxyState>, signals: SignalReader) -> Self {
        let wake = signals.wake();
        Self {
            state,
            signals,
            wake,
        }
    }
}

impl Traffic for DataPlane {
    fn apply(&self, directive: &Directive, now: Instant) {
        self.state.apply(directive, now);
    }

    fn gate(&self, service: ServiceId, open: bool) {
        self.state.set_maintenance(service, !open);
    }

    fn totals(&self, service: ServiceId) -> Totals {
        let totals = self.state.totals(service);
        Totals {
            requests: totals.requests,
            failed: totals.failed,
            saved_by_retry: totals.saved_by_retry,
        }
    }

    fn drain_signals(&mut self, signals: &mut Vec<Signal>) -> usize {
        self.signals.drain(signals)
    }

    fn drain_exposures(&mut self) -> Vec<Exposure> {
        self.signals.exposures()
    }

    fn set_shapes(&self, orders: &ShapeOrders) {
        self.state.set_shapes(orders);
    }

    fn set_service(&self, orders: &ServiceOrders) {
        self.state.set_service(orders);
    }

    fn drain_names(&mut self) -> Vec<(RequestShape, ShapeText)> {
        self.signals.names()
    }

    async fn wait(&mut self) {
        self.wake.notified().await;
    }
}
