//! Servers from DNS: membership changes are applied to the request path, then to probes and the keeper.

use std::sync::Arc;

use evenkeel_config::Plan;
use evenkeel_control::StatusReader;
use evenkeel_core::{Endpoint, ServerId, ServiceId};
use evenkeel_discover::{DiscoveredServer, Discovery, MembershipHost};
use evenkeel_fault::contract::ServerStatus;
use evenkeel_proxy::ProxyState;
use evenkeel_request::service::Joined;
use evenkeel_runtime::{Clock, Tasks};
use evenkeel_supervise::Supervisor;
use tokio::sync::Mutex;

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
        let before = self.state.services()[service.0 as usize].servers();
        let members: Vec<_> = changes
            .iter()
            .map(|(server, found)| (server.index, found.map(joined)))
            .collect();
        self.state.change(service, &members, self.clock.now());
        for (server, found) in changes {
            let address = found.map(|found| found.address);
            // Another weight is no other server.
            if before.address(server.index).and_then(Endpoint::tcp) != address {
                self.supervisor.set_address(server, address).await;
            }
        }
    }
}

/// Begins to ask for all servers of `plan` that come from DNS. Must be called within a tokio runtime.
pub(super) fn start(
    plan: &Plan,
    (clock, seed): (Clock, u64),
    tasks: &Tasks,
    (state, views, supervisor): (&Arc<ProxyState>, &StatusReader, &Supervisor),
    discovery: &Discovery,
) {
    let members = Arc::new(MembershipSinks {
        clock,
        state: Arc::clone(state),
        views: views.clone(),
        supervisor: supervisor.clone(),
    });
    for service in &plan.services {
        for group in &service.discover {
            let index = group.servers.first().copied().unwrap_or_default();
            let server = service.server(index);
            let first = server.and_then(|server| {
                Some(DiscoveredServer {
                    address: server.address.as_ref()?.tcp()?,
                    weight: server.weight,
                    tier: server.tier,
                })
            });
            let seed = seed ^ (u64::from(service.id.0) << 32) ^ u64::from(index);
            let service = (service.id, service.name.as_str());
            let watch = discovery.watch(service, group, first, clock, seed);
            let (watch, members) = (Arc::new(Mutex::new(watch)), Arc::clone(&members));
            tasks.spawn("discover", clock, move || {
                let (watch, members) = (Arc::clone(&watch), Arc::clone(&members));
                async move { watch.lock().await.run(&*members).await }
            });
        }
    }
}
