//! What all workers and the control loop share: the services with their servers, and the counters.

use std::hash::RandomState;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use evenkeel_config::Plan;
use evenkeel_core::{
    Directive, ExactShape, Instant, Random, ServerId, ServiceId, ServiceOrders, ShapeOrders,
};
use evenkeel_request::service::Joined;
use evenkeel_runtime::{Clock, Tasks};
use tokio::sync::watch;

use super::leaving::{LeavingServer, servers_that_leave};
use super::proxy_snapshot::{ProxySnapshot, SnapshotContext};
use super::service_entry::ServiceEntry;
use crate::listener::limits::ClientLimit;
use crate::listener::sockets::{ListenerSockets, OpenSockets};
use crate::stats::counters::WorkerCounters;
use crate::worker::exhaustion::Exhaustion;
use crate::worker::rescue::RescueInbox;

/// The shared state of the data plane. Workers write atomics in it; nothing that they read is ever locked.
#[derive(Debug)]
pub struct ProxyState {
    clock: Clock,
    /// By the newest plan.
    snapshot: ArcSwap<ProxySnapshot>,
    /// Its generation. Workers look at it once per request.
    generation: AtomicU64,
    /// Tells those who wait that there is a newer plan.
    published: watch::Sender<()>,
    /// Locked while the next one is made.
    snapshots: Mutex<SnapshotHistory>,
    /// How many clients may be connected, over all listeners and workers.
    pub(crate) clients: ClientLimit,
    pub(crate) sockets: OpenSockets,
    /// What is said when descriptors run out.
    pub(crate) exhaustion: Exhaustion,
    /// By how many nanoseconds a worker's timer was late at most, since that was read.
    stall: AtomicU64,
    workers: Vec<Arc<WorkerCounters>>,
    /// The secret of exact shapes.
    pub(crate) shape_keys: RandomState,
    /// By worker.
    rescues: Vec<RescueInbox>,
    /// The lasting tasks, of the workers and of whoever shares the list.
    tasks: Tasks,
    /// By worker: whether it has panicked or could not be started, and does not run for now.
    lost: Vec<AtomicBool>,
}

/// The snapshots that somebody may still go by.
#[derive(Debug)]
struct SnapshotHistory {
    /// With their generations, in their order.
    all: Vec<(u64, Weak<ProxySnapshot>)>,
    /// The servers that these have and the newest one has not.
    leaving: Vec<(ServerId, LeavingServer)>,
    /// Seeds what is random in what is new.
    random: Random,
}

impl ProxyState {
    pub(crate) fn new(plan: &Plan, clock: Clock, seed: u64) -> Self {
        let workers = plan.workers.max(1);
        let mut random = Random::seeded(seed);
        let mut context = SnapshotContext {
            workers,
            now: clock.now(),
            random: &mut random,
            has_changed: &|_| true,
        };
        let first = Arc::new(ProxySnapshot::empty().next(plan, &mut context));
        Self {
            clock,
            generation: AtomicU64::new(first.generation()),
            published: watch::Sender::new(()),
            snapshots: Mutex::new(SnapshotHistory {
                all: vec![(first.generation(), Arc::downgrade(&first))],
                leaving: Vec::new(),
                random,
            }),
            snapshot: ArcSwap::new(first),
            clients: ClientLimit::new(),
            sockets: OpenSockets::default(),
            exhaustion: Exhaustion::default(),
            stall: AtomicU64::new(0),
            workers: (0..workers).map(|_| Arc::default()).collect(),
            shape_keys: RandomState::new(),
            rescues: (0..workers).map(|_| RescueInbox::default()).collect(),
            tasks: Tasks::default(),
            lost: (0..workers).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// Has the workers go by `plan` from now on. `has_changed`: whether a service differs from the one of the same name in the plan before.
    /// `open` opens the sockets of the listeners that are new, by slot; if it fails, nothing is changed.
    ///
    /// # Errors
    /// That of `open`.
    pub(crate) fn publish<E>(
        &self,
        plan: &Plan,
        has_changed: &dyn Fn(ServiceId) -> bool,
        open: impl FnOnce(&ProxySnapshot) -> Result<Vec<(usize, ListenerSockets)>, E>,
    ) -> Result<(), E> {
        let mut history = self.history();
        let before = self.snapshot();
        let opened = open(&before)?;
        let mut context = SnapshotContext {
            workers: self.workers.len(),
            now: self.now(),
            random: &mut history.random,
            has_changed,
        };
        let sets = before.server_sets();
        let next = Arc::new(before.next(plan, &mut context));
        for (slot, sockets) in opened {
            if let Some(entry) = next.listener(slot) {
                (self.sockets).add(&entry.plan.name, &entry.clients, sockets);
            }
        }
        history.forget_unused();
        history.all.push((next.generation(), Arc::downgrade(&next)));
        for (service, set) in sets {
            let after = next.service(service).map(|entry| entry.servers());
            (history.leaving).extend(servers_that_leave(service, &set, after.as_deref()));
        }
        self.snapshot.store(Arc::clone(&next));
        self.generation.store(next.generation(), Ordering::Release);
        self.published.send_replace(());
        let slots = before.slots_of(plan);
        let open = slots.iter().filter_map(|(slot, _)| next.listener(*slot));
        let open: Vec<_> = open.map(|entry| &entry.clients).collect();
        self.sockets.keep(&open);
        // Nobody will say any more that a server of theirs has come back.
        let stays = |entry: &ServiceEntry| {
            let next = next.service(entry.id());
            next.is_some_and(|next| next.service().is_same(entry.service()))
        };
        let removed = before.services().filter(|entry| !stays(entry));
        removed.for_each(|entry| entry.service().end_holds());
        Ok(())
    }

    /// What holds now.
    pub(crate) fn snapshot(&self) -> Arc<ProxySnapshot> {
        self.snapshot.load_full()
    }

    /// The number of the plan that holds now: 1 for the first, one more for each that was applied.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The numbers of the plans that a request or a worker still goes by, the newest one last. What only other plans have is held by nobody.
    #[must_use]
    pub fn live_generations(&self) -> Vec<u64> {
        let mut history = self.history();
        history.forget_unused();
        let all = history.all.iter();
        all.map(|(generation, _)| *generation).collect()
    }

    /// The servers that plans have taken out of this slot and that requests may still use.
    #[must_use]
    pub fn leaving(&self, server: ServerId) -> Vec<LeavingServer> {
        let mut history = self.history();
        history.forget_unused();
        let leaving = history.leaving.iter();
        let of_slot = leaving.filter(|(slot, _)| *slot == server);
        of_slot.map(|(_, one)| one.clone()).collect()
    }

    /// Hears of each plan that is applied.
    pub(crate) fn plans(&self) -> watch::Receiver<()> {
        self.published.subscribe()
    }

    fn history(&self) -> MutexGuard<'_, SnapshotHistory> {
        (self.snapshots.lock()).unwrap_or_else(PoisonError::into_inner)
    }

    /// The lasting tasks of the program: those of the workers, and whose else shares the list.
    #[must_use]
    pub const fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Workers that do not run: they cannot be started, or panic again and again. Their share of new clients waits.
    #[must_use]
    pub fn workers_lost(&self) -> usize {
        let lost = self.lost.iter().filter(|lost| lost.load(Ordering::Relaxed));
        lost.count()
    }

    /// # Errors
    /// Says how many workers are lost, if any is.
    pub fn all_workers_run(&self) -> Result<(), String> {
        match self.workers_lost() {
            0 => Ok(()),
            lost => Err(format!(
                "{lost} of evenkeel's workers cannot be kept running: a part of the clients is not served, see the log"
            )),
        }
    }

    /// Says whether this worker is lost for now.
    pub(crate) fn set_lost(&self, worker: usize, lost: bool) {
        if let Some(flag) = self.lost.get(worker) {
            flag.store(lost, Ordering::Relaxed);
        }
    }

    /// The services that there are, by their ids.
    #[must_use]
    pub fn services(&self) -> Vec<Arc<ServiceEntry>> {
        self.snapshot.load().services().cloned().collect()
    }

    /// The service with this id, if there is one.
    #[must_use]
    pub fn service(&self, id: ServiceId) -> Option<Arc<ServiceEntry>> {
        self.snapshot.load().service(id).cloned()
    }

    /// Tells the balancer.
    pub fn apply(&self, directive: &Directive, now: Instant) {
        let server = directive.server();
        let Some(entry) = self.service(server.service) else {
            return;
        };
        if matches!(directive, Directive::Rescue { .. }) {
            self.rescues.iter().for_each(|inbox| inbox.push(server));
        }
        entry.service().apply(directive, now);
    }

    /// Puts servers from DNS into their slots, or takes them out. Requests that are under way go on as they began.
    pub fn change(&self, service: ServiceId, changes: &[(u32, Option<Joined>)], now: Instant) {
        if let Some(entry) = self.service(service) {
            entry.service().change(changes, now);
        }
    }

    /// Keeps the requests of a service from its servers, or sends them there again. Those under way go on.
    pub fn set_maintenance(&self, service: ServiceId, on: bool) {
        if let Some(entry) = self.service(service) {
            entry.service().set_maintenance(on);
        }
    }

    /// Keeps certain requests of a service from its servers, and has others watched. Replaces what was ordered before.
    pub fn set_shapes(&self, orders: &ShapeOrders) {
        if let Some(entry) = self.service(orders.service) {
            entry.service().set_shapes(orders);
        }
    }

    /// What holds for a service as a whole from now on. Replaces what was ordered before.
    pub fn set_service(&self, orders: &ServiceOrders) {
        if let Some(entry) = self.service(orders.service) {
            entry.service().set_orders(orders, self.now());
        }
    }

    /// Exactly what the request with this head asks for. Nobody outside knows the key of the hashes.
    #[must_use]
    pub fn exact_shape(&self, head: &[u8]) -> ExactShape {
        ExactShape::of_head(&self.shape_keys, head)
    }

    /// No request waits any longer for a server to come back.
    pub(crate) fn end_holds(&self) {
        for entry in self.services() {
            entry.service().end_holds();
        }
    }

    /// How often a connection was not accepted or opened since the start, for want of descriptors, of local ports and of memory.
    #[must_use]
    pub fn lacked(&self) -> [u64; 3] {
        self.exhaustion.lacked()
    }

    /// A worker's timer was late by so much.
    pub(crate) fn timer_was_late(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.stall.fetch_max(nanos, Ordering::Relaxed);
    }

    /// By how much a worker's timer was late at most, since this was asked last: more than a little means that the worker stood
    /// still.
    #[must_use]
    pub fn take_lateness(&self) -> Duration {
        Duration::from_nanos(self.stall.swap(0, Ordering::Relaxed))
    }

    /// Client connections that are open now.
    #[must_use]
    pub fn connections(&self) -> u64 {
        let opened: u64 = self
            .workers
            .iter()
            .map(|worker| worker.connections_opened.value())
            .sum();
        let closed: u64 = self
            .workers
            .iter()
            .map(|worker| worker.connections_closed.value())
            .sum();
        opened.saturating_sub(closed)
    }

    /// What each worker is told about requests in flight.
    pub(crate) fn rescues(&self) -> &[RescueInbox] {
        &self.rescues
    }

    /// A number of all workers together.
    pub(crate) fn add_up(&self, number: impl Fn(&WorkerCounters) -> u64) -> u64 {
        self.workers().iter().map(|worker| number(worker)).sum()
    }

    pub(crate) fn workers(&self) -> &[Arc<WorkerCounters>] {
        &self.workers
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }
}

impl SnapshotHistory {
    fn forget_unused(&mut self) {
        self.all.retain(|(_, snapshot)| snapshot.strong_count() > 0);
        self.leaving.retain(|(_, server)| server.is_in_use());
    }
}
