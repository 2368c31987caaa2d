//! A worker: one thread, one runtime, its own listening sockets, connections to servers, buffers and counters.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::TcpListener as StdListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::Picker;
use evenkeel_core::{
    Blame, Exposure, Instant, Observation, Outcome, Random, RequestShape, ServerId, ServiceId,
    ShapeText, Signal,
};
use evenkeel_http1::{RequestHead, ResponseHead};
use evenkeel_request::service::CachedServerSet;
use evenkeel_runtime::Clock;
use evenkeel_tolerate::HedgeDelay;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::accept::accept;
use crate::buffer::Buffers;
use crate::client_watch::ClientWatcher;
use crate::count::{ServerCounters, ServiceCounters, WorkerCounters};
use crate::date::{DateCache, DateText};
use crate::signals::SignalWriter;
use crate::state::ProxyState;
use crate::timer::Timers;
use crate::upstream::{SWEEP, Upstreams};
use crate::violation::Violation;

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
    signals: RefCell<SignalWriter>,
    /// Client connections that are open.
    pub(crate) connections: Cell<usize>,
    pub(crate) all_closed: Notify,
    dates: DateCache,
    request_prefix: u64,
    requests: Cell<u64>,
}

/// What one request needs besides buffers; reused by the next.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    pub(crate) request: RequestHead,
    pub(crate) response: ResponseHead,
    /// The request's head as servers get it.
    pub(crate) to_server: Vec<u8>,
    /// The part of the request's body that was sent already and may have to be sent again.
    pub(crate) replay: Vec<u8>,
    /// The response's head (and small bodies) as the client gets it.
    pub(crate) to_client: Vec<u8>,
    /// The last rule of HTTP that was broken by one of the two sides.
    pub(crate) violation: Option<Violation>,
}

/// What a worker is made of.
#[derive(Debug)]
pub(crate) struct WorkerParts {
    pub(crate) index: usize,
    pub(crate) clock: Clock,
    pub(crate) state: Arc<ProxyState>,
    pub(crate) signals: SignalWriter,
    pub(crate) listeners: Vec<StdListener>,
    pub(crate) draining: watch::Receiver<bool>,
    pub(crate) seed: u64,
}

/// Runs a worker until it was told to drain and its last connection is closed.
///
/// # Errors
/// If its runtime cannot be made.
pub(crate) fn run(parts: WorkerParts) -> io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let mut parts = parts;
        let (index, listeners) = (parts.index, std::mem::take(&mut parts.listeners));
        let mut draining = parts.draining.clone();
        let worker = Rc::new(Worker::new(parts)?);
        let tasks = start_tasks(&worker, index);
        let accepting = start_accepting(&worker, listeners)?;
        // An error means that the sender is gone, which is an order to end as well.
        let _ended = draining.wait_for(|draining| *draining).await.is_err();
        accepting.iter().for_each(JoinHandle::abort);
        worker.drain().await;
        tasks.iter().for_each(JoinHandle::abort);
        Ok(())
    })
}

/// What a worker does besides its connections, for as long as it lives.
fn start_tasks(worker: &Rc<Worker>, index: usize) -> [JoinHandle<()>; 4] {
    let (tasks, clock) = (worker.state.tasks(), worker.clock);
    let timers = Rc::clone(&worker.timers);
    let watcher = Rc::clone(&worker.watcher);
    let (rescuing, sweeping) = (Rc::clone(worker), Rc::clone(worker));
    [
        tasks.spawn_local("timers", clock, move || Rc::clone(&timers).run()),
        tasks.spawn_local("client-watch", clock, move || Rc::clone(&watcher).run()),
        tasks.spawn_local("rescue", clock, move || rescue(Rc::clone(&rescuing), index)),
        tasks.spawn_local("sweep", clock, move || sweep(Rc::clone(&sweeping))),
    ]
}

/// The listeners stay open if their task panics: clients wait in the kernel's queue until it is started again.
fn start_accepting(
    worker: &Rc<Worker>,
    listeners: Vec<StdListener>,
) -> io::Result<Vec<JoinHandle<()>>> {
    let start = |(index, listener)| {
        let listener = Rc::new(TcpListener::from_std(listener)?);
        let (tasks, worker) = (worker.state.tasks(), Rc::clone(worker));
        Ok(tasks.spawn_local("accept", worker.clock, move || {
            accept(Rc::clone(&worker), index, Rc::clone(&listener))
        }))
    };
    listeners.into_iter().enumerate().map(start).collect()
}

async fn rescue(worker: Rc<Worker>, index: usize) {
    while let Some(inbox) = worker.state.rescues().get(index) {
        worker.watcher.servers_out(&inbox.take().await);
    }
}

async fn sweep(worker: Rc<Worker>) {
    loop {
        let due = worker.clock.now() + SWEEP;
        worker.clock.sleep_until(due).await;
        worker.state.timer_was_late(worker.clock.now().since(due));
        worker.sweep_connections();
        worker.state.exhaustion.report(worker.clock.now());
    }
}

impl Worker {
    fn new(parts: WorkerParts) -> io::Result<Self> {
        let WorkerParts {
            index,
            clock,
            state,
            signals,
            seed,
            ..
        } = parts;
        let mut random = Random::seeded(seed.wrapping_add(index as u64));
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
            counters: Arc::clone(&state.workers()[index]),
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
            signals: RefCell::new(signals),
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
        RequestId(self.request_prefix, self.requests.get())
    }

    pub(crate) fn service_counters(&self, service: usize) -> &ServiceCounters {
        &self.counters.services[service]
    }

    pub(crate) fn server_counters(&self, server: ServerId) -> &ServerCounters {
        self.counters.services[server.service.0 as usize].server(server.index)
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

    /// Something was observed of a request that may bring servers down.
    pub(crate) fn expose(&self, exposure: Exposure) {
        self.signals.borrow_mut().expose(exposure, &self.counters);
    }

    /// The date for an answer at `now`.
    pub(crate) fn date(&self, now: Instant) -> DateText {
        self.dates.at(now, || self.clock.wall())
    }

    async fn drain(&self) {
        self.draining.set(true);
        self.timers.wake_all();
        while self.connections.get() > 0 {
            self.all_closed.notified().await;
        }
    }
}

/// A request's id: 64 random bits of its worker, and its number there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestId(u64, u64);

impl RequestId {
    /// Its 24 hexadecimal digits.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        let parts = [self.0 >> 32, self.0, self.1].map(digits);
        out.extend_from_slice(parts.as_flattened());
    }
}

/// The lower half as eight hexadecimal digits, the highest first: all at once, one in each byte.
const fn digits(bits: u64) -> [u8; 8] {
    const ONES: u64 = u64::MAX / 255;
    let mut spread = bits & 0xffff_ffff;
    spread = (spread | (spread << 16)) & 0x0000_ffff_0000_ffff;
    spread = (spread | (spread << 8)) & 0x00ff_00ff_00ff_00ff;
    spread = (spread | (spread << 4)) & (ONES * 0x0f);
    let are_letters = ((spread + ONES * 6) >> 4) & ONES;
    let letters = are_letters * (b'a' - b'9' - 1) as u64;
    (spread + ONES * b'0' as u64 + letters).to_be_bytes()
}

#[cfg(test)]
impl RequestId {
    pub(crate) const fn for_tests() -> Self {
        Self(1, 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_24_digits() {
        for (id, expected) in [
            (RequestId(0, 0), "000000000000000000000000"),
            (
                RequestId(0x0123_4567_89ab_cdef, 0xff_fedc_ba98),
                "0123456789abcdeffedcba98",
            ),
        ] {
            let mut out = Vec::new();
            id.write(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }
}
