//! What the keeper holds of one service: its servers, its totals, and who of them is to be compared with whom.

use evenkeel_core::stat::Pool;
use evenkeel_core::{Instant, ServerId};

use crate::analyze::Traffic;
use crate::contract::{ServerState, ServiceSpec, Ticket};
use crate::detect::Latest;
use crate::maintenance::Maintenance;
use crate::policy::SlowOptions;
use crate::recover::Capacity;

use super::server::Server;

/// One service and its servers.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) spec: ServiceSpec,
    pub(super) servers: Vec<Server>,
    pub(super) traffic: Traffic,
    pub(super) slow_at: Instant,
    /// How many of its servers take their full share; kept by the keeper with every change.
    pub(super) serving: usize,
    /// At how many of its places somebody is.
    pub(super) present: usize,
    /// A person has taken the whole service out.
    pub(super) maintenance: Option<Box<ServiceMaintenance>>,
    /// Maintenance of servers from DNS that are not there now, with the index that each had.
    pub(super) away: Vec<(u32, Maintenance)>,
}

/// A service that a person has taken out.
#[derive(Debug)]
pub(super) struct ServiceMaintenance {
    pub(super) maintenance: Maintenance,
    /// When it ends by itself.
    pub(super) until: Option<Instant>,
    /// A person ended it, or its time is over: requests wait for the first server that is verified.
    pub(super) is_ending: bool,
    /// The order that ended it.
    pub(super) asked: Option<Ticket>,
}

impl Service {
    pub(super) fn new(spec: ServiceSpec) -> Self {
        let peers = spec.servers.len().saturating_sub(1);
        let servers = spec.servers.iter().zip(0..).map(|(server, index)| {
            let id = ServerId {
                service: spec.id,
                index,
            };
            let mut made = Server::new(id, server, &spec.options, peers);
            made.vacant = server.address.is_none().then_some(ServerState::Unresolved);
            made
        });
        let servers: Vec<Server> = servers.collect();
        let serving = servers.iter().filter(|server| server.serves()).count();
        let present = servers.iter().filter(|server| server.vacant.is_none());
        let present = present.count();
        Self {
            spec,
            servers,
            traffic: Traffic::default(),
            slow_at: Instant::ZERO,
            serving,
            present,
            maintenance: None,
            away: Vec::new(),
        }
    }

    /// Whether nothing is detected and repaired here by a person's order.
    pub(super) fn is_suspended(&self) -> bool {
        self.maintenance
            .as_ref()
            .is_some_and(|maintenance| !maintenance.is_ending)
    }

    pub(super) fn capacity(&self, index: usize) -> Capacity {
        let own = self.servers.get(index).is_some_and(Server::serves);
        Capacity {
            servers: self.present,
            others_serving: self.serving - usize::from(own),
        }
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.servers.iter().any(|server| {
            server
                .facts
                .latencies
                .as_ref()
                .is_some_and(|latencies| latencies.fresh)
        })
    }

    /// What is typical of each server now; nothing of one that has a case already or does not serve.
    pub(super) fn latest(&mut self, now: Instant, options: &SlowOptions) -> Vec<Option<Latest>> {
        let read = |server: &mut Server| {
            let serves = server.serves() && server.starting.is_none();
            let latencies = server.facts.latencies.as_mut()?;
            latencies.fresh = false;
            serves.then(|| Latest::read(latencies, now, options))
        };
        self.servers.iter_mut().map(read).collect()
    }

    /// By how many standard deviations the attempts of one server rank above those of the others that are compared.
    pub(super) fn excess(
        &self,
        index: usize,
        latest: &[Option<Latest>],
        now: Instant,
        options: &SlowOptions,
    ) -> f64 {
        let minimum = u64::from(options.minimum_attempts.max(1));
        let (mut own, mut peers) = (Pool::default(), Pool::default());
        for (place, (server, _)) in self
            .servers
            .iter()
            .zip(latest)
            .enumerate()
            .filter(|(_, (_, latest))| latest.is_some())
        {
            let pool = if place == index { &mut own } else { &mut peers };
            if let Some(latencies) = &server.facts.latencies {
                latencies.pool(now, minimum, pool);
            }
        }
        own.excess_over(&peers)
    }
}
