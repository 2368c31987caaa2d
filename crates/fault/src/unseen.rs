//! The end of an incident that nobody observed, because the keeper that tracked it is gone.
//!
//! Separate from the keeper: a keeper's successor closes what it left open.

use evenkeel_core::{Epoch, Instant};

use crate::incident::{
    ActionOutcome, CloseReason, Incident, IncidentStatus, TimelineEntry, invariants,
};
use crate::maintenance::stamp;

impl Incident {
    /// Closes the incident at `now`, with the reason `why` its outcome is unknown. The end of running actions was not
    /// observed.
    pub fn close_unseen(&mut self, epoch: Epoch, now: Instant, why: &str) {
        let at = stamp(epoch, now);
        for action in self.actions.iter_mut().filter(|one| one.outcome.is_none()) {
            action.ended = Some(at.clone());
            action.outcome = Some(ActionOutcome::TimedOut);
            action.detail = Some("its end was not observed".to_owned());
        }
        self.timeline.push(TimelineEntry {
            at: at.clone(),
            kind: "analysis".to_owned(),
            text: why.to_owned(),
        });
        self.status = IncidentStatus::Closed;
        self.closed = Some(at);
        self.end = Some(CloseReason::EvenkeelEnded);
        invariants::correct(self);
    }
}
