//! Listeners for DNS: held before anything says that it is ready, served by a thread of their own, and answered with what the
//! balancer would pick.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use evenkeel_balance::Picker;
use evenkeel_config::Plan;
use evenkeel_config::plan::DnsPlan;
use evenkeel_core::{Random, ServiceId};
use evenkeel_dns::{DnsCounters, DnsName, DnsOptions, Found, Listener, Servers};
use evenkeel_proxy::ProxyState;
use evenkeel_request::hash_address;
use evenkeel_runtime::Clock;
use tokio::sync::watch;

use crate::holder::holder_of;
use crate::output::{Failure, Result};

/// How many bits of a client's address make a key: what client subnets commonly have.
const BITS: (u8, u8) = (24, 56);

/// The balancer as DNS asks it. One thread asks, so nobody ever waits for the lock.
struct Balancer {
    state: Arc<ProxyState>,
    clock: Clock,
    pickers: Mutex<Vec<Picker>>,
}

impl Balancer {
    fn new(state: Arc<ProxyState>, clock: Clock, seed: u64) -> Self {
        let mut random = Random::seeded(seed);
        let services = state.services().iter();
        let pickers = services.map(|service| Picker::new(service.roster().pool(), random.bits()));
        Self {
            pickers: Mutex::new(pickers.collect()),
            state,
            clock,
        }
    }
}

impl Servers for Balancer {
    fn select(&self, service: ServiceId, client: IpAddr, most: usize) -> Vec<Found> {
        let entry = &self.state.services()[service.0 as usize];
        let roster = entry.roster();
        let mut pickers = self.pickers.lock().unwrap_or_else(PoisonError::into_inner);
        let picker = &mut pickers[service.0 as usize];
        let key = hash_address(client, BITS.0, BITS.1);
        let picked = picker.pick_several(roster.pool(), self.clock.now(), Some(key), most);
        let found = |index: u32| {
            let member = &roster.pool().members()[index as usize];
            let server = &entry.servers()[index as usize];
            Some(Found {
                name: server.name().to_owned(),
                address: roster.address(index)?,
                weight: member.weight,
                tier: member.tier,
            })
        };
        picked.into_iter().filter_map(found).collect()
    }

    fn find(&self, service: ServiceId, server: &str) -> Option<SocketAddr> {
        let entry = self.state.services().get(service.0 as usize)?;
        let mut servers = (0_u32..).zip(entry.servers());
        let (index, _) = servers.find(|(_, one)| one.name() == server)?;
        entry.roster().address(index)
    }
}

/// The listeners, held and not yet served.
#[derive(Debug, Default)]
pub(super) struct Dns {
    listeners: Vec<Listener>,
    /// Their names and addresses.
    pub(super) addresses: Vec<(String, SocketAddr)>,
    /// Their numbers.
    pub(super) counters: Vec<Arc<DnsCounters>>,
}

impl Dns {
    /// Holds the addresses of all listeners for DNS.
    pub(super) fn bind(plan: &Plan) -> Result<Self> {
        let mut dns = Self::default();
        for listener in &plan.dns {
            let bound = evenkeel_dns::bind(listener.address).map_err(|error| {
                let held = (error.kind() == ErrorKind::AddrInUse).then_some(listener.address);
                let (name, address) = (&listener.name, listener.address);
                let who = held.map_or_else(String::new, holder_of);
                Failure::World(format!(
                    "listener {name} cannot listen on {address} for DNS: {error}{who}"
                ))
            })?;
            dns.addresses.push((listener.name.clone(), bound.address));
            let listener = Listener::new(listener.name.clone(), bound, options(listener)?);
            dns.counters.push(Arc::clone(&listener.counters));
            dns.listeners.push(listener);
        }
        Ok(dns)
    }

    /// Serves them until `stop` says so, if there are any.
    pub(super) fn serve(
        self,
        state: &Arc<ProxyState>,
        clock: Clock,
        seed: u64,
        stop: watch::Receiver<bool>,
    ) -> Result<Option<JoinHandle<()>>> {
        if self.listeners.is_empty() {
            return Ok(None);
        }
        let balancer = Balancer::new(Arc::clone(state), clock, seed);
        let listeners = self.listeners;
        let tasks = state.tasks().clone();
        let work = move || async move {
            let balancer = Arc::new(balancer);
            let served = evenkeel_dns::serve(listeners, balancer, (clock, seed), tasks, stop);
            if let Err(error) = served.await {
                tracing::error!("DNS is not served: {error}");
            }
        };
        let thread = evenkeel_runtime::spawn::thread("dns", work);
        thread
            .map(Some)
            .map_err(|error| Failure::world("cannot start the DNS thread", error))
    }
}

fn options(plan: &DnsPlan) -> Result<DnsOptions> {
    let name = |one: &evenkeel_config::plan::DnsNamePlan| {
        let name = format!("{}.", one.name);
        Ok(DnsName {
            name: name.parse().map_err(|error| {
                Failure::World(format!(
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
