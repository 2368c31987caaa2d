//! Notes on a service for operators, in addition to its numbers.

use evenkeel_core::ServiceId;

use super::now::LiveBackend;

impl LiveBackend {
    /// Notes for the operator on the service's discovery and on evenkeel itself.
    pub(super) fn notes(&self, service: ServiceId) -> Vec<String> {
        let mut notes = self.discovery.notes(service);
        notes.extend(self.check_alive().err());
        notes.extend(self.ordered(service));
        notes.extend(self.own_incident());
        notes.extend(self.held_elsewhere(service));
        let health = self.incident_store.health();
        if !health.ok {
            let why = health.last_error.unwrap_or_default();
            notes.push(format!("incidents are not stored on disk: {why}"));
        }
        notes
    }

    /// The incident of another service that this one's trouble is a part of.
    fn held_elsewhere(&self, service: ServiceId) -> Option<String> {
        let entry = self.state.service(service)?;
        let prefix = format!("{}/", entry.name());
        let view = self.views.now();
        let held = view.open.iter().find(|open| {
            let mut servers = open.servers.iter();
            servers.any(|server| server.starts_with(&prefix))
        })?;
        let finding = held.diagnosis.first()?;
        let (id, of) = (&held.id, &held.service);
        Some(format!("part of incident {id} of {of}: {}", finding.fault))
    }

    /// Notes on faults of evenkeel itself.
    fn own_incident(&self) -> Option<String> {
        let view = self.views.now();
        let own = view.open.iter().find(|open| open.servers.is_empty())?;
        let finding = own.diagnosis.first()?;
        Some(format!(
            "evenkeel itself: incident {}, {}: {}",
            own.id,
            finding.fault,
            finding.evidence.join("; ")
        ))
    }
}
