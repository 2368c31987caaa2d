//! Servers from DNS: membership changes are applied to the request path, then to probes and the keeper.

use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use evenkeel_config::Plan;
use evenkeel_config::plan::{DiscoverPlan, ServicePlan};
use evenkeel_control::StatusReader;
use evenkeel_core::{Endpoint, ServerId, ServiceId};
use evenkeel_discover::{DiscoveredServer, Discovery, GroupChanges, GroupKey, MembershipHost};
use evenkeel_fault::contract::ServerStatus;
use evenkeel_proxy::ProxyState;
use evenkeel_request::service::Joined;
use evenkeel_runtime::{Clock, Tasks};
use evenkeel_supervise::Supervisor;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// Everybody who has to know who is a member.
#[derive(Debug)]
struct MembershipSinks {
    clock: Clock,
    state: Arc<ProxyState>,
    views: StatusReader,
    supervisor: Supervisor,
}

impl MembershipHost for MembershipSinks {
    fn works(&self, server: ServerId) -> bool {
        matches!(
            self.views.now().state(server),
            ServerStatus::Up | ServerStatus::Doubtful
        )
    }

    async fn changed(
        &self,
        service: ServiceId,
        changes: Vec<(ServerId, Option<DiscoveredServer>)>,
    ) {
        let joined = |found: DiscoveredServer| Joined {
            address: found.address,
            weight: found.weight,
            tier: found.tier,
        };
        // A reload has removed the service.
        let Some(entry) = self.state.service(service) else {
            return;
        };
        let before = entry.servers();
        let members: Vec<_> = changes
            .iter()
            .map(|(server, found)| (server.index, found.map(joined)))
            .collect();
        self.state.change(service, &members, self.clock.now());
        // Another weight is no other server.
        let moved = changes.into_iter().filter_map(|(server, found)| {
            let address = found.map(|found| found.address);
            (before.address(server.index).and_then(Endpoint::tcp) != address)
                .then_some((server, address))
        });
        let (moved, supervisor) = (moved.collect::<Vec<_>>(), self.supervisor.clone());
        // A loop that a reload ends has told the request path, so it tells the others, too.
        let tell = async move {
            for (server, address) in moved {
                supervisor.set_address(server, address).await;
            }
        };
        tokio::spawn(tell).await.ok();
    }
}

/// The loops that ask for the servers that come from DNS. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct DiscoverLoops(Arc<DiscoverLoopsInner>);

#[derive(Debug)]
struct DiscoverLoopsInner {
    members: Arc<MembershipSinks>,
    discovery: Discovery,
    tasks: Tasks,
    seed: u64,
    running: StdMutex<Vec<(GroupKey, JoinHandle<()>)>>,
}

impl DiscoverLoops {
    /// None yet.
    pub(super) fn new(
        (clock, seed): (Clock, u64),
        tasks: &Tasks,
        (state, views, supervisor): (&Arc<ProxyState>, &StatusReader, &Supervisor),
        discovery: &Discovery,
    ) -> Self {
        Self(Arc::new(DiscoverLoopsInner {
            members: Arc::new(MembershipSinks {
                clock,
                state: Arc::clone(state),
                views: views.clone(),
                supervisor: supervisor.clone(),
            }),
            discovery: discovery.clone(),
            tasks: tasks.clone(),
            seed,
            running: StdMutex::default(),
        }))
    }

    /// Asks for the servers of `plan` that come from DNS. What it says as before goes on; other loops end, and the servers that a
    /// new one takes over stay until an answer says otherwise. Must be called within a tokio runtime, after the request path has
    /// the servers of `plan`.
    pub(super) fn apply(&self, plan: &Plan) {
        let inner = &self.0;
        let all = plan.services.iter().flat_map(|service| {
            let groups = service.discover.iter();
            groups.map(move |group| (GroupKey::new(service.id, group), service, group))
        });
        let wanted: Vec<_> = all.collect();
        let keys: Vec<GroupKey> = wanted.iter().map(|(key, ..)| key.clone()).collect();
        let mut running = inner.running.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = GroupChanges::between(running.iter().map(|(key, _)| key), &keys);
        running.retain(|(key, task)| {
            let is_gone = changes.gone.contains(key);
            if is_gone {
                task.abort();
                inner.discovery.forget(key);
            }
            !is_gone
        });
        for (key, service, group) in wanted {
            if changes.new.contains(&key) {
                running.push((key, self.start(service, group)));
            }
        }
    }

    fn start(&self, service: &ServicePlan, group: &DiscoverPlan) -> JoinHandle<()> {
        let DiscoverLoopsInner {
            members,
            discovery,
            tasks,
            seed,
            ..
        } = &*self.0;
        let clock = members.clock;
        let known = group
            .servers
            .iter()
            .map(|index| members.known(service, *index));
        let known: Vec<Option<DiscoveredServer>> = known.collect();
        let first = group.servers.first().copied().unwrap_or_default();
        let seed = seed ^ (u64::from(service.id.0) << 32) ^ u64::from(first);
        let name = (service.id, service.name.as_str());
        let watch = discovery.watch(name, group, &known, clock, seed);
        let (watch, members) = (Arc::new(Mutex::new(watch)), Arc::clone(members));
        tasks.spawn("discover", clock, move || {
            let (watch, members) = (Arc::clone(&watch), Arc::clone(&members));
            async move { watch.lock().await.run(&*members).await }
        })
    }
}

impl MembershipSinks {
    /// Who is in this slot of a service now, as far as the request path knows.
    fn known(&self, service: &ServicePlan, index: u32) -> Option<DiscoveredServer> {
        let entry = self.state.service(service.id)?;
        let servers = entry.servers();
        let member = servers.pool().members().get(index as usize)?;
        Some(DiscoveredServer {
            address: servers.address(index)?.tcp()?,
            weight: member.weight,
            tier: member.tier,
        })
    }
}
