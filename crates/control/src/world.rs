//! What the loop needs from its environment, as three small traits that tests can implement.

use std::future::Future;
use std::time::Duration;

use evenkeel_config::Plan;
use evenkeel_core::{
    Directive, Exposure, Instant, RequestShape, ServerId, ServiceId, ServiceOrders, ShapeOrders,
    ShapeText, Signal,
};
use evenkeel_fault::contract::{ActionOrder, Examination, ProbePace, ServerLoad, Totals};
use evenkeel_fault::incident::ActionOutcome;
use evenkeel_fault::self_check::SelfReading;
use evenkeel_fault::{Incident, Maintenance};

/// The request path as seen from the fault path: it produces signals and receives directives.
pub trait RequestPath {
    /// Tells the balancer.
    fn apply(&self, directive: &Directive, now: Instant);
    /// Whether requests of this service are sent to its servers, or answered for them.
    fn gate(&self, service: ServiceId, open: bool);
    /// The service's totals since the start of the program.
    fn totals(&self, service: ServiceId) -> Totals;
    /// How much each server of the service has to do.
    fn loads(&self, service: ServiceId) -> Vec<ServerLoad>;
    /// Ends when nothing is in flight on this server, which is not configured any more.
    fn drained(&self, server: ServerId) -> impl Future<Output = ()> + Send + 'static;
    /// Takes all signals that are there; says how many.
    fn drain_signals(&mut self, signals: &mut Vec<Signal>) -> usize;
    /// Takes the words for requests that failed lately.
    fn drain_names(&mut self) -> Vec<(RequestShape, ShapeText)>;
    /// Takes the latest observations of requests that may crash servers.
    fn drain_exposures(&mut self) -> Vec<Exposure>;
    /// Keeps certain requests of a service from its servers, and has others told of.
    fn set_shapes(&self, orders: &ShapeOrders);
    /// The new directives for a service as a whole.
    fn set_service(&self, orders: &ServiceOrders);
    /// A reading of evenkeel's own resources, if it is due at `now`.
    fn self_reading(&mut self, _now: Instant) -> Option<SelfReading> {
        None
    }
    /// The largest delay of the request path's timers since the last call.
    fn take_lateness(&mut self) -> Duration {
        Duration::ZERO
    }
    /// Waits for a signal that should not wait. Cancel safe.
    fn wait(&mut self) -> impl Future<Output = ()>;
}

/// Executes actions on servers, and examines them.
pub trait ActionExecutor {
    /// Carries out a restart, a stop or a command. Says how it ended, and more about it in words.
    fn act(
        &self,
        order: ActionOrder,
    ) -> impl Future<Output = (ActionOutcome, Option<String>)> + Send + 'static;
    /// Makes the discriminating tests of a diagnosis.
    fn examine(
        &self,
        server: ServerId,
        timeout: Duration,
    ) -> impl Future<Output = Examination> + Send + 'static;
    /// The server was verified to be well.
    fn verified(&self, _server: ServerId) {}
    /// Probes the server at this pace from now on.
    fn pace(&self, server: ServerId, pace: ProbePace);
    /// Takes the servers of another plan. `drained` ends when nothing is in flight on a server that is gone.
    fn reload<F>(&self, _plan: &Plan, _drained: impl Fn(ServerId) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
    }
    /// The servers whose processes run by an earlier plan: a restart that reconfigures replaces them.
    fn outdated(&self) -> Vec<ServerId> {
        Vec::new()
    }
    /// How long carrying out this order may take.
    fn limit(&self, order: &ActionOrder) -> Duration;
}

/// Storage for incidents and maintenance.
pub trait IncidentStore {
    /// Keeps a maintenance by the names of its service and server, or forgets it. Never waits.
    fn maintenance(&self, service: &str, server: Option<&str>, maintenance: Option<Maintenance>);
    /// Keeps the incident as it is now. Never waits.
    fn save(&self, incident: &Incident);
    /// Adds to the requests of a service in a minute (minutes since 1970-01-01 UTC). Never waits.
    fn traffic(&self, service: &str, minute: i64, requests: u64, failed: u64);
}
