//! A worker: one thread, one runtime, its own listening sockets, connections to servers, buffers and counters.

pub(crate) mod buffer;
pub(crate) mod client_watch;
pub(crate) mod date;
pub(crate) mod exhaustion;
pub(crate) mod poll_budget;
pub(crate) mod rescue;
pub(crate) mod run;
pub(crate) mod signals;
pub(crate) mod state;
pub(crate) mod timer;
pub(crate) mod workspace;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::Picker;
use evenkeel_core::{
    Blame, Exposure, Instant, Observation, Outcome, Random, RequestShape, ServerId, ServiceId,
    ShapeText, Signal,
};
use evenkeel_request::RequestId;
use evenkeel_request::service::CachedServerSet;
use evenkeel_runtime::Clock;
use evenkeel_tolerate::HedgeDelay;
use tokio::sync::{Notify, watch};

use self::buffer::Buffers;
use self::client_watch::ClientWatcher;
use self::date::{DateCache, DateText};
use self::signals::SignalWriter;
use self::state::ProxyState;
use self::timer::Timers;
use crate::listener::socket::WorkerSocket;
use crate::stats::counters::{ServerCounters, ServiceCounters, WorkerCounters};
use crate::upstream::pool::Upstreams;

pub(crate) use self::workspace::Workspace;

/// On which side a connection was missing: the index in [`WorkerCounters::local_errors`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum MissingOn {
    /// A client's could not be accepted.
    Client,
    /// None could be opened to a server.
    Server,
}

/// Workspaces that are kept for the next request.
const KEPT_WORKSPACES: usize = 1024;

/// What a worker's connections share. Single-threaded: no locks, no atomics but the counters.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) clock: Clock,
    pub(crate) state: Arc<ProxyState>,
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) buffers: Buffers,
    pub(crate) upstreams: Upstreams,
    pub(crate) timers: Rc<Timers>,
    pub(crate) watcher: Rc<ClientWatcher>,
    pub(crate) random: RefCell<Random>,
    pub(crate) pickers: RefCell<Vec<Picker>>,
    /// When second attempts are made beside late ones, by the place of policies.
    pub(crate) hedging: RefCell<Vec<Option<HedgeDelay>>>,
    /// The servers by service, as this worker saw them last.
    server_sets: RefCell<Vec<Rc<CachedServerSet>>>,
    pub(crate) draining: Cell<bool>,
    /// Copies of requests under way, by the place of their pair of services.
    pub(crate) copies: Vec<Cell<u32>>,
    /// Questions how busy servers are that are under way, by service.
    pub(crate) asking: Vec<Cell<u32>>,
    #[expect(
        clippy::vec_box,
        reason = "a workspace is handed from hand to hand and is large"
    )]
    workspaces: RefCell<Vec<Box<Workspace>>>,
    /// The thread's: it outlives a worker that panics.
    signals: Rc<RefCell<SignalWriter>>,
    /// Client connections that are open.
    pub(crate) connections: Cell<usize>,
    pub(crate) all_closed: Notify,
    dates: DateCache,
    request_prefix: u64,
    requests: Cell<u64>,
}

/// What a worker is made of, and made of again after a panic.
#[derive(Debug)]
pub(crate) struct WorkerParts {
    pub(crate) index: usize,
    pub(crate) clock: Clock,
    pub(crate) state: Arc<ProxyState>,
    pub(crate) signals: Rc<RefCell<SignalWriter>>,
    /// The worker accepts on duplicates of these descriptors. A socket that is closed resets the clients in its queue, so these
    /// stay open while a worker is started again.
    pub(crate) listeners: Vec<WorkerSocket>,
    pub(crate) draining: watch::Receiver<bool>,
}

impl Worker {
    /// Called within its runtime. `seed`: another one each time that the worker is started, or the ids of its requests come twice.
    ///
    /// # Errors
    /// If there is no descriptor left.
    pub(crate) fn new(parts: &WorkerParts, seed: u64) -> io::Result<Self> {
        let (clock, state) = (parts.clock, Arc::clone(&parts.state));
        let mut random = Random::seeded(seed);
        let pickers = state
            .services()
            .iter()
            .map(|service| Picker::new(service.servers().pool(), random.bits()))
            .collect();
        let hedging = state.policies();
        let hedging = hedging.map(|policies| policies.hedge.map(HedgeDelay::new));
        let server_sets = state.services().iter();
        let server_sets = server_sets.map(|entry| Rc::new(CachedServerSet(entry.servers())));
        Ok(Self {
            clock,
            counters: Arc::clone(&state.workers()[parts.index]),
            buffers: Buffers::default(),
            upstreams: Upstreams::new(
                state
                    .services()
                    .iter()
                    .map(|service| service.server_names().len()),
            ),
            timers: Timers::new(clock),
            watcher: ClientWatcher::new()?,
            pickers: RefCell::new(pickers),
            hedging: RefCell::new(hedging.collect()),
            server_sets: RefCell::new(server_sets.collect()),
            draining: Cell::new(false),
            copies: state.mirrors().iter().map(|_| Cell::new(0)).collect(),
            asking: state.services().iter().map(|_| Cell::new(0)).collect(),
            workspaces: RefCell::default(),
            signals: Rc::clone(&parts.signals),
            connections: Cell::new(0),
            all_closed: Notify::new(),
            dates: DateCache::new(),
            request_prefix: random.bits(),
            requests: Cell::new(0),
            random: RefCell::new(random),
            state,
        })
    }

    /// The servers of a service as they are now. Counts in this worker only: the reference that workers share is counted
    /// when the set is another one.
    pub(crate) fn server_set(&self, service: ServiceId) -> Rc<CachedServerSet> {
        let index = service.0 as usize;
        let service = self.state.services()[index].service();
        let known = &mut self.server_sets.borrow_mut()[index];
        if known.version() != service.version() {
            *known = Rc::new(CachedServerSet(service.servers()));
        }
        Rc::clone(known)
    }

    /// Looks at all kept connections.
    pub(crate) fn sweep_connections(&self) {
        let ended = |service| &self.service_counters(service).pool;
        self.upstreams.sweep(self.clock.now(), ended);
    }

    /// Counts a connection that there was nothing left for.
    pub(crate) fn lacks(&self, side: MissingOn, error: &io::Error) {
        self.counters.local_errors[side as usize].add_from_owner(1);
        self.state.exhaustion.add(error);
        self.state.exhaustion.report(self.clock.now());
    }

    pub(crate) fn workspace(&self) -> Box<Workspace> {
        self.workspaces.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn give_workspace(&self, workspace: Box<Workspace>) {
        let mut kept = self.workspaces.borrow_mut();
        if kept.len() < KEPT_WORKSPACES {
            kept.push(workspace);
        }
    }

    /// The id of a new request: unique among all workers and, with chances beyond counting, all runs.
    pub(crate) fn request_id(&self) -> RequestId {
        self.requests.set(self.requests.get() + 1);
        RequestId::new(self.request_prefix, self.requests.get())
    }

    pub(crate) fn service_counters(&self, service: usize) -> &ServiceCounters {
        &self.counters.services[service]
    }

    pub(crate) fn server_counters(&self, server: ServerId) -> &ServerCounters {
        self.counters.services[server.service.0 as usize].server(server.index)
    }

    /// Counts how an attempt came out: once for each, when that is known.
    pub(crate) fn count_attempt(&self, server: ServerId, outcome: Outcome) {
        self.server_counters(server).attempts[outcome.place()].add_from_owner(1);
    }

    /// An attempt has shown how the server is. What evenkeel itself lacked shows nothing.
    pub(crate) fn signal(
        &self,
        at: Instant,
        server: ServerId,
        outcome: Outcome,
        latency: Duration,
        shape: RequestShape,
    ) {
        if outcome.blame() == Blame::Local {
            return;
        }
        let signal = Signal {
            at,
            server,
            observation: Observation::Attempt {
                outcome,
                latency,
                shape,
            },
        };
        self.signals
            .borrow_mut()
            .push(signal, outcome, &self.counters);
    }

    /// A request of this shape has failed: whoever looks for faults is told what it is called.
    pub(crate) fn name_shape(&self, shape: RequestShape, words: impl FnOnce() -> ShapeText) {
        self.signals.borrow_mut().name(shape, words);
    }

    /// Something was observed of a request that may crash servers.
    pub(crate) fn expose(&self, exposure: Exposure) {
        self.signals.borrow_mut().expose(exposure, &self.counters);
    }

    /// The date for an answer at `now`.
    pub(crate) fn date(&self, now: Instant) -> DateText {
        self.dates.at(now, || self.clock.wall())
    }

    pub(crate) async fn drain(&self) {
        self.draining.set(true);
        self.timers.wake_all();
        while self.connections.get() > 0 {
            self.all_closed.notified().await;
        }
    }
}
