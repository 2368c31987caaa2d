//! What all workers and the control loop share: the services with their servers, and the counters.

use std::hash::RandomState;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use evenkeel_config::Plan;
use evenkeel_config::plan::{AskPlan, ListenerPlan, ServicePlan};
use evenkeel_core::{Directive, Instant, Random, ServiceId, ServiceOrders};
use evenkeel_request::route::{RateRule, Route};
use evenkeel_request::{HashOn, HeaderChanges, Mirror, Policies};
use evenkeel_runtime::{Clock, Tasks};
use evenkeel_tolerate::{Budget, Inject, StaleOptions};

use crate::accept::ClientLimits;
use crate::admit::{Admission, RateGate};
use crate::count::WorkerCounters;
use crate::descriptors::Exhaustion;
use crate::hold::Holding;
use crate::mirror;
use crate::ordered::Ordered;
use crate::quarantine::QuarantineGate;
use crate::queue::Queue;
use crate::rescue::RescueInbox;
use crate::roster::{Joined, Roster};
use crate::stale::Stale;

/// The shared state of the data plane. Workers write atomics in it; nothing that they read is ever locked.
#[derive(Debug)]
pub struct ProxyState {
    clock: Clock,
    listeners: Vec<ListenerPlan>,
    /// How many clients may be connected, over all workers.
    pub(crate) clients: ClientLimits,
    /// What is said when descriptors run out.
    pub(crate) exhaustion: Exhaustion,
    /// By how many nanoseconds a worker's timer was late at most, since that was read.
    stall: AtomicU64,
    services: Vec<ServiceEntry>,
    workers: Vec<Arc<WorkerCounters>>,
    /// The secret of exact shapes.
    pub(crate) shape_keys: RandomState,
    /// By worker.
    rescues: Vec<RescueInbox>,
    mirrors: Vec<(ServiceId, ServiceId)>,
    /// Whether some service keeps answers.
    keeps_answers: bool,
    /// Who decides about faults on purpose, by the place of policies.
    injects: Vec<Option<Inject>>,
    /// How many requests a second may come by routes, by the place of the route.
    rates: Vec<Option<RateGate>>,
    pub(crate) access_log: bool,
    /// The lasting tasks, of the workers and of whoever shares the list.
    tasks: Tasks,
    /// Workers that have ended although nobody wanted them to.
    pub(crate) workers_lost: AtomicUsize,
}

/// One service as the data plane knows it.
#[derive(Debug)]
pub struct ServiceEntry {
    name: String,
    servers: Vec<ServerEntry>,
    roster: ArcSwap<Roster>,
    /// The version of the roster. Workers look at it once per request.
    version: AtomicU64,
    /// Held while the next roster is made.
    changing: Mutex<()>,
    /// A person has taken the service into maintenance: its requests are answered for it.
    in_maintenance: AtomicBool,
    /// What requests are hashed on, if the policy hashes.
    pub(crate) hash_on: Option<HashOn>,
    /// Requests that bring servers down.
    pub(crate) quarantine: QuarantineGate,
    /// What holds for it as a whole.
    pub(crate) ordered: Ordered,
    pub(crate) queue: Queue,
    /// Requests that wait for a server to come back, if the service holds them.
    pub(crate) holding: Option<Holding>,
    pub(crate) admission: Admission,
    /// Old answers, if any are kept.
    pub(crate) stale: Option<Stale>,
    /// What its requests go by, unless their route has something of its own.
    pub(crate) policies: Policies,
    pub(crate) request_headers: HeaderChanges,
    pub(crate) response_headers: HeaderChanges,
    pub(crate) mirror: Option<Mirror>,
    /// The field of responses in which servers say how busy they are.
    pub(crate) load_header: Option<String>,
    /// How servers are asked how busy they are, if they are.
    pub(crate) ask: Option<AskPlan>,
    budget: Budget,
}

/// One server as the data plane knows it.
#[derive(Debug)]
pub struct ServerEntry {
    name: String,
}

impl ProxyState {
    pub(crate) fn new(plan: &Plan, clock: Clock, seed: u64) -> Self {
        let mut random = Random::seeded(seed);
        let mut state = Self {
            clock,
            listeners: plan.listeners.clone(),
            clients: ClientLimits::new(plan),
            exhaustion: Exhaustion::default(),
            stall: AtomicU64::new(0),
            services: plan
                .services
                .iter()
                .enumerate()
                .map(|(place, service)| ServiceEntry {
                    stale: stale_of(plan, place).map(Stale::new),
                    ..ServiceEntry::new(service, clock, &mut random)
                })
                .collect(),
            workers: (0..plan.workers.max(1))
                .map(|_| Arc::new(WorkerCounters::new(plan)))
                .collect(),
            shape_keys: RandomState::new(),
            rescues: (0..plan.workers.max(1))
                .map(|_| RescueInbox::default())
                .collect(),
            mirrors: mirror::pairs(plan),
            keeps_answers: false,
            injects: Vec::new(),
            rates: Vec::new(),
            access_log: plan.log.access,
            tasks: Tasks::default(),
            workers_lost: AtomicUsize::new(0),
        };
        state.keeps_answers = state.services.iter().any(|service| service.stale.is_some());
        let injects = state.policies().map(|policies| policies.inject);
        state.injects = injects.map(|inject| inject.map(Inject::new)).collect();
        let rates = state.routes().map(|route| route.rate.as_ref());
        let mut gate = |rule: Option<&RateRule>| rule.map(|rule| RateGate::new(rule, &mut random));
        state.rates = rates.map(&mut gate).collect();
        state
    }

    /// The lasting tasks of the program: those of the workers, and whose else shares the list.
    #[must_use]
    pub const fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Workers that have ended although nobody wanted them to, with their share of connections.
    #[must_use]
    pub fn workers_lost(&self) -> usize {
        self.workers_lost.load(Ordering::Relaxed)
    }

    /// # Errors
    /// Says how many workers are lost, if any is.
    pub fn all_workers_run(&self) -> Result<(), String> {
        match self.workers_lost() {
            0 => Ok(()),
            lost => Err(format!(
                "{lost} of evenkeel's workers are lost by a mistake of its own: a part of the clients is not served"
            )),
        }
    }

    /// Whether some service keeps answers.
    pub(crate) const fn keeps_answers(&self) -> bool {
        self.keeps_answers
    }

    /// The services, in the order of the plan.
    #[must_use]
    pub fn services(&self) -> &[ServiceEntry] {
        &self.services
    }

    /// Tells the balancer.
    pub fn apply(&self, directive: &Directive, now: Instant) {
        let server = directive.server();
        let Some(service) = self.services.get(server.service.0 as usize) else {
            return;
        };
        let roster = service.roster();
        if matches!(directive, Directive::Rescue { .. }) {
            self.rescues.iter().for_each(|inbox| inbox.push(server));
        }
        let pool = roster.pool();
        if let Some(member) = pool.members().get(server.index as usize) {
            let was_repaired = member.state.is_being_repaired(now);
            member.state.apply(directive, now);
            if let Some(holding) = &service.holding {
                holding.told(
                    directive,
                    was_repaired != member.state.is_being_repaired(now),
                );
            }
        }
    }

    /// Puts servers from DNS into their places, or takes them out. Requests that are under way go on as they began.
    pub fn change(&self, service: ServiceId, changes: &[(u32, Option<Joined>)], now: Instant) {
        if let Some(service) = self.services.get(service.0 as usize) {
            service.change(changes, now);
        }
    }

    /// Keeps the requests of a service from its servers, or sends them there again. Those under way go on.
    pub fn set_maintenance(&self, service: ServiceId, on: bool) {
        if let Some(service) = self.services.get(service.0 as usize) {
            service.in_maintenance.store(on, Ordering::Release);
            service.holding.iter().for_each(Holding::tell);
        }
    }

    /// No request waits any longer for a server to come back.
    pub(crate) fn end_holds(&self) {
        let holding = self
            .services
            .iter()
            .filter_map(|service| service.holding.as_ref());
        holding.for_each(Holding::end);
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

    pub(crate) fn workers(&self) -> &[Arc<WorkerCounters>] {
        &self.workers
    }

    /// From where to where requests are copied, each pair once.
    pub(crate) fn mirrors(&self) -> &[(ServiceId, ServiceId)] {
        &self.mirrors
    }

    pub(crate) fn injects(&self) -> &[Option<Inject>] {
        &self.injects
    }

    pub(crate) fn listeners(&self) -> &[ListenerPlan] {
        &self.listeners
    }

    /// All policies, by their place: those of services, then those of routes.
    pub(crate) fn policies(&self) -> impl Iterator<Item = &Policies> {
        let services = self.services.iter().map(|service| &service.policies);
        services.chain(self.route_policies().map(|(_, policies)| policies))
    }

    /// Whether `holds` for the policies of the service at `place`, or for those of a route to it.
    pub(crate) fn any_policies(&self, place: usize, holds: impl Fn(&Policies) -> bool) -> bool {
        let of_routes = self.route_policies();
        let mut of_routes = of_routes.filter(|(service, _)| service.0 as usize == place);
        holds(&self.services[place].policies) || of_routes.any(|(_, policies)| holds(policies))
    }

    /// Those that routes have of their own, with the service that each is for.
    pub(crate) fn route_policies(&self) -> impl Iterator<Item = &(ServiceId, Policies)> {
        self.routes().flat_map(|route| &route.policies)
    }

    /// Those of all listeners, by their place.
    pub(crate) fn routes(&self) -> impl Iterator<Item = &Route> {
        self.listeners.iter().flat_map(|listener| &listener.routes)
    }

    /// How many requests a second may come by this route, if that is bounded.
    pub(crate) fn rate(&self, route: &Route) -> Option<&RateGate> {
        self.rates.get(route.place as usize)?.as_ref()
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }
}

/// How old answers of the service at this place are kept: as it says itself, else as the first route says that leads to it.
fn stale_of(plan: &Plan, place: usize) -> Option<StaleOptions> {
    let routes = (plan.listeners.iter()).flat_map(|listener| &listener.routes);
    let of_routes = routes
        .flat_map(|route| &route.policies)
        .filter(|(service, _)| service.0 as usize == place)
        .map(|(_, policies)| policies);
    let mut all = std::iter::once(&plan.services[place].policies).chain(of_routes);
    all.find_map(|policies| policies.fallback.as_ref()?.stale)
}

impl ServiceEntry {
    fn new(plan: &ServicePlan, clock: Clock, random: &mut Random) -> Self {
        let now = clock.now();
        let servers = plan.servers.iter().map(|server| ServerEntry {
            name: server.name.clone(),
        });
        Self {
            name: plan.name.clone(),
            servers: servers.collect(),
            roster: ArcSwap::from_pointee(Roster::new(plan, now)),
            version: AtomicU64::new(0),
            changing: Mutex::new(()),
            in_maintenance: AtomicBool::new(false),
            quarantine: QuarantineGate::default(),
            ordered: Ordered::default(),
            queue: Queue::new(plan.limit.queue, clock),
            holding: plan.hold_requests.map(Holding::new),
            admission: Admission::new(&plan.limit, random),
            stale: None,
            hash_on: plan.balance.policy.hashes().then(|| plan.hash_on.clone()),
            policies: plan.policies.clone(),
            request_headers: plan.request_headers.clone(),
            response_headers: plan.response_headers.clone(),
            mirror: plan.mirror.clone(),
            load_header: plan.load_header.clone(),
            ask: plan.ask.clone(),
            budget: Budget::new(plan.policies.retry.budget, now),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its servers, in the order of the plan.
    #[must_use]
    pub fn servers(&self) -> &[ServerEntry] {
        &self.servers
    }

    /// Its servers as they are now, in the same order.
    #[must_use]
    pub fn roster(&self) -> Arc<Roster> {
        self.roster.load_full()
    }

    /// Whether its requests are answered for it.
    #[must_use]
    pub fn in_maintenance(&self) -> bool {
        self.in_maintenance.load(Ordering::Relaxed)
    }

    /// The version of [`Self::roster`].
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Bounds are found for servers that have none, or, without hints, not any more; and the service fails over, or not any more.
    pub(crate) fn follow(&self, orders: &ServiceOrders, now: Instant) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let next = self.roster.load();
        self.replace(next.ordered(&orders.limits, orders.fails_over, now));
    }

    /// What was ordered was not renewed in time, and ends. If it was renewed since the caller saw that, it stays: whoever renewed it
    /// found it in place, and will not put it back.
    pub(crate) fn orders_have_run_out(&self, now: Instant) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.ordered.holds() {
            self.replace(self.roster.load().ordered(&[], false, now));
        }
    }

    fn change(&self, changes: &[(u32, Option<Joined>)], now: Instant) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.replace(self.roster.load().with(changes, now));
    }

    fn replace(&self, next: Roster) {
        let version = next.version;
        self.roster.store(Arc::new(next));
        self.version.store(version, Ordering::Release);
    }

    /// How servers are asked how busy they are, if they are.
    #[must_use]
    pub const fn ask(&self) -> Option<&AskPlan> {
        self.ask.as_ref()
    }

    /// Requests that wait because all servers have as many as they may.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.queue.waiting()
    }

    /// Requests that wait for a server to come back.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.holding.as_ref().map_or(0, Holding::requests)
    }

    /// What pays for its retries.
    #[must_use]
    pub const fn budget(&self) -> &Budget {
        &self.budget
    }
}

impl ServerEntry {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}
