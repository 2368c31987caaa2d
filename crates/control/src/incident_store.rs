//! The history as the loop's incident store: records go to its writer, and a new keeper's memory comes from its
//! database.

use evenkeel_fault::analyze::Similar;
use evenkeel_fault::keeper::PersistedState;
use evenkeel_fault::recover::SuccessRates;
use evenkeel_fault::{Incident, Maintenance};
use evenkeel_history::{Store, StoreError, WriterHandle};

use crate::world::IncidentStore;

/// So many closed incidents are remembered to find similar ones.
const REMEMBERED: u32 = 1000;
/// From so many closed incidents of each service it is learnt what has helped there. A few of them tell of a costly action, and the last 20
/// tries of each action count.
const LEARNT_FROM: u32 = 200;

impl IncidentStore for WriterHandle {
    fn save(&self, incident: &Incident) {
        Self::save(self, incident.clone());
    }

    fn maintenance(&self, service: &str, server: Option<&str>, maintenance: Option<Maintenance>) {
        self.set_maintenance(service, server, maintenance);
    }

    fn traffic(&self, service: &str, minute: i64, requests: u64, failed: u64) {
        self.add_traffic(service, minute, requests, failed);
    }
}

/// The state of earlier runs of the program.
///
/// # Errors
/// If the store cannot be read.
pub fn memory(store: &Store) -> Result<PersistedState, StoreError> {
    let similar = |incident: Incident| {
        Some(Similar {
            fault: incident.diagnosis.first()?.fault,
            closed: incident.closed?,
            id: incident.id,
            service: incident.service,
        })
    };
    let closed = store.recent_closed(REMEMBERED)?;
    let mut rates = SuccessRates::default();
    let learnt_from = store.recent_closed_of_each(LEARNT_FROM)?;
    learnt_from
        .iter()
        .for_each(|incident| rates.learn(incident));
    Ok(PersistedState {
        numbers: store.last_numbers()?,
        recent: closed.into_iter().filter_map(similar).collect(),
        rates,
        maintenance: store.maintenance()?,
    })
}
