//! The end of an incident that nobody has seen: whoever looked after it is gone.
//!
//! Apart from the keeper, which it does not know: it is its successor who closes what it has left.

use evenkeel_core::{Epoch, Instant};

use crate::incident::{ActionOutcome, End, Entry, Incident, Status, invariants};
use crate::maintenance::stamp;

impl Incident {
    /// Closes the incident at `now`, with `why` nobody knows what became of it. What was under way has not been seen to
    /// end.
    pub fn close_unseen(&mut self, epoch: Epoch, now: Instant, why: &str) {
        let at = stamp(epoch, now);
        for action in self.actions.iter_mut().filter(|one| one.outcome.is_none()) {
            action.ended = Some(at.clone());
            action.outcome = Some(ActionOutcome::TimedOut);
            action.detail = Some("its end was not seen".to_owned());
        }
        self.timeline.push(Entry {
            at: at.clone(),
            kind: "analysis".to_owned(),
            text: why.to_owned(),
        });
        self.status = Status::Closed;
        self.closed = Some(at);
        self.end = Some(End::EvenkeelEnded);
        invariants::mend(self);
    }
}
