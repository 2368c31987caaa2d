//! One service as the data plane knows it in one configuration: what its requests share, and what only evenkeel's own connections need.

use std::sync::Arc;

use evenkeel_config::plan::{LoadProbePlan, ManagedPlan, ServicePlan};
use evenkeel_core::{Instant, Random, ServiceId};
use evenkeel_request::service::{
    AdmissionOptions, BreakerChange, ServerOptions, ServerSet, Service, ServiceOptions,
    StickyOptions, WatchOptions,
};
use evenkeel_request::{HeaderChanges, Mirror, Policies};
use evenkeel_tolerate::{Budget, StaleOptions};

use crate::cache::store::Stale;
use crate::stats::counters::ServiceCounters;

/// One service in one configuration. Immutable but for what its [`Service`] shares with those of other configurations.
#[derive(Debug)]
pub struct ServiceEntry {
    id: ServiceId,
    service: Service,
    /// Old answers, if any are kept.
    pub(crate) stale: Option<Arc<Stale>>,
    pub(crate) request_headers: HeaderChanges,
    pub(crate) response_headers: HeaderChanges,
    pub(crate) mirror: Option<Mirror>,
    /// The field of responses in which servers say how busy they are.
    pub(crate) load_header: Option<String>,
    /// How servers are asked how busy they are, if they are.
    pub(crate) ask: Option<LoadProbePlan>,
    /// The numbers of each worker.
    counters: Vec<Arc<ServiceCounters>>,
}

/// What a service is made of, beside its plan.
#[derive(Debug)]
pub(crate) struct ServiceParts<'p> {
    pub(crate) plan: &'p ServicePlan,
    /// How old answers are kept, if they are.
    pub(crate) stale: Option<StaleOptions>,
    /// Whether answers that are kept may belong to a route that is gone: their keys name routes by their places.
    pub(crate) forgets: bool,
    pub(crate) now: Instant,
}

impl ServiceEntry {
    /// A new service, for so many workers.
    pub(crate) fn new(parts: &ServiceParts<'_>, workers: usize, random: &mut Random) -> Self {
        let counters = || Arc::new(ServiceCounters::new(parts.plan.servers.len()));
        let service = Service::new(options(parts.plan), parts.now, random);
        let stale = parts.stale.map(Stale::new).map(Arc::new);
        let counters = (0..workers).map(|_| counters()).collect();
        Self::of(parts, service, stale, counters)
    }

    /// The same service by another plan, with what it has learnt and counted. Old answers are kept on if they are kept as before.
    pub(crate) fn reconfigured(&self, parts: &ServiceParts<'_>, random: &mut Random) -> Self {
        let before = self.servers();
        let service = (self.service).reconfigured(options(parts.plan), parts.now, random);
        let after = service.servers();
        // Nobody has counted for such a slot since its last server left it.
        let taken = after
            .names()
            .filter(|(index, name)| before.name(*index) != *name);
        for (index, _) in taken {
            let workers = self.counters.iter();
            workers.for_each(|counters| counters.reset_server(index as usize));
        }
        let stale = if self.keeps_by(parts) {
            self.stale.clone()
        } else {
            parts.stale.map(Stale::new).map(Arc::new)
        };
        Self::of(parts, service, stale, self.counters.clone())
    }

    fn of(
        parts: &ServiceParts<'_>,
        service: Service,
        stale: Option<Arc<Stale>>,
        counters: Vec<Arc<ServiceCounters>>,
    ) -> Self {
        let plan = parts.plan;
        Self {
            id: plan.id,
            service,
            stale,
            request_headers: plan.request_headers.clone(),
            response_headers: plan.response_headers.clone(),
            mirror: plan.mirror.clone(),
            load_header: plan.load_header.clone(),
            ask: plan.ask.clone(),
            counters,
        }
    }

    /// Whether the old answers that are kept stay what they are.
    pub(crate) fn keeps_by(&self, parts: &ServiceParts<'_>) -> bool {
        let options = self.stale.as_ref().map(|stale| stale.options());
        options == parts.stale && !(parts.forgets && options.is_some())
    }

    /// Its slot.
    #[must_use]
    pub const fn id(&self) -> ServiceId {
        self.id
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

    /// Its servers as they are now, with their names.
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
    pub fn budget(&self) -> &Budget {
        self.service.budget()
    }

    /// The numbers of each worker.
    pub(crate) fn counters(&self) -> &[Arc<ServiceCounters>] {
        &self.counters
    }

    /// A number of all workers together.
    pub(crate) fn add_up(&self, number: impl Fn(&ServiceCounters) -> u64) -> u64 {
        self.counters.iter().map(|counters| number(counters)).sum()
    }
}

/// What a service of this plan is made of.
fn options(plan: &ServicePlan) -> ServiceOptions {
    let servers = plan.servers.iter().map(|server| ServerOptions {
        index: server.index,
        name: server.name.clone(),
        address: server.address.clone(),
        weight: server.weight,
        tier: server.tier,
        near: server.near,
        max_requests: server.max_requests,
        starts: plan.starts_out_of_rotation(server),
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
        tells_exits: (plan.servers.iter())
            .any(|server| matches!(server.managed, ManagedPlan::Child(_))),
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
