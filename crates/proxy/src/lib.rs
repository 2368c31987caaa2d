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
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use evenkeel_config::Plan;
use evenkeel_core::Endpoint;
use evenkeel_runtime::Clock;
use evenkeel_runtime::socket_file::SocketFile;
use tokio::sync::watch;

pub use stats::collect::ServiceTotals;
pub use stats::flow::ServerFlow;
pub use stats::server_work::{ServerTotals, ServerWork};
pub use worker::signals::SignalReader;
pub use worker::state::{ProxyState, ServiceEntry};

use listener::socket::{BoundListener, WorkerSocket};
use worker::WorkerParts;

/// The running data plane.
#[derive(Debug)]
pub struct Proxy {
    state: Arc<ProxyState>,
    addresses: Vec<(String, Endpoint)>,
    socket_files: Vec<SocketFile>,
    signals: Option<SignalReader>,
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
        let mut sockets: Vec<Vec<WorkerSocket>> = (0..count).map(|_| Vec::new()).collect();
        let (mut addresses, mut socket_files) = (Vec::new(), Vec::new());
        for listener in &plan.listeners {
            let bound = BoundListener::bind(listener, count).map_err(|source| StartError {
                listener: Some(listener.name.clone()),
                address: Some(listener.address.clone()),
                source,
            })?;
            addresses.push((listener.name.clone(), bound.address));
            socket_files.extend(bound.file);
            for (worker, socket) in sockets.iter_mut().zip(bound.sockets) {
                worker.push(socket);
            }
        }
        let (writers, signals) = worker::signals::signals(count);
        let (draining, told) = watch::channel(false);
        let mut workers = Vec::with_capacity(count);
        for (index, (listeners, signals)) in sockets.into_iter().zip(writers).enumerate() {
            let (state, draining) = (Arc::clone(&state), told.clone());
            let thread = Builder::new().name(format!("worker-{index}"));
            workers.push(thread.spawn(move || {
                let parts = WorkerParts {
                    index,
                    clock,
                    state,
                    signals: Rc::new(RefCell::new(signals)),
                    listeners,
                    draining,
                };
                worker::run::run(parts, seed.wrapping_add(index as u64));
            })?);
        }
        Ok(Self {
            state,
            addresses,
            socket_files,
            signals: Some(signals),
            draining,
            workers,
        })
    }

    /// Where it listens: each listener's name and address, with the port that was taken for port 0.
    #[must_use]
    pub fn addresses(&self) -> &[(String, Endpoint)] {
        &self.addresses
    }

    /// The shared state.
    #[must_use]
    pub fn state(&self) -> Arc<ProxyState> {
        Arc::clone(&self.state)
    }

    /// The reading end of the signals; there is one, for whoever asks first.
    pub const fn take_signals(&mut self) -> Option<SignalReader> {
        self.signals.take()
    }

    /// Stops accepting and lets requests in flight finish. Files of Unix domain sockets are removed.
    pub fn begin_drain(&self) {
        self.socket_files.iter().for_each(SocketFile::remove);
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
    pub fn drain(self, limit: Duration, clock: Clock) -> bool {
        self.begin_drain();
        let end = clock.now() + limit;
        while !self.is_drained() && clock.now() < end {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        self.is_drained()
    }
}
