//! What the requests of one service share: its servers, the queue, admission, requests that are held, quarantine, what is ordered about
//! it, and the retry budget. Written by all workers and the control loop, without a lock on the path of a request but the queue's.
//!
//! No clock and no runtime: the time is an argument, and those that wait leave a waker.

mod sticky;
mod watch;
mod server_set;
mod turn;
pub(crate) mod queue;
pub(crate) mod in_flight;
pub(crate) mod holding;
mod orders;
pub(crate) mod unsettled;
mod quarantine;
mod admission;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use evenkeel_balance::{BalanceOptions, Policy};
use evenkeel_core::metric::Sink;
use evenkeel_core::{Directive, Instant, Random, ServiceOrders, ShapeOrders};
use evenkeel_tolerate::{Budget, Class, QueueOptions, ShedOptions};

use crate::hold::HoldOptions;
use crate::{HashOn, Policies};

pub use admission::{Admission, AdmissionOptions, RateLimiter};
pub use in_flight::InFlightGuard;
pub use server_set::{CachedServerSet, Joined, ServerOptions, ServerSet};
pub use sticky::{Sticky, StickyBy, StickyKey, StickyOptions};
pub use watch::{BreakerChange, BreakerLog, WatchOptions};

use holding::{HoldState, Holding};
use orders::Orders;
use quarantine::QuarantineGate;
use queue::WaitQueue;
use server_set::SetOptions;

/// What a service is made of.
#[derive(Debug, Clone)]
pub struct ServiceOptions {
    /// Its name.
    pub name: String,
    /// Its servers, in the order of their indices.
    pub servers: Vec<ServerOptions>,
    /// Which server takes the next attempt.
    pub balance: BalanceOptions,
    /// What requests are hashed on; used if the balancing policy hashes.
    pub hash_on: HashOn,
    /// How clients stay with their servers, if they do.
    pub sticky: Option<StickyOptions>,
    /// What is watched of each server.
    pub watch: WatchOptions,
    /// The queue while all servers are at their limit.
    pub queue: QueueOptions,
    /// Which requests wait for the first server that comes back, if any do.
    pub hold: Option<HoldOptions>,
    /// Whether the exits of its servers' processes become known. Then a request that two of them broke off is held back until it is
    /// known whether it ended them, for a quarter of a second at most.
    pub tells_exits: bool,
    /// What is refused at once.
    pub admission: AdmissionOptions,
    /// The policies of its requests, unless a route overrides them.
    pub policies: Policies,
}

impl ServiceOptions {
    /// A service for tests: round robin, without limits, and nothing that is optional. Not the defaults of the configuration.
    #[doc(hidden)]
    #[must_use]
    pub fn plain(name: &str, servers: Vec<ServerOptions>, policies: Policies) -> Self {
        Self {
            name: name.to_owned(),
            servers,
            balance: BalanceOptions {
                policy: Policy::RoundRobin,
                panic_below: 0.5,
                slow_start: Duration::ZERO,
                bounded_load: None,
                maglev_table: 251,
                overprovisioning: 1.4,
                subset: None,
            },
            hash_on: HashOn::SourceIp { v4: 32, v6: 64 },
            sticky: None,
            watch: WatchOptions::default(),
            queue: QueueOptions::default(),
            hold: None,
            tells_exits: false,
            admission: AdmissionOptions {
                class_header: None,
                class: Class::Critical,
                shares: ShedOptions::default(),
                rate: None,
                throttle: None,
            },
            policies,
        }
    }
}

/// What the requests of one service share, with the options of one configuration. Those with the options of the next one
/// ([`Self::reconfigured`]) share the rest with them.
#[derive(Debug)]
pub struct Service {
    name: String,
    hash_on: Option<HashOn>,
    pub(crate) holding: Option<Holding>,
    pub(crate) tells_exits: bool,
    admission: Admission,
    policies: Policies,
    servers: Arc<CurrentServers>,
    pub(crate) quarantine: Arc<QuarantineGate>,
    pub(crate) orders: Arc<Orders>,
    pub(crate) queue: Arc<WaitQueue>,
    held: Arc<HoldState>,
    budget: Arc<Budget>,
}

/// The set of servers that holds now.
#[derive(Debug)]
struct CurrentServers {
    set: ArcSwap<ServerSet>,
    /// Its version. Workers look at it once per request.
    version: AtomicU64,
    /// Held while the next set is made.
    changing: Mutex<()>,
    /// A person has taken the service into maintenance: its requests are answered for it.
    in_maintenance: AtomicBool,
}

impl Service {
    /// A service at `now`; what is random in it is seeded by `random`.
    #[must_use]
    pub fn new(options: ServiceOptions, now: Instant, random: &mut Random) -> Self {
        let set = ServerSet::new(&options.servers, &options.of_set(), now);
        let hashes = options.balance.policy.hashes();
        let held = Arc::<HoldState>::default();
        let state = Arc::clone(&held);
        Self {
            name: options.name,
            hash_on: hashes.then_some(options.hash_on),
            holding: options.hold.map(|options| Holding { options, state }),
            tells_exits: options.tells_exits,
            admission: Admission::new(options.admission, random),
            servers: Arc::new(CurrentServers {
                set: ArcSwap::from_pointee(set),
                version: AtomicU64::new(0),
                changing: Mutex::new(()),
                in_maintenance: AtomicBool::new(false),
            }),
            quarantine: Arc::default(),
            orders: Arc::default(),
            queue: Arc::new(WaitQueue::new(options.queue)),
            held,
            budget: Arc::new(Budget::new(options.policies.retry.budget, now)),
            policies: options.policies,
        }
    }

    /// The same service with other options, from `now` on. What both share takes the new options at once: the servers, the queue (those
    /// that wait go on waiting), the retry budget (which keeps its tokens, up to the new burst). Requests that go on with this value keep
    /// its policies. A server that keeps its name and its address keeps its state.
    #[must_use]
    pub fn reconfigured(&self, options: ServiceOptions, now: Instant, random: &mut Random) -> Self {
        self.servers
            .change(|set| set.reconfigured(&options.servers, options.of_set(), now));
        self.queue.set_options(options.queue);
        let budget = options.policies.retry.budget;
        if budget != self.policies.retry.budget {
            self.budget.reconfigure(budget, now);
        }
        let hashes = options.balance.policy.hashes();
        let state = Arc::clone(&self.held);
        Self {
            name: options.name,
            hash_on: hashes.then_some(options.hash_on),
            holding: options.hold.map(|options| Holding { options, state }),
            tells_exits: options.tells_exits,
            admission: (self.admission).reconfigured(options.admission, now, random),
            policies: options.policies,
            servers: Arc::clone(&self.servers),
            quarantine: Arc::clone(&self.quarantine),
            orders: Arc::clone(&self.orders),
            queue: Arc::clone(&self.queue),
            held: Arc::clone(&self.held),
            budget: Arc::clone(&self.budget),
        }
    }

    /// Whether both are the same service, with the options of two configurations or of one.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.servers, &other.servers)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its servers as they are now.
    #[must_use]
    pub fn servers(&self) -> Arc<ServerSet> {
        self.servers.set.load_full()
    }

    /// The version of [`Self::servers`].
    #[must_use]
    pub fn version(&self) -> u64 {
        self.servers.version.load(Ordering::Acquire)
    }

    /// Whether its requests are answered for it.
    #[must_use]
    pub fn in_maintenance(&self) -> bool {
        self.servers.in_maintenance.load(Ordering::Relaxed)
    }

    /// What requests are hashed on, if the balancing policy hashes.
    #[must_use]
    pub const fn hash_on(&self) -> Option<&HashOn> {
        self.hash_on.as_ref()
    }

    /// What it refuses at once.
    #[must_use]
    pub const fn admission(&self) -> &Admission {
        &self.admission
    }

    /// What its requests go by, unless their route has something of its own.
    #[must_use]
    pub const fn policies(&self) -> &Policies {
        &self.policies
    }

    /// What pays for its retries.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Requests that wait because all servers have as many as they may.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.queue.waiting()
    }

    /// Requests whose turn in the queue came and that did not look for a server in time, since their worker was stuck; since the start.
    #[must_use]
    pub fn lapsed_turns(&self) -> u64 {
        self.queue.lapsed_turns()
    }

    /// Whether its queue takes up a burst now, if one comes: then no class is refused that could be served later.
    #[must_use]
    pub fn takes_up_burst(&self) -> bool {
        self.queue.takes_up_burst()
    }

    /// Requests that wait for a server to come back.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.held.requests()
    }

    /// Requests that had to wait for room, since the start.
    #[must_use]
    pub fn queued(&self) -> u64 {
        self.queue.entered()
    }

    /// Requests that were refused for want of room: their class's share was used, or they waited in vain.
    #[must_use]
    pub fn shed(&self) -> u64 {
        self.queue.denied() + self.admission.shed()
    }

    /// A directive about the server with this index.
    pub fn apply(&self, directive: &Directive, now: Instant) {
        let servers = self.servers();
        let index = directive.server().index as usize;
        let Some(member) = servers.pool().members().get(index) else {
            return;
        };
        let was_repaired = member.state.is_being_repaired(now);
        member.state.apply(directive, now);
        let has_changed = was_repaired != member.state.is_being_repaired(now);
        self.held.apply(directive, has_changed);
        self.quarantine.apply(directive, now);
    }

    /// Puts servers from DNS into their slots, or takes them out. Requests that are under way go on as they began.
    pub fn change(&self, changes: &[(u32, Option<Joined>)], now: Instant) {
        self.servers.change(|set| set.with(changes, now));
    }

    /// Keeps its requests from its servers, or sends them there again. Those under way go on.
    pub fn set_maintenance(&self, on: bool) {
        self.servers.in_maintenance.store(on, Ordering::Release);
        self.held.wake_all();
    }

    /// No request waits any longer for a server to come back.
    pub fn end_holds(&self) {
        self.held.end();
    }

    /// Keeps certain requests from its servers, and has others watched. Replaces what was ordered before.
    pub fn set_shapes(&self, orders: &ShapeOrders) {
        self.quarantine.set(orders);
    }

    /// What holds for it as a whole from now on. Replaces what was ordered before.
    pub fn set_orders(&self, orders: &ServiceOrders, now: Instant) {
        self.orders.set(orders);
        if self.orders.changes_servers(orders) {
            let _changing = self.servers.lock();
            let next = |set: &ServerSet| set.ordered(&orders.limits, orders.fails_over, now);
            self.servers.replace(next);
            self.queue.take_up_bursts(!orders.limits.is_empty());
        }
    }

    /// What was ordered about its servers ends if it was not renewed in time.
    pub(crate) fn end_old_orders(&self, now: Instant) {
        if self.orders.has_run_out(now) {
            self.orders_have_run_out(now);
        }
    }

    /// What was ordered was not renewed in time, and ends. If it was renewed since the caller saw that, it stays: whoever renewed it
    /// found it in place, and will not put it back.
    fn orders_have_run_out(&self, now: Instant) {
        let _changing = self.servers.lock();
        if !self.orders.holds() {
            self.servers.replace(|set| set.ordered(&[], false, now));
            self.queue.take_up_bursts(false);
        }
    }

    /// The metrics of what its requests share. `has_rate`: whether a rate limit can refuse one, by a route or its own.
    pub fn collect(&self, sink: &mut dyn Sink, now: Instant, has_rate: bool) {
        let has_rate = has_rate || self.admission.has_rate();
        self.admission.collect(sink, &self.name, now, has_rate);
        self.quarantine.collect(sink, &self.name, now);
        self.orders.collect(sink, &self.name, now);
        self.queue.collect(sink, &self.name);
        if let Some(holding) = &self.holding {
            holding.collect(sink, &self.name);
        }
    }
}

impl ServiceOptions {
    fn of_set(&self) -> SetOptions {
        SetOptions {
            service: self.name.clone(),
            sticky: self.sticky.clone(),
            watch: self.watch,
            balance: self.balance.clone(),
        }
    }
}

impl CurrentServers {
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, next: impl FnOnce(&ServerSet) -> ServerSet) {
        let _changing = self.lock();
        self.replace(next);
    }

    /// The lock is held.
    fn replace(&self, next: impl FnOnce(&ServerSet) -> ServerSet) {
        let next = next(&self.set.load());
        let version = next.version();
        self.set.store(Arc::new(next));
        self.version.store(version, Ordering::Release);
    }
}

#[cfg(test)]
pub(crate) mod tests;
