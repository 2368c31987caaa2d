//! What all workers and the control loop share: the services with their servers, and the counters.

use std::net::SocketAddr;
use std::sync::Arc;

use evenkeel_balance::{Member, Pool, ServerState};
use evenkeel_config::Plan;
use evenkeel_config::plan::{ListenerPlan, ServicePlan};
use evenkeel_core::{Directive, Instant, ServiceId};
use evenkeel_request::{HashOn, HeaderChanges, Mirror};
use evenkeel_runtime::Clock;
use evenkeel_tolerate::{Budget, RetryOptions, TimeoutOptions};

use crate::count::WorkerCounters;
use crate::mirror;
use crate::queue::Queue;
use crate::sticky::Sticky;

/// The shared state of the data plane. Workers write atomics in it; nothing in it is ever locked.
#[derive(Debug)]
pub struct ProxyState {
    clock: Clock,
    listeners: Vec<ListenerPlan>,
    services: Vec<ServiceEntry>,
    workers: Vec<Arc<WorkerCounters>>,
    mirrors: Vec<(ServiceId, ServiceId)>,
    pub(crate) access_log: bool,
}

/// One service as the data plane knows it.
#[derive(Debug)]
pub struct ServiceEntry {
    name: String,
    servers: Vec<ServerEntry>,
    pool: Pool,
    /// What requests are hashed on, if the policy hashes.
    pub(crate) hash_on: Option<HashOn>,
    pub(crate) sticky: Option<Sticky>,
    pub(crate) queue: Queue,
    pub(crate) timeout: TimeoutOptions,
    pub(crate) retry: RetryOptions,
    pub(crate) request_headers: HeaderChanges,
    pub(crate) response_headers: HeaderChanges,
    pub(crate) mirror: Option<Mirror>,
    /// The field of responses in which servers say how busy they are.
    pub(crate) load_header: Option<String>,
    budget: Budget,
}

/// One server as the data plane knows it.
#[derive(Debug)]
pub struct ServerEntry {
    name: String,
    address: SocketAddr,
}

impl ProxyState {
    pub(crate) fn new(plan: &Plan, clock: Clock) -> Self {
        Self {
            clock,
            listeners: plan.listeners.clone(),
            services: plan
                .services
                .iter()
                .map(|service| ServiceEntry::new(service, clock.now()))
                .collect(),
            workers: (0..plan.workers.max(1))
                .map(|_| Arc::new(WorkerCounters::new(plan)))
                .collect(),
            mirrors: mirror::pairs(plan),
            access_log: plan.log.access,
        }
    }

    /// The services, in the order of the plan.
    #[must_use]
    pub fn services(&self) -> &[ServiceEntry] {
        &self.services
    }

    /// Tells the balancer.
    pub fn apply(&self, directive: &Directive, now: Instant) {
        let server = directive.server();
        let members = self
            .services
            .get(server.service.0 as usize)
            .map(|service| service.pool.members());
        if let Some(member) = members.and_then(|members| members.get(server.index as usize)) {
            member.state.apply(directive, now);
        }
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

    pub(crate) fn workers(&self) -> &[Arc<WorkerCounters>] {
        &self.workers
    }

    /// From where to where requests are copied, each pair once.
    pub(crate) fn mirrors(&self) -> &[(ServiceId, ServiceId)] {
        &self.mirrors
    }

    pub(crate) fn listeners(&self) -> &[ListenerPlan] {
        &self.listeners
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }
}

impl ServiceEntry {
    fn new(plan: &ServicePlan, now: Instant) -> Self {
        let members = plan.servers.iter().zip(identities(plan));
        let members = members.map(|(server, identity)| Member {
            identity: identity.into(),
            state: Arc::new(ServerState::new()),
            weight: server.weight,
            tier: server.tier,
            near: server.near,
            max_requests: server.max_requests,
        });
        let servers = plan.servers.iter().map(|server| ServerEntry {
            name: server.name.clone(),
            address: server.address,
        });
        Self {
            name: plan.name.clone(),
            servers: servers.collect(),
            pool: Pool::new(plan.balance.clone(), members.collect()),
            sticky: plan.sticky.as_ref().map(|sticky| {
                let identities: Vec<String> = identities(plan).collect();
                Sticky::new(sticky, &plan.name, identities.iter().map(String::as_str))
            }),
            queue: Queue::new(plan.queue),
            hash_on: plan.balance.policy.hashes().then(|| plan.hash_on.clone()),
            timeout: plan.timeout,
            retry: plan.retry.clone(),
            request_headers: plan.request_headers.clone(),
            response_headers: plan.response_headers.clone(),
            mirror: plan.mirror.clone(),
            load_header: plan.load_header.clone(),
            budget: Budget::new(plan.retry.budget, now),
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

    /// Its servers as the balancer sees them, in the same order.
    #[must_use]
    pub const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// What pays for its retries.
    #[must_use]
    pub const fn budget(&self) -> &Budget {
        &self.budget
    }
}

/// What tells a server from others wherever it is used: its address.
fn identities(plan: &ServicePlan) -> impl Iterator<Item = String> {
    plan.servers.iter().map(|server| server.address.to_string())
}

impl ServerEntry {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}
