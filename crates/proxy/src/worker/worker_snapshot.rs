//! The snapshot of the data plane as one worker has it, with what the worker has of its own for each service: its picker, its connections,
//! its counters.
//!
//! Requests count their references in the worker only. Each keeps the one that it began with for as long as it lives; a connection that
//! waits keeps none. What belongs to a service is taken over from the snapshot before if the service is in both.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use evenkeel_balance::Picker;
use evenkeel_core::{Outcome, Random, ServerId, ServiceId};
use evenkeel_request::service::CachedServerSet;
use evenkeel_tolerate::{HedgeDelay, HedgeOptions};

use super::proxy_snapshot::{MirrorEntry, ProxySnapshot};
use super::service_entry::ServiceEntry;
use crate::stats::counters::{MirrorCounters, ServerCounters, ServiceCounters};
use crate::upstream::pool::Upstreams;

/// The data plane by one plan, for one worker.
#[derive(Debug)]
pub(crate) struct WorkerSnapshot {
    pub(crate) shared: Arc<ProxySnapshot>,
    /// By [`ServiceId`].
    services: Vec<Option<Rc<WorkerService>>>,
    /// When second attempts are made beside late ones, by the place of policies.
    hedging: Vec<Option<Rc<RefCell<HedgeDelay>>>>,
    /// In the order of [`ProxySnapshot::mirrors`].
    mirrors: Vec<Rc<WorkerMirror>>,
}

/// A service for one worker.
#[derive(Debug)]
pub(crate) struct WorkerService {
    pub(crate) entry: Arc<ServiceEntry>,
    pub(crate) counters: Arc<ServiceCounters>,
    state: Rc<ServiceState>,
}

/// What a worker has of a service as long as there is the service.
#[derive(Debug)]
struct ServiceState {
    picker: RefCell<Picker>,
    /// The servers as the worker saw them last.
    servers: RefCell<Rc<CachedServerSet>>,
    upstreams: Upstreams,
    /// Questions how busy servers are that are under way.
    asking: Cell<u32>,
}

/// A pair of services of which one gets copies of the other's requests, for one worker.
#[derive(Debug)]
pub(crate) struct WorkerMirror {
    entry: Arc<MirrorEntry>,
    pub(crate) counters: Arc<MirrorCounters>,
    /// Copies under way.
    pub(crate) under_way: Cell<u32>,
}

impl WorkerSnapshot {
    /// For the worker with this index, after the one `before`.
    pub(crate) fn new(
        worker: usize,
        shared: Arc<ProxySnapshot>,
        before: Option<&Self>,
        random: &mut Random,
    ) -> Self {
        let mut services = vec![None; shared.service_slots()];
        for entry in shared.services() {
            let known = before.and_then(|before| before.find(entry.id()));
            services[entry.id().0 as usize] = Some(match known {
                Some(known) if Arc::ptr_eq(&known.entry, entry) => Rc::clone(known),
                known => Rc::new(WorkerService::new(worker, entry, known, random)),
            });
        }
        let mirrors = shared.mirrors().iter().map(|entry| {
            let known = before.into_iter().flat_map(|before| &before.mirrors);
            let mut known = known.filter(|known| Arc::ptr_eq(&known.entry, entry));
            let known = known.next().map(Rc::clone);
            known.unwrap_or_else(|| Rc::new(WorkerMirror::new(worker, entry)))
        });
        let hedging = shared.hedges().iter().enumerate().map(|(place, options)| {
            let known = before.and_then(|before| before.hedging.get(place)?.as_ref());
            options.map(|options| hedge_delay(known, options))
        });
        Self {
            services,
            hedging: hedging.collect(),
            mirrors: mirrors.collect(),
            shared,
        }
    }

    /// A service of the plan.
    pub(crate) fn service(&self, id: ServiceId) -> &Rc<WorkerService> {
        let service = self.find(id);
        service.expect("whatever names a service is of the same plan")
    }

    fn find(&self, id: ServiceId) -> Option<&Rc<WorkerService>> {
        self.services.get(id.0 as usize)?.as_ref()
    }

    /// All services.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Rc<WorkerService>> {
        self.services.iter().flatten()
    }

    /// The services that are in this one and not in `next`.
    pub(crate) fn removed_in<'s>(
        &'s self,
        next: &'s Self,
    ) -> impl Iterator<Item = &'s Rc<WorkerService>> {
        let stays = |service: &Rc<WorkerService>| {
            let next = next.find(service.entry.id());
            next.is_some_and(|next| service.is_same(&next.entry))
        };
        self.services().filter(move |service| !stays(service))
    }

    /// When second attempts are made beside late ones, by the policies at this place.
    pub(crate) fn hedging(&self, place: u32) -> Option<&RefCell<HedgeDelay>> {
        self.hedging.get(place as usize)?.as_deref()
    }

    /// From where to where requests are copied.
    pub(crate) fn mirror(&self, from: ServiceId, to: ServiceId) -> Option<&Rc<WorkerMirror>> {
        let mut all = self.mirrors.iter();
        all.find(|mirror| (mirror.entry.from, mirror.entry.to) == (from, to))
    }

    pub(crate) fn server_counters(&self, server: ServerId) -> &ServerCounters {
        self.service(server.service).counters.server(server.index)
    }
}

impl WorkerService {
    fn new(
        worker: usize,
        entry: &Arc<ServiceEntry>,
        known: Option<&Rc<Self>>,
        random: &mut Random,
    ) -> Self {
        let known = known.filter(|known| known.is_same(entry));
        let state = known.map(|known| Rc::clone(&known.state));
        Self {
            entry: Arc::clone(entry),
            counters: Arc::clone(&entry.counters()[worker]),
            state: state.unwrap_or_else(|| Rc::new(ServiceState::new(entry, random))),
        }
    }

    fn is_same(&self, entry: &ServiceEntry) -> bool {
        self.entry.service().is_same(entry.service())
    }

    pub(crate) fn id(&self) -> ServiceId {
        self.entry.id()
    }

    pub(crate) fn server_id(&self, index: u32) -> ServerId {
        let service = self.id();
        ServerId { service, index }
    }

    /// Its servers as they are now. Counts in this worker only: the reference that workers share is counted when the set is another one.
    pub(crate) fn servers(&self) -> Rc<CachedServerSet> {
        let service = self.entry.service();
        let known = &mut *self.state.servers.borrow_mut();
        if known.version() != service.version() {
            *known = Rc::new(CachedServerSet(service.servers()));
        }
        Rc::clone(known)
    }

    pub(crate) fn picker(&self) -> &RefCell<Picker> {
        &self.state.picker
    }

    /// The connections to its servers that are kept.
    pub(crate) fn upstreams(&self) -> &Upstreams {
        &self.state.upstreams
    }

    /// How many questions how busy its servers are are under way.
    pub(crate) fn asking(&self) -> &Cell<u32> {
        &self.state.asking
    }

    /// Counts how an attempt came out: once for each, when that is known.
    pub(crate) fn count_attempt(&self, server: u32, outcome: Outcome) {
        self.counters.server(server).attempts[outcome.place()].add_from_owner(1);
    }
}

impl ServiceState {
    fn new(entry: &ServiceEntry, random: &mut Random) -> Self {
        let servers = entry.servers();
        Self {
            picker: RefCell::new(Picker::new(servers.pool(), random.bits())),
            servers: RefCell::new(Rc::new(CachedServerSet(servers))),
            upstreams: Upstreams::default(),
            asking: Cell::new(0),
        }
    }
}

impl WorkerMirror {
    fn new(worker: usize, entry: &Arc<MirrorEntry>) -> Self {
        Self {
            entry: Arc::clone(entry),
            counters: Arc::clone(&entry.counters[worker]),
            under_way: Cell::new(0),
        }
    }

    pub(crate) fn count(&self, result: usize) {
        self.counters[result].add_from_owner(1);
    }
}

/// What was learnt by the same policies stays.
fn hedge_delay(
    known: Option<&Rc<RefCell<HedgeDelay>>>,
    options: HedgeOptions,
) -> Rc<RefCell<HedgeDelay>> {
    let Some(known) = known else {
        return Rc::new(RefCell::new(HedgeDelay::new(options)));
    };
    let delay = &mut *known.borrow_mut();
    if *delay.options() != options {
        delay.reconfigure(options);
    }
    Rc::clone(known)
}
