//! A worker: one thread, one runtime, its own listening sockets, connections to servers, buffers and counters.

pub(crate) mod buffer;
pub(crate) mod client_watch;
pub(crate) mod date;
pub(crate) mod exhaustion;
pub(crate) mod poll_budget;
pub(crate) mod rescue;
pub(crate) mod run;
pub(crate) mod service_entry;
pub(crate) mod leaving;
pub(crate) mod signals;
pub(crate) mod proxy_snapshot;
pub(crate) mod worker_snapshot;
pub(crate) mod open_listener;
pub(crate) mod state;
pub(crate) mod timer;
pub(crate) mod workspace;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::{
    Blame, Exposure, Instant, Observation, Outcome, Random, RequestShape, ServerId, ShapeText,
    Signal,
};
use evenkeel_request::RequestId;
use evenkeel_runtime::Clock;
use tokio::sync::{Notify, watch};

use self::buffer::Buffers;
use self::client_watch::ClientWatcher;
use self::date::{DateCache, DateText};
use self::open_listener::OpenListener;
use self::signals::SignalWriter;
use self::state::ProxyState;
use self::timer::Timers;
use self::worker_snapshot::WorkerSnapshot;
use crate::stats::counters::WorkerCounters;

pub(crate) use self::workspace::Workspace;

/// On which side a connection was missing: the index in [`WorkerCounters::local_errors`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum MissingOn {
    /// A client's could not be accepted.
    Client,
    /// None could be opened to a server.
    Server,
}

/// What a worker's connections share. Single-threaded: no locks, no atomics but the counters.
#[derive(Debug)]
pub(crate) struct Worker {
    index: usize,
    pub(crate) clock: Clock,
    pub(crate) state: Arc<ProxyState>,
    /// What it goes by now, and whoever asks for it next, unless there is a newer one.
    snapshot: RefCell<Rc<WorkerSnapshot>>,
    /// The listeners of that snapshot on which it accepts.
    listeners: RefCell<Vec<Rc<OpenListener>>>,
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) buffers: Buffers,
    pub(crate) timers: Rc<Timers>,
    pub(crate) watcher: Rc<ClientWatcher>,
    pub(crate) random: RefCell<Random>,
    pub(crate) draining: Cell<bool>,
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
        let snapshot = WorkerSnapshot::new(parts.index, state.snapshot(), None, &mut random);
        Ok(Self {
            index: parts.index,
            clock,
            snapshot: RefCell::new(Rc::new(snapshot)),
            listeners: RefCell::default(),
            counters: Arc::clone(&state.workers()[parts.index]),
            buffers: Buffers::default(),
            timers: Timers::new(clock),
            watcher: ClientWatcher::new()?,
            draining: Cell::new(false),
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

    /// Its place among the workers.
    pub(crate) const fn index(&self) -> usize {
        self.index
    }

    /// What a request goes by that comes now. Counts in this worker only, and looks at a number that hardly ever changes.
    pub(crate) fn snapshot(&self) -> Rc<WorkerSnapshot> {
        let known = Rc::clone(&self.snapshot.borrow());
        if known.shared.generation() == self.state.generation() {
            return known;
        }
        self.take_snapshot(&known)
    }

    /// The same for a request of this listener, which may be there no more.
    pub(crate) fn snapshot_for(&self, listener: &OpenListener) -> Rc<WorkerSnapshot> {
        let now = self.snapshot();
        if listener.is_removed() {
            return listener.last_snapshot().unwrap_or(now);
        }
        now
    }

    /// Goes by the newest plan from now on.
    fn take_snapshot(&self, before: &Rc<WorkerSnapshot>) -> Rc<WorkerSnapshot> {
        let (shared, random) = (self.state.snapshot(), &mut self.random.borrow_mut());
        let next = Rc::new(WorkerSnapshot::new(
            self.index,
            shared,
            Some(before),
            random,
        ));
        let removed = before.removed_in(&next);
        removed.for_each(|service| service.upstreams().close());
        // Lets go of the servers of before, for whoever waits until nobody uses them.
        next.services().for_each(|service| drop(service.servers()));
        let stays = |listener: &mut Rc<OpenListener>| listener.follow(before, &next);
        self.listeners.borrow_mut().retain_mut(stays);
        *self.snapshot.borrow_mut() = Rc::clone(&next);
        next
    }

    /// Takes a listener of the snapshot for open.
    pub(crate) fn open_listener(&self, listener: Rc<OpenListener>) {
        self.listeners.borrow_mut().push(listener);
    }

    /// Whether a connection of this listener ends with the request that it is at.
    pub(crate) fn is_last_for(&self, listener: &OpenListener) -> bool {
        self.draining.get() || listener.is_removed()
    }

    /// Looks at all kept connections.
    pub(crate) fn sweep_connections(&self) {
        let now = self.clock.now();
        for service in self.snapshot().services() {
            let servers = service.servers();
            let generation = |index| servers.generation(index);
            let ended = &service.counters.pool;
            service.upstreams().sweep((now, ended), generation);
        }
    }

    /// Closes all kept connections, to have their descriptors back; says how many.
    pub(crate) fn close_idle(&self) -> usize {
        let snapshot = self.snapshot();
        let services = snapshot.services();
        services
            .map(|service| service.upstreams().close_all())
            .sum()
    }

    /// Counts a connection that there was nothing left for.
    pub(crate) fn lacks(&self, side: MissingOn, error: &io::Error) {
        self.counters.local_errors[side as usize].add_from_owner(1);
        self.state.exhaustion.add(error);
        self.state.exhaustion.report(self.clock.now());
    }

    /// The id of a new request: unique among all workers and, with chances beyond counting, all runs.
    pub(crate) fn request_id(&self) -> RequestId {
        self.requests.set(self.requests.get() + 1);
        RequestId::new(self.request_prefix, self.requests.get())
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
