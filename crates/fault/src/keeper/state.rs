//! The keeper's state, and the access to one server in one step, through which all stages go.

use std::collections::BTreeMap;

use evenkeel_core::{Epoch, Instant, Random, Recent, ServerId};

use crate::analyze::Similar;
use crate::contract::{Output, ServiceSpec};
use crate::maintenance::MaintenanceRecord;
use crate::recover::SuccessRates;

use super::names::RouteNames;
use super::self_watch::SelfWatch;
use super::server::WatchedServer;
use super::service::{Canary, WatchedService};
use super::shared::KeeperShared;
use super::work::ServerContext;

/// The maximum number of evaluations per server and step.
pub(super) const ROUNDS: usize = 8;
/// So many incidents are remembered to find similar ones.
const REMEMBERED: usize = 1000;

/// State of earlier runs of the program, so that ids stay unique and similar incidents are found.
#[derive(Debug, Clone, Default)]
pub struct PersistedState {
    /// Per date (`2026-11-22`) the highest number in use.
    pub numbers: Vec<(String, u32)>,
    /// The latest incidents, oldest first.
    pub recent: Vec<Similar>,
    /// Whatever an operator has taken out of service.
    pub maintenance: Vec<MaintenanceRecord>,
    /// Which actions have helped.
    pub rates: SuccessRates,
}

/// The keeper of all services.
#[derive(Debug)]
pub struct Keeper {
    pub(super) services: Vec<WatchedService>,
    pub(super) shared: KeeperShared,
    pub(super) begun: bool,
    /// When causes shared by several services are evaluated next.
    pub(super) across_at: Instant,
    /// evenkeel itself.
    pub(super) self_watch: SelfWatch,
    /// The maintenance that was active when the program ended, until the first step.
    pub(super) resumed: Vec<MaintenanceRecord>,
}

impl Keeper {
    /// A keeper of these services. The place of a service in the list is its id.
    #[must_use]
    pub fn new(
        services: Vec<ServiceSpec>,
        epoch: Epoch,
        seed: u64,
        memory: PersistedState,
    ) -> Self {
        let mut recent = Recent::new(REMEMBERED);
        memory
            .recent
            .into_iter()
            .for_each(|similar| recent.push(similar));
        let mut numbers = BTreeMap::new();
        for (date, number) in memory.numbers {
            let highest = numbers.entry(date).or_insert(0);
            *highest = number.max(*highest);
        }
        let shared = KeeperShared {
            epoch,
            random: Random::seeded(seed),
            orders: 0,
            numbers,
            names: RouteNames::default(),
            recent,
            lacks_processor: None,
            rates: memory.rates,
            inconsistencies: 0,
            vetoes: BTreeMap::new(),
        };
        Self {
            services: services.into_iter().map(WatchedService::new).collect(),
            shared,
            begun: false,
            across_at: Instant::ZERO,
            self_watch: SelfWatch::default(),
            resumed: memory.maintenance,
        }
    }

    pub(super) fn find(&self, is_it: impl Fn(&WatchedServer) -> bool) -> Option<ServerId> {
        let mut servers = self.services.iter().flat_map(|service| &service.servers);
        servers.find(|server| is_it(server)).map(|server| server.id)
    }

    pub(super) fn each(
        &mut self,
        now: Instant,
        out: &mut Vec<Output>,
        which: impl Fn(&WatchedServer) -> bool,
        what: impl Fn(&mut ServerContext<'_>),
    ) {
        for service in 0..self.services.len() {
            for index in 0..self.services[service].servers.len() {
                // One evaluation may make another due at once; never for long.
                for _ in 0..ROUNDS {
                    let server = &self.services[service].servers[index];
                    if !which(server) {
                        break;
                    }
                    self.with(now, server.id, out, &what);
                }
            }
        }
    }

    pub(super) fn with(
        &mut self,
        now: Instant,
        id: ServerId,
        out: &mut Vec<Output>,
        what: impl FnOnce(&mut ServerContext<'_>),
    ) {
        let Some(service) = self.services.get_mut(id.service.0 as usize) else {
            return;
        };
        let capacity = service.capacity(id.index as usize);
        let suspended = service.is_suspended();
        let canary = service.canary.as_ref().map(Canary::index);
        let waits_for_canary = canary.is_some_and(|canary| canary != id.index as usize);
        let WatchedService {
            spec,
            servers,
            traffic,
            detections,
            serving,
            present,
            changing,
            failed_starts,
            started_again,
            alike,
            ..
        } = service;
        let from = out.len();
        let index = (id.index as usize).min(servers.len());
        let (before, rest) = servers.split_at_mut(index);
        let Some((server, after)) = rest.split_first_mut() else {
            return;
        };
        *changing -= usize::from(server.is_being_changed());
        *failed_starts -= usize::from(server.cannot_start());
        *serving -= usize::from(server.serves());
        *present -= usize::from(server.vacant.is_none());
        what(&mut ServerContext {
            now,
            spec,
            traffic,
            shared: &mut self.shared,
            capacity,
            alike: *alike,
            changing: *changing,
            failed_starts: *failed_starts,
            waits_for_canary,
            started_again,
            suspended,
            detections,
            server,
            peers: (before, after),
            out,
        });
        server.report_repair(now, from, out);
        *changing += usize::from(server.is_being_changed());
        *failed_starts += usize::from(server.cannot_start());
        *serving += usize::from(server.serves());
        *present += usize::from(server.vacant.is_none());
    }
}
