//! An attempt that is under way, as the balancer counts it: whatever ends it, also a panic, it is counted out once.

use std::time::Duration;

use evenkeel_balance::{Member, ServerState};
use evenkeel_core::{Instant, Outcome};

use crate::queue::Queue;

/// An attempt under way. Counted in when it is made and out when it is dropped, with what was known of it by then.
#[derive(Debug)]
pub(crate) struct Flight<'a> {
    state: &'a ServerState,
    queue: &'a Queue,
    /// What an attempt takes at present in the whole service.
    typical: Duration,
    at: Instant,
    outcome: Outcome,
    latency: Duration,
}

impl<'a> Flight<'a> {
    /// Nothing if the server has as many requests as it may.
    pub(crate) fn begin(member: &'a Member, queue: &'a Queue, typical: Duration) -> Option<Self> {
        member.begin().then(|| Self {
            state: &member.state,
            queue,
            typical,
            at: Instant::ZERO,
            outcome: Outcome::Cancelled,
            latency: Duration::ZERO,
        })
    }

    /// How it ended; a later word replaces an earlier one.
    pub(crate) const fn came_to(&mut self, at: Instant, outcome: Outcome, latency: Duration) {
        self.at = at;
        self.outcome = outcome;
        self.latency = latency;
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.state
            .end(self.at, self.outcome, self.latency, self.typical);
        self.queue.free_one();
    }
}
