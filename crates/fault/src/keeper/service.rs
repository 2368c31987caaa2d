//! State of one service: its servers, its totals, and which of its servers are peers.

use std::time::Duration;

use evenkeel_core::stat::PooledHistograms;
use evenkeel_core::{Instant, ServerId};

use crate::analyze::ServiceTraffic;
use crate::common_cause::{CommonCause, JudgedServer, Symptom, SymptomCounts};
use crate::contract::{OrderTicket, ServiceSpec};
use crate::detect::{Detection, RankAmongPeers, RecentTypical, ServiceLoadWatch, SlowLimits};
use crate::maintenance::Maintenance;
use crate::policy::SlowServerOptions;
use crate::recover::Capacity;
use crate::signal::Routes;

use super::common::{BurnWatch, CommonIncident};
use super::measures::PublishedOrders;
use super::outdated::Rollout;
use super::poison_watch::PoisonWatch;
use super::server::WatchedServer;

/// Over which time routes are counted.
const ROUTES: Duration = Duration::from_secs(10);

/// One service and its servers.
#[derive(Debug)]
pub(super) struct WatchedService {
    pub(super) spec: ServiceSpec,
    pub(super) servers: Vec<WatchedServer>,
    pub(super) traffic: ServiceTraffic,
    /// How requests end, by route.
    pub(super) routes: Routes,
    /// How it usually is, to find what burns slowly.
    pub(super) burn: BurnWatch,
    /// Its poison detection.
    pub(super) poison: PoisonWatch,
    /// How much its servers have to do.
    pub(super) load: ServiceLoadWatch,
    /// Its state as published to the balancer.
    pub(super) measures: PublishedOrders,
    /// How many servers show the same, as of the last look.
    pub(super) alike: SymptomCounts,
    /// When that is evaluated next.
    pub(super) alike_at: Instant,
    /// Detections of this step that are not judged yet, with the server's index.
    pub(super) detections: Vec<(u32, Detection)>,
    /// The open incident of the service as a whole.
    pub(super) common: Option<Box<CommonIncident>>,
    pub(super) slow_at: Instant,
    /// Until then the backlog of a stall of evenkeel is served, and its response times say nothing about a server.
    pub(super) catches_up_until: Instant,
    /// How many of its servers take their full share; kept by the keeper with every change.
    pub(super) serving: usize,
    /// How many running servers are being restarted or stopped; kept likewise.
    pub(super) changing: usize,
    /// How many servers cannot start; kept likewise.
    pub(super) failed_starts: usize,
    /// The one that is tried for all of them.
    pub(super) canary: Option<Canary>,
    /// When servers that could not start were last verified to have started after all, and their incident.
    pub(super) started_again: Option<(Instant, String)>,
    /// The number of its occupied slots.
    pub(super) present: usize,
    /// An operator has taken the whole service out.
    pub(super) maintenance: Option<Box<ServiceMaintenance>>,
    /// The replacement of processes that run by an earlier configuration.
    pub(super) rollout: Rollout,
    /// Maintenance of servers from DNS that are currently absent, with the index that each had.
    pub(super) away: Vec<(u32, Maintenance)>,
}

/// A service that an operator has taken out.
#[derive(Debug)]
pub(super) struct ServiceMaintenance {
    pub(super) maintenance: Maintenance,
    /// When it ends by itself.
    pub(super) until: Option<Instant>,
    /// It was ended by an operator, or its time is over: requests wait for the first verified server.
    pub(super) is_ending: bool,
    /// The order that ended it.
    pub(super) asked: Option<OrderTicket>,
}

/// The server that is tried for all that cannot start.
#[derive(Debug)]
pub(super) struct Canary {
    pub(super) index: usize,
    /// Its incident.
    pub(super) incident: String,
    /// Those that wait for it.
    pub(super) waiting: Vec<usize>,
}

impl Canary {
    pub(super) const fn index(&self) -> usize {
        self.index
    }

    /// How many wait for it.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

impl WatchedService {
    pub(super) fn new(spec: ServiceSpec) -> Self {
        let spec_id = spec.id;
        let peers = spec.peers();
        let servers = spec.servers.iter().zip(0..).map(|(server, index)| {
            let id = ServerId {
                service: spec.id,
                index,
            };
            let mut made = WatchedServer::new(id, server, &spec.options, peers);
            made.vacant = server.vacancy();
            made
        });
        let servers: Vec<WatchedServer> = servers.collect();
        let serving = servers.iter().filter(|server| server.serves()).count();
        let present = servers.iter().filter(|server| server.vacant.is_none());
        let present = present.count();
        Self {
            spec,
            servers,
            traffic: ServiceTraffic::default(),
            routes: Routes::new(ROUTES),
            burn: BurnWatch::default(),
            poison: PoisonWatch::default(),
            load: ServiceLoadWatch::default(),
            measures: PublishedOrders::new(spec_id),
            alike: SymptomCounts::default(),
            alike_at: Instant::ZERO,
            detections: Vec::new(),
            common: None,
            slow_at: Instant::ZERO,
            catches_up_until: Instant::ZERO,
            serving,
            changing: 0,
            failed_starts: 0,
            canary: None,
            started_again: None,
            present,
            maintenance: None,
            rollout: Rollout::default(),
            away: Vec::new(),
        }
    }

    /// Whether detection and repair are suspended by an operator's order.
    pub(super) fn is_suspended(&self) -> bool {
        self.maintenance
            .as_ref()
            .is_some_and(|maintenance| !maintenance.is_ending)
    }

    pub(super) fn capacity(&self, index: usize) -> Capacity {
        let own = self.servers.get(index).is_some_and(WatchedServer::serves);
        if self.common.as_ref().is_some_and(|one| one.fails_over()) {
            return self.later_tier_capacity(index);
        }
        Capacity {
            servers: self.present,
            others_serving: self.serving - usize::from(own),
        }
    }

    /// While the first tier fails, only those behind it carry anything.
    fn later_tier_capacity(&self, index: usize) -> Capacity {
        let servers = self.servers.iter().zip(&self.spec.servers).enumerate();
        let behind = servers.filter(|(_, (server, spec))| spec.tier > 0 && server.vacant.is_none());
        let others = behind.clone();
        let others = others.filter(|(at, (server, _))| *at != index && server.serves());
        Capacity {
            servers: behind.count(),
            others_serving: others.count(),
        }
    }

    /// Whether the service's own incident is due for evaluation.
    pub(super) fn common_is_due(&self, now: Instant) -> bool {
        self.common
            .as_ref()
            .is_some_and(|common| now >= common.recheck_at || common.case.changed)
    }

    /// The server whose incident becomes that of the service: the first of those that the cause explains.
    pub(super) fn first_of(&self, cause: &CommonCause) -> Option<usize> {
        let with_case = cause.servers.iter().copied().filter(|&index| {
            self.servers
                .get(index)
                .is_some_and(|server| server.case.is_some() && server.may_merge())
        });
        with_case.min_by_key(|&index| self.servers[index].case.as_ref().map(|case| case.detected))
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

    /// The typical latencies of each server; none for one that has a case already or does not serve.
    pub(super) fn latest(
        &mut self,
        now: Instant,
        options: &SlowServerOptions,
    ) -> Vec<Option<RecentTypical>> {
        let read = |server: &mut WatchedServer| {
            let serves = server.serves() && server.starting.is_none();
            let latencies = server.facts.latencies.as_mut()?;
            latencies.fresh = false;
            serves.then(|| RecentTypical::read(latencies, now, options))
        };
        self.servers.iter_mut().map(read).collect()
    }

    /// Of attempts that were broken off for a quicker one, those count on all servers alike that are slow by the smallest of
    /// these limits.
    pub(super) fn set_superseded_limit(&mut self, limits: &[SlowLimits]) {
        let attempts = limits.iter().filter_map(|limits| limits.attempts);
        let smallest = attempts.map(|(_, limit)| limit).min();
        for server in &mut self.servers {
            if let Some(latencies) = &mut server.facts.latencies {
                latencies.superseded_limit = smallest.unwrap_or(Duration::MAX);
            }
        }
    }

    /// How the attempts of one server lie among those of the others that are compared, where those above `limit` are slow.
    pub(super) fn standing(
        &self,
        (index, limit): (usize, Duration),
        latest: &[Option<RecentTypical>],
        now: Instant,
        options: &SlowServerOptions,
    ) -> RankAmongPeers {
        let minimum = u64::from(options.minimum_attempts.max(1));
        let (mut own, mut peers) = (PooledHistograms::default(), PooledHistograms::default());
        for (slot, (server, _)) in self
            .servers
            .iter()
            .zip(latest)
            .enumerate()
            .filter(|(_, (_, latest))| latest.is_some())
        {
            let pool = if slot == index { &mut own } else { &mut peers };
            if let Some(latencies) = &server.facts.latencies {
                latencies.pool(now, minimum, pool);
            }
        }
        RankAmongPeers {
            excess: own.excess_over(&peers),
            peers_slow: peers.share_above(limit),
        }
    }

    pub(super) fn views(&self, now: Instant) -> Vec<Option<JudgedServer>> {
        let detect = &self.spec.options.detect;
        let of = |server: &WatchedServer| {
            let takes_part = server.vacant.is_none()
                && server.held.is_none()
                && server.starting.is_none()
                && server.routine.is_none()
                && server.facts.process.down.is_none()
                && !server.facts.process.stopped;
            let read = || {
                let view = JudgedServer::read(&server.facts, detect, now);
                let case = server.case.as_deref();
                match case.and_then(|case| case.symptom.map(|symptom| (symptom, case.onset))) {
                    // A slow server still answers.
                    Some((symptom, since))
                        if view.symptom.is_none()
                            && (!view.is_well || symptom == Symptom::Lags) =>
                    {
                        JudgedServer {
                            symptom: Some(symptom),
                            since,
                            is_well: false,
                        }
                    }
                    _ => view,
                }
            };
            takes_part.then(read)
        };
        self.servers.iter().map(of).collect()
    }
}
