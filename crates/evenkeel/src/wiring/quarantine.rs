//! Requests in quarantine, as the status tells of them.

use evenkeel_core::ServiceId;
use evenkeel_fault::poison::Quarantined;

use super::live::Now;
use crate::period;

impl Now {
    /// The requests that no server gets, in words.
    pub(super) fn quarantined(&self, service: ServiceId) -> Vec<String> {
        let (view, epoch) = (self.views.now(), self.clock.epoch());
        let of_service = view.quarantined.get(&service.0);
        let name = self.state.services().get(service.0 as usize);
        let name = name.map_or("", |entry| entry.name());
        let text = |one: &Quarantined| {
            let time = |at| period::rfc3339(epoch.wall(at));
            let query = if one.with_query {
                " with one certain query"
            } else {
                ""
            };
            format!(
                "{}{query} is in quarantine since {} until {}: it brought servers down; `evenkeel lift {name}` ends that",
                one.request,
                time(one.since),
                time(one.until)
            )
        };
        of_service.into_iter().flatten().map(text).collect()
    }
}
