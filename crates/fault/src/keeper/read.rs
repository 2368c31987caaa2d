//! What others may read from the keeper between two steps.

use evenkeel_core::{ServerId, ServiceId};

use crate::contract::ServerStatus;
use crate::incident::Incident;
use crate::recover::{SuccessRate, Veto};

use super::Keeper;
use super::server::WatchedServer;

impl Keeper {
    /// The state of a server, for operators.
    #[must_use]
    pub fn server_state(&self, server: ServerId) -> ServerStatus {
        self.services
            .get(server.service.0 as usize)
            .and_then(|service| service.servers.get(server.index as usize))
            .map_or(ServerStatus::Starting, WatchedServer::state)
    }

    /// The number of contradictions found and corrected in incident records: each is a bug.
    #[must_use]
    pub const fn inconsistencies(&self) -> u64 {
        self.shared.inconsistencies
    }

    /// Which costly actions have helped at this service, by kind of fault.
    #[must_use]
    pub fn success_rates(&self, service: ServiceId) -> Vec<SuccessRate> {
        let service = self.services.get(service.0 as usize);
        service.map_or_else(Vec::new, |service| {
            self.shared.rates.of_service(&service.spec.name)
        })
    }

    /// How often the second check refused a plan, by service and reason.
    pub fn vetoes(&self) -> impl Iterator<Item = (ServiceId, Veto, u64)> {
        let vetoes = self.shared.vetoes.iter();
        vetoes.map(|((service, veto), count)| (*service, *veto, *count))
    }

    /// The incidents that are not closed.
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        let servers = self.services.iter().flat_map(|service| &service.servers);
        let commons = self.services.iter().filter_map(|service| {
            let common = service.common.as_ref();
            let common = common.filter(|common| common.follows.is_none())?;
            Some(&common.case.incident)
        });
        let poisons = self.services.iter().filter_map(|service| {
            let open = service.poison.open.as_ref()?;
            Some(&open.case.incident)
        });
        let of_servers = servers.flat_map(|server| {
            let unproven = server.unproven.as_deref().map(|one| &one.case);
            server.case.iter().chain(unproven)
        });
        of_servers
            .map(|case| &case.incident)
            .chain(commons)
            .chain(poisons)
            .chain(self.self_watch.open.iter().map(|open| &open.case.incident))
    }
}
