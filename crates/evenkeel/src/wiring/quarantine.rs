//! Requests in quarantine, and other measures for a whole service, as shown by the status.

use evenkeel_core::ServiceId;
use evenkeel_fault::poison::Quarantined;

use super::now::LiveBackend;
use crate::period;

impl LiveBackend {
    /// The measures for the service as a whole, in words.
    pub(super) fn ordered(&self, service: ServiceId) -> Vec<String> {
        let view = self.views.now();
        let mut notes = self.quarantined(service);
        notes.extend(view.measures.get(&service.0).into_iter().flatten().cloned());
        notes
    }

    /// The requests that no server gets.
    fn quarantined(&self, service: ServiceId) -> Vec<String> {
        let (view, epoch) = (self.views.now(), self.clock.epoch());
        let of_service = view.quarantined.get(&service.0);
        let entry = self.state.service(service);
        let name = entry.as_ref().map_or("", |entry| entry.name());
        let text = |one: &Quarantined| {
            let time = |at| period::rfc3339(epoch.wall(at));
            let query = if one.with_query {
                " with one certain query"
            } else {
                ""
            };
            format!(
                "{}{query} is in quarantine since {} until {}: it crashed servers; `evenkeel lift {name}` ends the quarantine",
                one.request,
                time(one.since),
                time(one.until)
            )
        };
        of_service.into_iter().flatten().map(text).collect()
    }
}
