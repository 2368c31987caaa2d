//! The request path with sockets: listen, route, attempt, respond.
//!
//! One thread per worker, nothing shared between them on the request path but atomics. What is decided is decided
//! in `request`, `balance` and `tolerate`; here it is done.

mod worker;
mod listener;
mod downstream;
mod upstream;
mod cache;
mod exchange;
mod background;
mod stats;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use evenkeel_config::change::{ServerPlanChange, ServiceChange};
use evenkeel_config::plan::ListenerPlan;
use evenkeel_config::{Changes, Plan};
use evenkeel_core::{Endpoint, ServiceId};
use evenkeel_runtime::Clock;
use tokio::sync::watch;

pub use stats::collect::ServiceTotals;
pub use stats::flow::ServerFlow;
pub use stats::server_work::{ServerTotals, ServerWork};
pub use worker::leaving::LeavingServer;
pub use worker::service_entry::ServiceEntry;
pub use worker::signals::SignalReader;
pub use worker::state::ProxyState;

use listener::sockets::ListenerSockets;
use worker::WorkerParts;
use worker::proxy_snapshot::ProxySnapshot;

/// The running data plane.
#[derive(Debug)]
pub struct Proxy {
    state: Arc<ProxyState>,
    signals: Mutex<Option<SignalReader>>,
    draining: watch::Sender<bool>,
    workers: Vec<JoinHandle<()>>,
}

/// Why the data plane could not be started.
#[derive(Debug)]
pub struct StartError {
    /// The listener's name; `None` if it was not a listener.
    pub listener: Option<String>,
    /// Its address.
    pub address: Option<Endpoint>,
    /// What the operating system said.
    pub source: io::Error,
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.listener, &self.address) {
            (Some(name), Some(address)) => write!(
                f,
                "listener {name} cannot listen on {address}: {}",
                self.source
            ),
            _ => write!(f, "the workers cannot be started: {}", self.source),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<io::Error> for StartError {
    fn from(source: io::Error) -> Self {
        Self {
            listener: None,
            address: None,
            source,
        }
    }
}

impl Proxy {
    /// Binds every listener and starts the workers. All chances are drawn from `seed`.
    ///
    /// # Errors
    /// If an address is taken or not allowed, or a thread cannot be started; nothing listens then.
    pub fn start(plan: &Plan, clock: Clock, seed: u64) -> Result<Self, StartError> {
        Self::start_with(plan, clock, seed, |_| ())
    }

    /// The same, with `prepare` done before the first request can come.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub fn start_with(
        plan: &Plan,
        clock: Clock,
        seed: u64,
        prepare: impl FnOnce(&ProxyState),
    ) -> Result<Self, StartError> {
        let state = Arc::new(ProxyState::new(plan, clock, seed));
        prepare(&state);
        let count = state.workers().len();
        for (_, entry) in state.snapshot().listeners() {
            let sockets = open(&entry.plan, count)?;
            (state.sockets).add(&entry.plan.name, &entry.clients, sockets);
        }
        let (writers, signals) = worker::signals::signals(count);
        let (draining, told) = watch::channel(false);
        let mut workers = Vec::with_capacity(count);
        for (index, signals) in writers.into_iter().enumerate() {
            let (state, draining) = (Arc::clone(&state), told.clone());
            let thread = Builder::new().name(format!("worker-{index}"));
            workers.push(thread.spawn(move || {
                let parts = WorkerParts {
                    index,
                    clock,
                    state,
                    signals: Rc::new(RefCell::new(signals)),
                    draining,
                };
                worker::run::run(&parts, seed.wrapping_add(index as u64));
            })?);
        }
        Ok(Self {
            state,
            signals: Mutex::new(Some(signals)),
            draining,
            workers,
        })
    }

    /// Where it listens: each listener's name and address, with the port that was taken for port 0.
    #[must_use]
    pub fn addresses(&self) -> Vec<(String, Endpoint)> {
        self.state.sockets.addresses()
    }

    /// Goes by `plan` from now on, of which `changes` says how it differs from the present one. Requests and connections that are under way
    /// go on, each request as it began. What is the same in both plans keeps everything, also its connections. Connections of a listener
    /// that is there no more end with the request that they are at; tunnels and downloads last. A listener whose address changes is another
    /// listener. The workers follow at once, each with its next request at the latest.
    ///
    /// # Errors
    /// If the address of a new listener is taken or not allowed; nothing is changed then.
    pub fn apply(&self, plan: &Plan, changes: &Changes) -> Result<(), StartError> {
        let changed = changes.services.iter().filter_map(changed_service);
        let changed: BTreeSet<ServiceId> = changed.collect();
        let has_changed = |id| changed.contains(&id);
        self.state.publish(plan, &has_changed, |before| {
            open_new(&self.state, plan, before)
        })
    }

    /// The number of the present plan.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.state.generation()
    }

    /// The numbers of the plans that a request or a worker still goes by, the newest one last. What only other plans have is held by nobody.
    #[must_use]
    pub fn live_generations(&self) -> Vec<u64> {
        self.state.live_generations()
    }

    /// The shared state.
    #[must_use]
    pub fn state(&self) -> Arc<ProxyState> {
        Arc::clone(&self.state)
    }

    /// The reading end of the signals; there is one, for whoever asks first.
    pub fn take_signals(&self) -> Option<SignalReader> {
        let mut signals = self.signals.lock().unwrap_or_else(PoisonError::into_inner);
        signals.take()
    }

    /// Stops accepting and lets requests in flight finish. Files of Unix domain sockets are removed.
    pub fn begin_drain(&self) {
        self.state.sockets.remove_files();
        self.state.end_holds();
        self.draining.send_replace(true);
    }

    /// Whether every worker has ended.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.workers.iter().all(JoinHandle::is_finished)
    }

    /// Stops accepting, lets requests in flight finish for at most `limit`; says whether all did. Blocks.
    #[must_use]
    pub fn drain(&self, limit: Duration, clock: Clock) -> bool {
        self.begin_drain();
        let end = clock.now() + limit;
        while !self.is_drained() && clock.now() < end {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        self.is_drained()
    }
}

/// The service of which this changes something that requests go by.
fn changed_service(change: &ServiceChange) -> Option<ServiceId> {
    let ServiceChange::Changed(difference) = change else {
        return None;
    };
    let is_of_requests = |change: &ServerPlanChange| match change {
        ServerPlanChange::Added { .. } | ServerPlanChange::Removed { .. } => true,
        ServerPlanChange::Changed { what, .. } => what.address || what.weight || what.limits,
    };
    let differs =
        difference.settings || difference.discover || difference.servers.iter().any(is_of_requests);
    differs.then_some(difference.plan.id)
}

fn open(listener: &ListenerPlan, workers: usize) -> Result<ListenerSockets, StartError> {
    ListenerSockets::open(listener, workers).map_err(|source| failed(listener, source))
}

fn failed(listener: &ListenerPlan, source: io::Error) -> StartError {
    StartError {
        listener: Some(listener.name.clone()),
        address: Some(listener.address.clone()),
        source,
    }
}

/// The sockets of the listeners that are in `plan` and not in the present snapshot. One with the address of a listener that ends takes over
/// its sockets, so that nobody is refused in between.
fn open_new(
    state: &ProxyState,
    plan: &Plan,
    before: &ProxySnapshot,
) -> Result<Vec<(usize, ListenerSockets)>, StartError> {
    let slots = before.slots_of(plan);
    let ends = |slot: usize| !slots.contains(&(slot, true));
    let mut opened = Vec::new();
    for (listener, (slot, is_known)) in plan.listeners.iter().zip(&slots) {
        if *is_known {
            continue;
        }
        let mut ending = before.listeners().filter(|(slot, _)| ends(*slot));
        let same = ending.find(|(_, entry)| entry.plan.address == listener.address);
        let taken = match same {
            Some((_, entry)) => state.sockets.duplicate(&entry.clients),
            None => Ok(None),
        };
        let sockets = match taken.map_err(|source| failed(listener, source))? {
            Some(sockets) => sockets,
            None => open(listener, state.workers().len())?,
        };
        opened.push((*slot, sockets));
    }
    Ok(opened)
}
