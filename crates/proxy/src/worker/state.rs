//! What all workers and the control loop share: the services with their servers, and the counters.

use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_config::Plan;
use evenkeel_config::plan::{ListenerPlan, LoadProbePlan, ServicePlan};
use evenkeel_core::{
    Directive, ExactShape, Instant, Random, ServiceId, ServiceOrders, ShapeOrders,
};
use evenkeel_request::route::{RateRule, Route};
use evenkeel_request::service::{
    AdmissionOptions, BreakerChange, Joined, RateLimiter, ServerOptions, ServerSet, Service,
    ServiceOptions, StickyOptions, WatchOptions,
};
use evenkeel_request::{HeaderChanges, Mirror, Policies};
use evenkeel_runtime::{Clock, Tasks};
use evenkeel_tolerate::{Budget, Inject, StaleOptions};

use crate::cache::store::Stale;
use crate::listener::limits::ClientLimits;
use crate::stats::counters::{ServiceCounters, WorkerCounters};
use crate::worker::exhaustion::Exhaustion;
use crate::worker::rescue::RescueInbox;

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
    rates: Vec<Option<RateLimiter>>,
    pub(crate) access_log: bool,
    /// The lasting tasks, of the workers and of whoever shares the list.
    tasks: Tasks,
    /// By worker: whether it has panicked or could not be started, and does not run for now.
    lost: Vec<AtomicBool>,
}

/// One service as the data plane knows it: what its requests share, and what only evenkeel's own connections need.
#[derive(Debug)]
pub struct ServiceEntry {
    service: Service,
    /// Old answers, if any are kept.
    pub(crate) stale: Option<Stale>,
    pub(crate) request_headers: HeaderChanges,
    pub(crate) response_headers: HeaderChanges,
    pub(crate) mirror: Option<Mirror>,
    /// The field of responses in which servers say how busy they are.
    pub(crate) load_header: Option<String>,
    /// How servers are asked how busy they are, if they are.
    pub(crate) ask: Option<LoadProbePlan>,
}

impl ProxyState {
    pub(crate) fn new(plan: &Plan, clock: Clock, seed: u64) -> Self {
        let mut random = Random::seeded(seed);
        let mirrors = mirror_pairs(plan);
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
                .map(|_| Arc::new(WorkerCounters::new(plan, mirrors.len())))
                .collect(),
            shape_keys: RandomState::new(),
            rescues: (0..plan.workers.max(1))
                .map(|_| RescueInbox::default())
                .collect(),
            mirrors,
            keeps_answers: false,
            injects: Vec::new(),
            rates: Vec::new(),
            access_log: plan.log.access,
            tasks: Tasks::default(),
            lost: (0..plan.workers.max(1))
                .map(|_| AtomicBool::new(false))
                .collect(),
        };
        state.keeps_answers = state.services.iter().any(|service| service.stale.is_some());
        let injects = state.policies().map(|policies| policies.inject);
        state.injects = injects.map(|inject| inject.map(Inject::new)).collect();
        let rates = state.routes().map(|route| route.rate.as_ref());
        let mut gate =
            |rule: Option<&RateRule>| rule.map(|rule| RateLimiter::new(rule, &mut random));
        state.rates = rates.map(&mut gate).collect();
        state
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
        let Some(entry) = self.services.get(server.service.0 as usize) else {
            return;
        };
        if matches!(directive, Directive::Rescue { .. }) {
            self.rescues.iter().for_each(|inbox| inbox.push(server));
        }
        entry.service.apply(directive, now);
    }

    /// Puts servers from DNS into their slots, or takes them out. Requests that are under way go on as they began.
    pub fn change(&self, service: ServiceId, changes: &[(u32, Option<Joined>)], now: Instant) {
        if let Some(entry) = self.services.get(service.0 as usize) {
            entry.service.change(changes, now);
        }
    }

    /// Keeps the requests of a service from its servers, or sends them there again. Those under way go on.
    pub fn set_maintenance(&self, service: ServiceId, on: bool) {
        if let Some(entry) = self.services.get(service.0 as usize) {
            entry.service.set_maintenance(on);
        }
    }

    /// Keeps certain requests of a service from its servers, and has others watched. Replaces what was ordered before.
    pub fn set_shapes(&self, orders: &ShapeOrders) {
        if let Some(entry) = self.services.get(orders.service.0 as usize) {
            entry.service.set_shapes(orders);
        }
    }

    /// What holds for a service as a whole from now on. Replaces what was ordered before.
    pub fn set_service(&self, orders: &ServiceOrders) {
        if let Some(entry) = self.services.get(orders.service.0 as usize) {
            entry.service.set_orders(orders, self.now());
        }
    }

    /// Exactly what the request with this head asks for. Nobody outside knows the key of the hashes.
    #[must_use]
    pub fn exact_shape(&self, head: &[u8]) -> ExactShape {
        ExactShape::of_head(&self.shape_keys, head)
    }

    /// No request waits any longer for a server to come back.
    pub(crate) fn end_holds(&self) {
        self.services
            .iter()
            .for_each(|entry| entry.service.end_holds());
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

    /// The numbers of each worker of one service.
    pub(crate) fn counters(&self, service: ServiceId) -> impl Iterator<Item = &ServiceCounters> {
        self.workers()
            .iter()
            .filter_map(move |worker| worker.services.get(service.0 as usize))
    }

    /// A number of all workers together.
    pub(crate) fn add_up(&self, number: impl Fn(&WorkerCounters) -> u64) -> u64 {
        self.workers().iter().map(|worker| number(worker)).sum()
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
        let services = self.services.iter().map(ServiceEntry::policies);
        services.chain(self.route_policies().map(|(_, policies)| policies))
    }

    /// Whether `holds` for the policies of the service at `place`, or for those of a route to it.
    pub(crate) fn any_policies(&self, place: usize, holds: impl Fn(&Policies) -> bool) -> bool {
        let of_routes = self.route_policies();
        let mut of_routes = of_routes.filter(|(service, _)| service.0 as usize == place);
        holds(self.services[place].policies()) || of_routes.any(|(_, policies)| holds(policies))
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
    pub(crate) fn rate(&self, route: &Route) -> Option<&RateLimiter> {
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
        Self {
            service: Service::new(options(plan), clock.now(), random),
            stale: None,
            request_headers: plan.request_headers.clone(),
            response_headers: plan.response_headers.clone(),
            mirror: plan.mirror.clone(),
            load_header: plan.load_header.clone(),
            ask: plan.ask.clone(),
        }
    }

    /// What its requests share.
    #[must_use]
    pub const fn service(&self) -> &Service {
        &self.service
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.service.name()
    }

    /// The names of its servers, in the order of the plan.
    #[must_use]
    pub fn server_names(&self) -> &[String] {
        self.service.server_names()
    }

    /// Its servers as they are now, in the same order.
    #[must_use]
    pub fn servers(&self) -> Arc<ServerSet> {
        self.service.servers()
    }

    /// Whether its requests are answered for it.
    #[must_use]
    pub fn in_maintenance(&self) -> bool {
        self.service.in_maintenance()
    }

    /// What its requests go by, unless their route has something of its own.
    #[must_use]
    pub const fn policies(&self) -> &Policies {
        self.service.policies()
    }

    /// How servers are asked how busy they are, if they are.
    #[must_use]
    pub const fn ask(&self) -> Option<&LoadProbePlan> {
        self.ask.as_ref()
    }

    /// Requests that wait because all servers have as many as they may.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.service.waiting()
    }

    /// Requests that wait for a server to come back.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.service.held()
    }

    /// What pays for its retries.
    #[must_use]
    pub const fn budget(&self) -> &Budget {
        self.service.budget()
    }
}

/// What a service of this plan is made of.
fn options(plan: &ServicePlan) -> ServiceOptions {
    let servers = plan.servers.iter().map(|server| ServerOptions {
        name: server.name.clone(),
        address: server.address.clone(),
        weight: server.weight,
        tier: server.tier,
        near: server.near,
        max_requests: server.max_requests,
    });
    ServiceOptions {
        name: plan.name.clone(),
        servers: servers.collect(),
        balance: plan.balance.clone(),
        hash_on: plan.hash_on.clone(),
        sticky: plan.sticky.as_ref().map(|sticky| StickyOptions {
            by: sticky.by.clone(),
            key: sticky.key.clone(),
        }),
        watch: WatchOptions {
            limit: plan.limit.adaptive,
            breaker: plan.breaker,
            log: Some(log_breaker),
        },
        queue: plan.limit.queue,
        hold: plan.hold_requests,
        admission: AdmissionOptions {
            class_header: plan.limit.class_header.clone(),
            class: plan.limit.class,
            shares: plan.limit.shares,
            rate: plan.limit.rate.clone(),
            throttle: plan.limit.throttle,
        },
        policies: plan.policies.clone(),
    }
}

fn log_breaker(server: &str, change: BreakerChange) {
    match change {
        BreakerChange::Opened(reason, time) => {
            let seconds = time.as_secs_f64();
            tracing::warn!(server, reason, seconds, "a breaker has opened");
        }
        BreakerChange::Closed => tracing::info!(server, "a breaker has closed"),
    }
}

/// From where to where requests are copied, each pair once.
fn mirror_pairs(plan: &Plan) -> Vec<(ServiceId, ServiceId)> {
    let mut pairs = Vec::new();
    for (from, service) in (0..).map(ServiceId).zip(&plan.services) {
        pairs.extend(service.mirror.iter().map(|mirror| (from, mirror.to)));
    }
    for route in plan.listeners.iter().flat_map(|listener| &listener.routes) {
        let to = route.mirror.as_ref().map(|mirror| mirror.to);
        pairs.extend(route.services().filter_map(|from| Some((from, to?))));
    }
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}
