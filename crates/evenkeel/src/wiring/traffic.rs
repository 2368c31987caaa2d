//! The request path as the control loop sees it.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_control::RequestPath;
use evenkeel_core::{
    Directive, Exposure, Instant, RequestShape, ServerId, ServiceId, ServiceOrders, ShapeOrders,
    ShapeText, Signal,
};
use evenkeel_discover::Discovery;
use evenkeel_fault::contract::{ServerLoad, Totals};
use evenkeel_fault::self_check::{ExhaustionCounts, ResolverHealth, SelfReading, Usage};
use evenkeel_proxy::{LeavingServer, ProxyState, ServerWork, SignalReader};
use evenkeel_runtime::{descriptors, machine};
use tokio::sync::Notify;

/// Between two readings of what connections lacked …
const READ_EVERY: Duration = Duration::from_millis(500);
/// … and between two of what takes longer to read.
const READ_MACHINE_EVERY: Duration = Duration::from_secs(5);

/// Between two looks whether requests on a removed server have ended.
const DRAIN_LOOK: Duration = Duration::from_millis(50);
/// With nothing in flight for so long a removed server is taken for unused, whoever may still know it.
const DRAIN_QUIET: Duration = Duration::from_secs(5);

/// The data plane's shared state and the reading end of its signals.
#[derive(Debug)]
pub(crate) struct DataPlane {
    pub(crate) state: Arc<ProxyState>,
    signals: SignalReader,
    wake: Arc<Notify>,
    /// How the resolver does.
    pub(crate) discovery: Discovery,
    reading: SelfReading,
    read_at: Instant,
    read_machine_at: Instant,
}

impl DataPlane {
    pub(crate) fn new(state: Arc<ProxyState>, signals: SignalReader) -> Self {
        let wake = signals.wake();
        Self {
            state,
            signals,
            wake,
            discovery: Discovery::default(),
            reading: SelfReading::default(),
            read_at: Instant::ZERO,
            read_machine_at: Instant::ZERO,
        }
    }
}

impl RequestPath for DataPlane {
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
            shed: totals.shed,
            queued: totals.queued,
        }
    }

    fn loads(&self, service: ServiceId) -> Vec<ServerLoad> {
        let load = |work: ServerWork| ServerLoad {
            in_flight: work.in_flight,
            answered: work.answered,
            busy: work.busy,
        };
        self.state.loads(service).into_iter().map(load).collect()
    }

    fn drained(&self, server: ServerId) -> impl Future<Output = ()> + Send + 'static {
        let (state, leaving) = (Arc::clone(&self.state), self.state.leaving(server));
        async move {
            // Under the same name it is there still, and only its process is none of evenkeel's any more.
            if leaving.is_empty() {
                let in_flight = || {
                    let loads = state.loads(server.service);
                    let work = loads.get(server.index as usize);
                    work.map_or(0, |work| work.in_flight)
                };
                while in_flight() > 0 {
                    tokio::time::sleep(DRAIN_LOOK).await;
                }
            }
            for server in leaving {
                unused(&server).await;
            }
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

    fn self_reading(&mut self, now: Instant) -> Option<SelfReading> {
        if now < self.read_at {
            return None;
        }
        self.read_at = now + READ_EVERY;
        if now >= self.read_machine_at {
            self.read_machine_at = now + READ_MACHINE_EVERY;
            self.reading = of_machine();
        }
        self.reading.cpu_wait_permille = machine::cpu_wait_permille();
        let [descriptors, ports, memory] = self.state.lacked();
        let (unanswered, asked) = self.discovery.unanswered();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        self.reading.names = (asked > 0).then(|| ResolverHealth {
            unanswered: count(unanswered),
            asked: count(asked),
        });
        self.reading.lacked = ExhaustionCounts {
            descriptors,
            ports,
            memory,
        };
        Some(self.reading)
    }

    fn take_lateness(&mut self) -> Duration {
        self.state.take_lateness()
    }

    async fn wait(&mut self) {
        self.wake.notified().await;
    }
}

/// Waits until no request can be on its way to `server`.
///
/// A request that is retried or waits in a queue goes by the servers that there were when it came, so that nothing in flight now does not
/// mean that nothing will be. But a tunnel to another server of the service holds these servers just as well, for as long as it lives:
/// after a time without an attempt the server is taken for unused. Whoever still comes is refused, and tries another one.
async fn unused(server: &LeavingServer) {
    let mut quiet = Duration::ZERO;
    while server.is_in_use() && quiet < DRAIN_QUIET {
        tokio::time::sleep(DRAIN_LOOK).await;
        quiet = match server.in_flight() {
            0 => quiet + DRAIN_LOOK,
            _ => Duration::ZERO,
        };
    }
}

/// Values read from the system: a few small files.
fn of_machine() -> SelfReading {
    let limit = descriptors::limit();
    SelfReading {
        descriptors: descriptors::used().map(|used| Usage { used, limit }),
        memory: machine::memory().map(|(used, limit)| Usage { used, limit }),
        cut_off: machine::is_cut_off(),
        ..SelfReading::default()
    }
}
