//! DNS listeners: bound before the program reports that it is ready, served on a thread of their own, and answered with
//! the servers that the balancer would pick.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use evenkeel_balance::Picker;
use evenkeel_config::Plan;
use evenkeel_config::plan::DnsPlan;
use evenkeel_core::ServiceId;
use evenkeel_dns::{
    BoundAddress, DnsCounters, DnsListener, DnsListeners, DnsName, DnsOptions, ServerRecord,
    Servers,
};
use evenkeel_proxy::{ProxyState, ServiceEntry};
use evenkeel_request::hash_address;
use evenkeel_runtime::Clock;
use tokio::sync::watch;

use crate::holder::holder_of;
use crate::output::{CommandFailure, Result};

/// How many bits of a client's address make a key: what client subnets commonly have.
const BITS: (u8, u8) = (24, 56);
/// The name of what serves it, where restarts are counted.
const TASK: &str = "dns";
/// Before sockets that could not be used are tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// The balancer for DNS. A single thread uses it, so nobody ever waits for the lock.
struct BalancerServers {
    state: Arc<ProxyState>,
    clock: Clock,
    seed: u64,
    /// Each made when it is first needed.
    pickers: Mutex<BTreeMap<ServiceId, ServicePicker>>,
}

/// The picker of one service in one configuration: the next service with its id has other servers and another policy.
struct ServicePicker {
    /// Not held: it would keep the servers of a service that a reload has removed.
    service: Weak<ServiceEntry>,
    picker: Picker,
}

impl ServicePicker {
    fn new(service: &Arc<ServiceEntry>, seed: u64) -> Self {
        Self {
            picker: Picker::new(service.servers().pool(), seed),
            service: Arc::downgrade(service),
        }
    }

    fn is_of(&self, service: &Arc<ServiceEntry>) -> bool {
        std::ptr::eq(self.service.as_ptr(), Arc::as_ptr(service))
    }
}

impl BalancerServers {
    fn new(state: Arc<ProxyState>, clock: Clock, seed: u64) -> Self {
        Self {
            pickers: Mutex::default(),
            state,
            clock,
            seed,
        }
    }
}

impl Servers for BalancerServers {
    fn select(&self, service: ServiceId, client: IpAddr, most: usize) -> Vec<ServerRecord> {
        let Some(entry) = self.state.service(service) else {
            return Vec::new();
        };
        let server_set = entry.servers();
        let mut pickers = self.pickers.lock().unwrap_or_else(|poisoned| {
            // A panic in a pick may have left its picker half changed.
            let mut pickers = poisoned.into_inner();
            pickers.clear();
            self.pickers.clear_poison();
            pickers
        });
        let seed = self.seed.wrapping_add(service.0.into());
        let new = || ServicePicker::new(&entry, seed);
        let known = pickers.entry(service).or_insert_with(new);
        if !known.is_of(&entry) {
            *known = new();
        }
        let (pool, key) = (server_set.pool(), hash_address(client, BITS.0, BITS.1));
        let picked = (known.picker).pick_several(pool, self.clock.now(), Some(key), most);
        let found = |index: u32| {
            let member = &server_set.pool().members()[index as usize];
            Some(ServerRecord {
                name: server_set.name(index).to_owned(),
                address: server_set.address(index)?.tcp()?,
                weight: member.weight,
                tier: member.tier,
            })
        };
        picked.into_iter().filter_map(found).collect()
    }

    fn find(&self, service: ServiceId, server: &str) -> Option<SocketAddr> {
        let servers = self.state.service(service)?.servers();
        let (index, _) = servers.names().find(|(_, one)| *one == server)?;
        servers.address(index)?.tcp()
    }
}

/// The listeners, held and not yet served.
#[derive(Debug, Default)]
pub(super) struct Dns {
    listeners: DnsListeners,
    /// Their names and addresses.
    pub(super) addresses: Vec<(String, SocketAddr)>,
}

impl Dns {
    /// Holds the addresses of all listeners for DNS.
    pub(super) fn bind(plan: &Plan) -> Result<Self> {
        let mut dns = Self::default();
        for listener in &plan.dns {
            let bound = bind(listener)?;
            dns.addresses.push((listener.name.clone(), bound.address));
            let listener = DnsListener::new(listener.name.clone(), bound, options(listener)?);
            dns.listeners.push(Arc::new(listener));
        }
        Ok(dns)
    }

    /// Serves them until `stop` says so.
    pub(super) fn serve(
        self,
        plan: &Plan,
        state: &Arc<ProxyState>,
        (clock, seed): (Clock, u64),
        stop: watch::Receiver<bool>,
    ) -> Result<DnsService> {
        let names = plan.dns.iter().map(|listener| listener.name.clone());
        let service = DnsService {
            bound: Mutex::new(names.zip(self.listeners).collect()),
            parts: Arc::new(DnsThread {
                listeners: watch::Sender::default(),
                state: Arc::clone(state),
                clock,
                seed,
                stop,
            }),
            thread: Mutex::default(),
        };
        service.publish().map_err(CommandFailure::World)?;
        Ok(service)
    }
}

/// The DNS listeners that serve. Its thread runs from the first one on.
#[derive(Debug)]
pub(super) struct DnsService {
    /// Each with its name.
    bound: Mutex<Vec<(String, Arc<DnsListener>)>>,
    parts: Arc<DnsThread>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// DNS listeners of a plan whose addresses are held, each with its name and its options.
#[derive(Debug)]
pub(super) struct PreparedDns(Vec<(String, Arc<DnsListener>, DnsOptions)>);

impl DnsService {
    /// Holds the addresses that `plan` has and that are not held yet. Nothing else is changed.
    ///
    /// # Errors
    /// If an address is taken or not allowed, in words.
    pub(super) fn prepare(&self, plan: &Plan) -> std::result::Result<PreparedDns, String> {
        let bound = locked(&self.bound);
        let listener = |planned: &DnsPlan| {
            let options = options(planned).map_err(CommandFailure::into_text)?;
            // Port 0 holds whatever port it got.
            let is_it = |(name, listener): &&(String, Arc<DnsListener>)| {
                let address = listener.address();
                *name == planned.name && (address == planned.address || planned.address.port() == 0)
            };
            if let Some((name, known)) = bound.iter().find(is_it) {
                return Ok((name.clone(), Arc::clone(known), options));
            }
            let held = bind(planned).map_err(CommandFailure::into_text)?;
            let listener = DnsListener::new(planned.name.clone(), held, options.clone());
            Ok((planned.name.clone(), Arc::new(listener), options))
        };
        let all: std::result::Result<_, String> = plan.dns.iter().map(listener).collect();
        Ok(PreparedDns(all?))
    }

    /// Serves these from now on, and no others.
    pub(super) fn apply(&self, prepared: PreparedDns) {
        let mut bound = locked(&self.bound);
        bound.clear();
        for (name, listener, options) in prepared.0 {
            listener.set_options(options);
            bound.push((name, listener));
        }
        drop(bound);
        if let Err(why) = self.publish() {
            tracing::error!("DNS is not served: {why}");
        }
    }

    /// The numbers of those that serve.
    pub(super) fn counters(&self) -> Vec<Arc<DnsCounters>> {
        let bound = locked(&self.bound);
        let counters = bound.iter().map(|(_, listener)| &listener.counters);
        counters.map(Arc::clone).collect()
    }

    /// Waits for the end of the thread, which is told by others.
    pub(super) fn join(&self) {
        let thread = locked(&self.thread).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the DNS thread ended with a panic");
        }
    }

    fn publish(&self) -> std::result::Result<(), String> {
        let listeners: DnsListeners = {
            let bound = locked(&self.bound);
            bound.iter().map(|(_, one)| Arc::clone(one)).collect()
        };
        let is_empty = listeners.is_empty();
        self.parts.listeners.send_replace(listeners);
        let mut thread = locked(&self.thread);
        if thread.is_none() && !is_empty {
            let parts = Arc::clone(&self.parts);
            let started = evenkeel_runtime::spawn::thread("dns", move || parts.run());
            let started = started.map_err(|error| format!("cannot start its thread: {error}"));
            *thread = Some(started?);
        }
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bind(planned: &DnsPlan) -> Result<BoundAddress> {
    evenkeel_dns::bind(planned.address).map_err(|error| {
        let held = (error.kind() == ErrorKind::AddrInUse).then_some(planned.address);
        let (name, address) = (&planned.name, planned.address);
        let who = held.map_or_else(String::new, |address| holder_of(&address.into()));
        CommandFailure::World(format!(
            "listener {name} cannot listen on {address} for DNS: {error}{who}"
        ))
    })
}

/// The parts of the DNS thread, which is rebuilt from them if it fails.
#[derive(Debug)]
struct DnsThread {
    listeners: watch::Sender<DnsListeners>,
    state: Arc<ProxyState>,
    clock: Clock,
    seed: u64,
    stop: watch::Receiver<bool>,
}

impl DnsThread {
    /// Serves until it is stopped: restarts with new state after a panic, and after a pause if the sockets cannot be
    /// used.
    async fn run(self: Arc<Self>) {
        let tasks = self.state.tasks();
        let task = tasks.entry(TASK);
        loop {
            let served = tasks.keep(TASK, self.clock, || self.serve());
            let Err(error) = served.await else { return };
            task.set_down(true);
            tracing::error!("DNS is not served: {error}; retrying in {AGAIN:?}");
            let again = self.clock.now() + AGAIN;
            let mut stop = self.stop.clone();
            tokio::select! {
                () = self.clock.sleep_until(again) => task.set_down(false),
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    fn serve(&self) -> impl Future<Output = io::Result<()>> + use<> {
        let (clock, seed) = (self.clock, self.seed);
        let balancer = Arc::new(BalancerServers::new(Arc::clone(&self.state), clock, seed));
        let (listeners, tasks) = (self.listeners.subscribe(), self.state.tasks().clone());
        let stop = self.stop.clone();
        async move { evenkeel_dns::serve(listeners, balancer, (clock, seed), tasks, stop).await }
    }
}

fn options(plan: &DnsPlan) -> Result<DnsOptions> {
    let name = |one: &evenkeel_config::plan::DnsNamePlan| {
        let name = format!("{}.", one.name);
        Ok(DnsName {
            name: name.parse().map_err(|error| {
                CommandFailure::World(format!(
                    "the name {} of listener {}: {error}",
                    one.name, plan.name
                ))
            })?,
            service: one.service,
            ttl: one.ttl,
            answers: one.answers,
        })
    };
    Ok(DnsOptions {
        names: plan.names.iter().map(name).collect::<Result<_>>()?,
        rate: plan.rate,
    })
}
