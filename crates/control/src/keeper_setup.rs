//! What the loop does after a panic: the keeper, whose state can no longer be trusted, is rebuilt from state outside of
//! it.
//!
//! Otherwise a single bug in the fault path would end all recovery until evenkeel is restarted, while traffic continues
//! and everything looks well. Running processes are not touched; the new keeper is informed of them. Open incidents are
//! closed as interrupted; if a fault persists, the new keeper detects it again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use evenkeel_core::{Epoch, Instant, Observation, ServerId, Signal};
use evenkeel_fault::contract::ServiceSpec;
use evenkeel_fault::keeper::PersistedState;
use evenkeel_fault::{
    Incident, Input, Keeper, Maintenance, MaintenanceRecord, ServerUpdate, ServiceUpdate,
};
use evenkeel_runtime::TaskEntry;
use evenkeel_runtime::spawn::RestartPause;

use crate::reload::service_updates;

/// Everything needed to build a new keeper.
#[derive(Debug)]
pub(crate) struct KeeperSetup {
    specs: Vec<ServiceSpec>,
    /// The servers that come from DNS.
    discovered: BTreeSet<ServerId>,
    seed: u64,
    /// Of earlier runs, and the numbers of this one.
    memory: PersistedState,
    /// The last that was heard of each process: that it was started, could not be, or has ended.
    processes: BTreeMap<ServerId, Observation>,
    /// The current address of each server that has moved.
    moved: BTreeMap<ServerId, Observation>,
    /// The task's entry, which counts restarts.
    pub(crate) task: TaskEntry,
    pause: RestartPause,
    /// When the loop was started, or started again.
    since: Instant,
}

impl KeeperSetup {
    pub(crate) fn new(
        (specs, discovered): (Vec<ServiceSpec>, BTreeSet<ServerId>),
        seed: u64,
        memory: PersistedState,
        task: TaskEntry,
        now: Instant,
    ) -> Self {
        Self {
            specs,
            discovered,
            seed,
            memory,
            task,
            processes: BTreeMap::new(),
            moved: BTreeMap::new(),
            pause: RestartPause::default(),
            since: now,
        }
    }

    /// Another plan holds from now on. What it changes.
    pub(crate) fn reload(
        &mut self,
        specs: Vec<ServiceSpec>,
        discovered: BTreeSet<ServerId>,
    ) -> Vec<ServiceUpdate> {
        let both = &self.discovered & &discovered;
        let updates = service_updates(&self.specs, &specs, &both);
        (self.specs, self.discovered) = (specs, discovered);
        for update in &updates {
            let is_gone = |id: &ServerId| match update {
                ServiceUpdate::Added(spec) => id.service == spec.id,
                ServiceUpdate::Removed(service) => id.service == *service,
                ServiceUpdate::Changed { spec, servers } => {
                    let mut servers = servers.iter().filter(|(index, _)| *index == id.index);
                    id.service == spec.id
                        && servers.any(|(_, update)| *update != ServerUpdate::Changed)
                }
            };
            self.processes.retain(|id, _| !is_gone(id));
            self.moved.retain(|id, _| !is_gone(id));
        }
        updates
    }

    /// The services by slot.
    pub(crate) fn specs(&self) -> &[ServiceSpec] {
        &self.specs
    }

    /// Remembers what a new keeper would have to know of this signal.
    pub(crate) fn record_observation(&mut self, server: ServerId, observation: &Observation) {
        let known = match observation {
            Observation::Started { .. } | Observation::Exited(_) | Observation::StartFailed(_) => {
                &mut self.processes
            }
            Observation::Moved(_) => &mut self.moved,
            Observation::Attempt { .. } | Observation::Probe { .. } => return,
        };
        known.insert(server, observation.clone());
    }

    /// Remembers that this id is taken.
    pub(crate) fn number(&mut self, id: &str) {
        let Some((date, number)) = id.rsplit_once('-') else {
            return;
        };
        let Ok(number) = number.parse::<u32>() else {
            return;
        };
        let numbers = &mut self.memory.numbers;
        match numbers.iter_mut().find(|(known, _)| known == date) {
            Some((_, highest)) => *highest = number.max(*highest),
            None => numbers.push((date.to_owned(), number)),
        }
    }

    /// Records what an operator has taken out or restored.
    pub(crate) fn maintenance(
        &mut self,
        service: &str,
        server: Option<&str>,
        maintenance: Option<&Maintenance>,
    ) {
        let kept = &mut self.memory.maintenance;
        kept.retain(|one| one.service != service || one.server.as_deref() != server);
        kept.extend(maintenance.map(|maintenance| MaintenanceRecord {
            service: service.to_owned(),
            server: server.map(str::to_owned),
            maintenance: maintenance.clone(),
        }));
    }

    /// Remembers what has helped, and what has not.
    pub(crate) fn closed(&mut self, incident: &Incident) {
        self.memory.rates.learn(incident);
    }

    /// How long to wait after a panic before going on.
    pub(crate) fn pause(&mut self, now: Instant) -> Duration {
        self.pause.after(now.since(self.since))
    }

    /// The keeper to go on with from `now` on.
    pub(crate) fn keeper(&mut self, epoch: Epoch, now: Instant) -> Keeper {
        self.since = now;
        let seed = self.seed ^ self.task.restarts();
        Keeper::new(self.specs.clone(), epoch, seed, self.memory.clone())
    }

    /// The first inputs of a new keeper.
    pub(crate) fn known(&self, now: Instant) -> impl Iterator<Item = Input> {
        let known = self.moved.iter().chain(&self.processes);
        known.map(move |(&server, observation)| {
            Input::Signal(Signal {
                at: now,
                server,
                observation: observation.clone(),
            })
        })
    }

    pub(crate) fn servers(&self) -> impl Iterator<Item = ServerId> {
        self.specs.iter().flat_map(|spec| {
            let servers = (0_u32..).zip(&spec.servers);
            let servers = servers.filter(|(_, server)| !server.is_vacant());
            servers.map(|(index, _)| ServerId {
                service: spec.id,
                index,
            })
        })
    }
}
