//! What the workers go by: listeners, routes, services and what belongs to them, made whole from one plan.
//!
//! Immutable, one for each plan; a request keeps the one that it began with. What outlives a plan (servers, queues, budgets, counters,
//! tokens) is behind shared references: the snapshot of the next plan takes over those of the keys that it still has. A service's key is
//! its name, which keeps its id; a listener's is its name with its address.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use evenkeel_config::Plan;
use evenkeel_config::plan::{ListenerPlan, ServicePlan};
use evenkeel_core::{Instant, Random, ServiceId};
use evenkeel_request::Policies;
use evenkeel_request::route::Route;
use evenkeel_request::service::{RateLimiter, ServerSet};
use evenkeel_tolerate::{HedgeOptions, Inject, InjectOptions, StaleOptions};

use super::service_entry::{ServiceEntry, ServiceParts};
use crate::listener::limits::Slots;
use crate::stats::counters::MirrorCounters;

/// The data plane by one plan.
#[derive(Debug)]
pub(crate) struct ProxySnapshot {
    /// Grows with each plan.
    generation: u64,
    /// By slot; the slots are [`Self::slots_of`]'s.
    listeners: Vec<Option<Arc<ListenerEntry>>>,
    /// By [`ServiceId`].
    services: Vec<Option<Arc<ServiceEntry>>>,
    mirrors: Vec<Arc<MirrorEntry>>,
    /// Whether some service keeps answers.
    keeps_answers: bool,
    /// Who decides about faults on purpose, by the place of policies.
    injects: Vec<Option<Arc<Inject>>>,
    /// When second attempts are made beside late ones, by the place of policies.
    hedges: Vec<Option<HedgeOptions>>,
    /// How many requests a second may come by routes, by the place of the route.
    rates: Vec<Option<Arc<RateLimiter>>>,
    pub(crate) access_log: bool,
}

/// A listener by one plan.
#[derive(Debug)]
pub(crate) struct ListenerEntry {
    pub(crate) plan: ListenerPlan,
    /// How many clients it has and may have. The same as long as it is the same listener.
    pub(crate) clients: Arc<Slots>,
}

/// A pair of services of which one gets copies of the other's requests.
#[derive(Debug)]
pub(crate) struct MirrorEntry {
    pub(crate) from: ServiceId,
    pub(crate) to: ServiceId,
    /// The numbers of each worker.
    pub(crate) counters: Vec<Arc<MirrorCounters>>,
}

/// What a snapshot is made with, beside the plan.
pub(crate) struct SnapshotContext<'c> {
    pub(crate) workers: usize,
    pub(crate) now: Instant,
    /// Seeds what is random in new services and rates.
    pub(crate) random: &'c mut Random,
    /// Whether a service by this plan differs from the one with the same name in the snapshot before.
    pub(crate) has_changed: &'c dyn Fn(ServiceId) -> bool,
}

impl ProxySnapshot {
    /// Before the first plan.
    pub(crate) const fn empty() -> Self {
        Self {
            generation: 0,
            listeners: Vec::new(),
            services: Vec::new(),
            mirrors: Vec::new(),
            keeps_answers: false,
            injects: Vec::new(),
            hedges: Vec::new(),
            rates: Vec::new(),
            access_log: false,
        }
    }

    /// The next one, by `plan`. What its services share takes the options of the plan at once.
    pub(crate) fn next(&self, plan: &Plan, context: &mut SnapshotContext<'_>) -> Self {
        let mut services = Vec::new();
        let stale = (&stale_of_routes(plan), self.lacks_route_of(plan));
        for service in &plan.services {
            let entry = self.next_service(service, stale, context);
            put(&mut services, service.id.0, Some(entry));
        }
        let routes = || plan.listeners.iter().flat_map(|listener| &listener.routes);
        let policies = || {
            let of_routes = routes().flat_map(|route| &route.policies);
            let of_services = plan.services.iter().map(|service| &service.policies);
            of_services.chain(of_routes.map(|(_, policies)| policies))
        };
        let (mut injects, mut hedges, mut rates) = (Vec::new(), Vec::new(), Vec::new());
        for policies in policies() {
            put(&mut hedges, policies.place, policies.hedge);
            let inject = self.next_inject(policies.place, policies.inject);
            put(&mut injects, policies.place, inject);
        }
        for route in routes() {
            let before = self.rates.get(route.place as usize);
            let before = before.and_then(Option::as_ref);
            let (now, random) = (context.now, &mut *context.random);
            let rate = RateLimiter::follow(before, route.rate.as_ref(), now, random);
            put(&mut rates, route.place, rate);
        }
        let stale = |entry: &Arc<ServiceEntry>| entry.stale.is_some();
        Self {
            generation: self.generation + 1,
            listeners: self.next_listeners(plan),
            keeps_answers: services.iter().flatten().any(stale),
            services,
            mirrors: self.next_mirrors(plan, context.workers),
            injects,
            hedges,
            rates,
            access_log: plan.log.access,
        }
    }

    /// Whether `plan` has a route that is not in this snapshot, and that may have the place of one that went before.
    fn lacks_route_of(&self, plan: &Plan) -> bool {
        let known = self.listeners().flat_map(|(_, entry)| &entry.plan.routes);
        let known: BTreeSet<u32> = known.map(|route| route.place).collect();
        let mut wanted = plan.listeners.iter().flat_map(|listener| &listener.routes);
        wanted.any(|route| !known.contains(&route.place))
    }

    fn next_service(
        &self,
        service: &ServicePlan,
        (stale, forgets): (&BTreeMap<ServiceId, StaleOptions>, bool),
        context: &mut SnapshotContext<'_>,
    ) -> Arc<ServiceEntry> {
        let parts = ServiceParts {
            plan: service,
            stale: stale_of(&service.policies).or_else(|| stale.get(&service.id).copied()),
            forgets,
            now: context.now,
        };
        let id = service.id;
        let before = self
            .service(id)
            .filter(|entry| entry.name() == service.name);
        match before {
            None => Arc::new(ServiceEntry::new(&parts, context.workers, context.random)),
            Some(entry) if entry.keeps_by(&parts) && !(context.has_changed)(id) => {
                Arc::clone(entry)
            }
            Some(entry) => Arc::new(entry.reconfigured(&parts, context.random)),
        }
    }

    fn next_inject(&self, place: u32, options: Option<InjectOptions>) -> Option<Arc<Inject>> {
        let options = options?;
        let before = self.injects.get(place as usize).and_then(Option::as_ref);
        Some(match before {
            None => Arc::new(Inject::new(options)),
            Some(before) if before.options() == options => Arc::clone(before),
            Some(before) => Arc::new(before.continued(options)),
        })
    }

    fn next_mirrors(&self, plan: &Plan, workers: usize) -> Vec<Arc<MirrorEntry>> {
        let next = |(from, to)| {
            let is_same = |known: &&Arc<MirrorEntry>| (known.from, known.to) == (from, to);
            let known = self.mirrors.iter().find(is_same).map(Arc::clone);
            known.unwrap_or_else(|| {
                let counters = (0..workers).map(|_| Arc::default()).collect();
                Arc::new(MirrorEntry { from, to, counters })
            })
        };
        mirror_pairs(plan).into_iter().map(next).collect()
    }

    /// The slot of each listener of `plan`, and whether it is a listener that there is already.
    pub(crate) fn slots_of(&self, plan: &Plan) -> Vec<(usize, bool)> {
        let known = |listener: &ListenerPlan| {
            let is_same = |entry: &Option<Arc<ListenerEntry>>| {
                entry.as_ref().is_some_and(|entry| {
                    let known = &entry.plan;
                    (&known.name, &known.address) == (&listener.name, &listener.address)
                })
            };
            self.listeners.iter().position(is_same)
        };
        let known: Vec<Option<usize>> = plan.listeners.iter().map(known).collect();
        let mut free = (0..).filter(|slot| !known.contains(&Some(*slot)));
        let slots = known.iter().map(|known| match known {
            Some(slot) => (*slot, true),
            None => (free.next().unwrap_or_default(), false),
        });
        slots.collect()
    }

    fn next_listeners(&self, plan: &Plan) -> Vec<Option<Arc<ListenerEntry>>> {
        let mut listeners = Vec::new();
        for (listener, (slot, is_known)) in plan.listeners.iter().zip(self.slots_of(plan)) {
            let limit = listener.limits.connections;
            let clients = match self.listener(slot).filter(|_| is_known) {
                None => Arc::new(Slots::new(limit)),
                Some(known) => {
                    known.clients.set_limit(limit);
                    Arc::clone(&known.clients)
                }
            };
            let plan = listener.clone();
            listeners.resize_with(listeners.len().max(slot + 1), || None);
            listeners[slot] = Some(Arc::new(ListenerEntry { plan, clients }));
        }
        listeners
    }

    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether some service keeps answers.
    pub(crate) const fn keeps_answers(&self) -> bool {
        self.keeps_answers
    }

    /// The service with this id, if there is one.
    pub(crate) fn service(&self, id: ServiceId) -> Option<&Arc<ServiceEntry>> {
        self.services.get(id.0 as usize)?.as_ref()
    }

    /// Those that there are, by their ids.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Arc<ServiceEntry>> {
        self.services.iter().flatten()
    }

    /// The servers of each service as they are now.
    pub(crate) fn server_sets(&self) -> Vec<(ServiceId, Arc<ServerSet>)> {
        let services = self.services();
        services
            .map(|entry| (entry.id(), entry.servers()))
            .collect()
    }

    /// One more than the greatest id.
    pub(crate) const fn service_slots(&self) -> usize {
        self.services.len()
    }

    /// From where to where requests are copied, each pair once.
    pub(crate) fn mirrors(&self) -> &[Arc<MirrorEntry>] {
        &self.mirrors
    }

    pub(crate) fn listener(&self, slot: usize) -> Option<&Arc<ListenerEntry>> {
        self.listeners.get(slot)?.as_ref()
    }

    /// Those that there are, with their slots.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = (usize, &Arc<ListenerEntry>)> {
        let all = self.listeners.iter().enumerate();
        all.filter_map(|(slot, entry)| Some((slot, entry.as_ref()?)))
    }

    /// Whether `holds` for the policies of this service, or for those of a route to it.
    pub(crate) fn any_policies(
        &self,
        entry: &ServiceEntry,
        holds: impl Fn(&Policies) -> bool,
    ) -> bool {
        let of_routes = self.route_policies();
        let mut of_routes = of_routes.filter(|(service, _)| *service == entry.id());
        holds(entry.policies()) || of_routes.any(|(_, policies)| holds(policies))
    }

    /// Those that routes have of their own, with the service that each is for.
    pub(crate) fn route_policies(&self) -> impl Iterator<Item = &(ServiceId, Policies)> {
        self.routes().flat_map(|route| &route.policies)
    }

    /// Those of all listeners.
    pub(crate) fn routes(&self) -> impl Iterator<Item = &Route> {
        self.listeners().flat_map(|(_, entry)| &entry.plan.routes)
    }

    /// How many requests a second may come by this route, if that is bounded.
    pub(crate) fn rate(&self, route: &Route) -> Option<&RateLimiter> {
        self.rates.get(route.place as usize)?.as_deref()
    }

    /// Who decides about faults for requests that go by the policies at this place, if anybody does.
    pub(crate) fn inject(&self, place: u32) -> Option<&Inject> {
        self.injects.get(place as usize)?.as_deref()
    }

    /// When second attempts are made beside late ones, by the place of policies.
    pub(crate) fn hedges(&self) -> &[Option<HedgeOptions>] {
        &self.hedges
    }
}

/// Puts `value` at its place in a list that grows.
fn put<T>(list: &mut Vec<Option<T>>, place: u32, value: Option<T>) {
    let place = place as usize;
    list.resize_with(list.len().max(place + 1), || None);
    list[place] = value;
}

/// How old answers are kept by these policies, if they are.
fn stale_of(policies: &Policies) -> Option<StaleOptions> {
    policies.fallback.as_ref()?.stale
}

/// The same for each service, as the first route says that leads to it. What the service says itself comes before that.
fn stale_of_routes(plan: &Plan) -> BTreeMap<ServiceId, StaleOptions> {
    let routes = (plan.listeners.iter()).flat_map(|listener| &listener.routes);
    let of_routes = routes.flat_map(|route| &route.policies);
    let mut stale = BTreeMap::new();
    for (service, policies) in of_routes {
        if let Some(options) = stale_of(policies) {
            stale.entry(*service).or_insert(options);
        }
    }
    stale
}

/// From where to where requests are copied, each pair once.
fn mirror_pairs(plan: &Plan) -> Vec<(ServiceId, ServiceId)> {
    let mut pairs = Vec::new();
    for service in &plan.services {
        let mirrors = service.mirror.iter();
        pairs.extend(mirrors.map(|mirror| (service.id, mirror.to)));
    }
    for route in plan.listeners.iter().flat_map(|listener| &listener.routes) {
        let to = route.mirror.as_ref().map(|mirror| mirror.to);
        pairs.extend(route.services().filter_map(|from| Some((from, to?))));
    }
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}
