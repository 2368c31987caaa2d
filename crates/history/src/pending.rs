//! Pending writes: the newest state of each incident and maintenance, of changes made at run time, and traffic totals.
//!
//! Separate from the writer because this is what makes a full disk harmless: its size stays bounded however long the
//! disk is unavailable.

use std::collections::{BTreeMap, VecDeque};

use evenkeel_fault::{Incident, Maintenance};

/// Incidents that may wait; then the oldest goes.
pub(crate) const MOST_INCIDENTS: usize = 1024;
/// Minutes of services that may wait; then the oldest goes.
const MOST_MINUTES: usize = 4096;

/// Maintenance that may wait; then the oldest by name goes.
const MOST_MAINTENANCE: usize = 4096;

/// The key of a maintenance: the service's name, and the server's if it concerns one.
pub(crate) type MaintenanceKey = (String, Option<String>);

/// The pending writes.
#[derive(Debug, Default)]
pub(crate) struct PendingWrites {
    incidents: BTreeMap<String, Incident>,
    order: VecDeque<String>,
    traffic: BTreeMap<(i64, String), (u64, u64)>,
    /// The newest state of each; `None` is to be forgotten.
    maintenance: BTreeMap<MaintenanceKey, Option<Maintenance>>,
    /// The newest changes made at run time.
    runtime_changes: Option<String>,
}

impl PendingWrites {
    pub(crate) fn is_empty(&self) -> bool {
        self.incidents.is_empty()
            && self.traffic.is_empty()
            && self.maintenance.is_empty()
            && self.runtime_changes.is_none()
    }

    pub(crate) fn runtime_changes(&self) -> Option<&str> {
        self.runtime_changes.as_deref()
    }

    pub(crate) fn set_runtime_changes(&mut self, body: String) {
        self.runtime_changes = Some(body);
    }

    pub(crate) fn maintenance(
        &self,
    ) -> impl Iterator<Item = (&MaintenanceKey, Option<&Maintenance>)> {
        self.maintenance
            .iter()
            .map(|(key, state)| (key, state.as_ref()))
    }

    pub(crate) fn set_maintenance(
        &mut self,
        key: MaintenanceKey,
        maintenance: Option<Maintenance>,
    ) -> u64 {
        self.maintenance.insert(key, maintenance);
        self.keep_within()
    }

    pub(crate) fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.order.iter().filter_map(|id| self.incidents.get(id))
    }

    pub(crate) fn traffic(&self) -> impl Iterator<Item = (&str, i64, u64, u64)> {
        self.traffic
            .iter()
            .map(|((minute, service), (requests, failed))| {
                (service.as_str(), *minute, *requests, *failed)
            })
    }

    /// Takes the place of what waits under the same id. Gives how many were dropped to make room.
    pub(crate) fn save(&mut self, incident: Incident) -> u64 {
        let id = incident.id.clone();
        if self.incidents.insert(id.clone(), incident).is_none() {
            self.order.push_back(id);
        }
        self.keep_within()
    }

    pub(crate) fn add_traffic(
        &mut self,
        service: &str,
        minute: i64,
        requests: u64,
        failed: u64,
    ) -> u64 {
        let sums = self
            .traffic
            .entry((minute, service.to_owned()))
            .or_default();
        sums.0 = sums.0.saturating_add(requests);
        sums.1 = sums.1.saturating_add(failed);
        self.keep_within()
    }

    /// Puts back what could not be written; what has come since is newer and wins.
    pub(crate) fn put_back(&mut self, older: Self) -> u64 {
        let Self {
            mut incidents,
            order,
            traffic,
            maintenance,
            runtime_changes,
        } = older;
        self.runtime_changes = self.runtime_changes.take().or(runtime_changes);
        for (key, state) in maintenance {
            self.maintenance.entry(key).or_insert(state);
        }
        for id in order.into_iter().rev() {
            let Some(incident) = incidents.remove(&id) else {
                continue;
            };
            if let std::collections::btree_map::Entry::Vacant(place) =
                self.incidents.entry(id.clone())
            {
                place.insert(incident);
                self.order.push_front(id);
            }
        }
        for ((minute, service), (requests, failed)) in traffic {
            self.add_traffic(&service, minute, requests, failed);
        }
        self.keep_within()
    }

    fn keep_within(&mut self) -> u64 {
        let mut dropped = 0;
        while self.order.len() > MOST_INCIDENTS {
            if let Some(oldest) = self.order.pop_front() {
                self.incidents.remove(&oldest);
                dropped += 1;
            }
        }
        while self.traffic.len() > MOST_MINUTES {
            self.traffic.pop_first();
            dropped += 1;
        }
        while self.maintenance.len() > MOST_MAINTENANCE {
            self.maintenance.pop_first();
            dropped += 1;
        }
        dropped
    }
}
