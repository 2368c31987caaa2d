//! Incidents as they are known now: the content of the store, overlaid with what still waits to be written.
//!
//! Without the overlay, a full disk would make the list of incidents look empty.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_fault::Incident;

use crate::error::StoreError;
use crate::filter::{IncidentFilter, normal};
use crate::store::LONGEST_LIST;
use crate::writer::WriterHandle;

impl WriterHandle {
    /// The incidents that match `filter`, newest onset first. `None` if no answer came within `timeout`.
    ///
    /// # Errors
    /// If the store cannot be read.
    #[must_use]
    pub fn list(
        &self,
        filter: &IncidentFilter,
        timeout: Duration,
    ) -> Option<Result<Vec<Incident>, StoreError>> {
        // Data that the writer is processing now is stored or pending again once the store has answered, and data that
        // it processes then was pending before.
        let mut waiting = self.waiting();
        let asked = filter.clone();
        let stored = self.ask(timeout, move |store| store.list(&asked))?;
        waiting.extend(self.waiting());
        Some(stored.and_then(|stored| overlaid(stored, waiting, filter)))
    }

    /// The incident with this id. `None` if no answer came within `timeout`.
    ///
    /// # Errors
    /// If the store cannot be read.
    #[must_use]
    pub fn get(&self, id: &str, timeout: Duration) -> Option<Result<Option<Incident>, StoreError>> {
        let waiting = || self.waiting().into_iter().find(|waiting| waiting.id == id);
        let before = waiting();
        let asked = id.to_owned();
        let stored = self.ask(timeout, move |store| store.get(&asked))?;
        Some(match waiting().or(before) {
            Some(newest) => Ok(Some(newest)),
            None => stored,
        })
    }
}

/// `stored` with `waiting` in the place of what is older.
fn overlaid(
    stored: Vec<Incident>,
    waiting: Vec<Incident>,
    filter: &IncidentFilter,
) -> Result<Vec<Incident>, StoreError> {
    if waiting.is_empty() {
        return Ok(stored);
    }
    let all = stored.into_iter().chain(waiting);
    let by_id: BTreeMap<String, Incident> = all
        .map(|incident| (incident.id.clone(), incident))
        .collect();
    let mut chosen = Vec::new();
    for incident in by_id.into_values() {
        if filter.takes(&incident)? {
            chosen.push((normal(&incident.onset)?, incident.id.len(), incident));
        }
    }
    // As the store orders them.
    chosen.sort_by(|(a, a_length, a_incident), (b, b_length, b_incident)| {
        (b, b_length, &b_incident.id).cmp(&(a, a_length, &a_incident.id))
    });
    let limit = filter.limit.unwrap_or(LONGEST_LIST).min(LONGEST_LIST);
    chosen.truncate(limit as usize);
    Ok(chosen
        .into_iter()
        .map(|(_, _, incident)| incident)
        .collect())
}
