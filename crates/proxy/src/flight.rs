//! An attempt that is under way, as the balancer counts it: whatever ends it, also a panic, it is counted out once.

use std::time::Duration;

use evenkeel_balance::ServerState;
use evenkeel_core::{Instant, Outcome};

/// An attempt under way. Counted in when it is made and out when it is dropped, with what was known of it by then.
#[derive(Debug)]
pub(crate) struct Flight<'a> {
    state: &'a ServerState,
    /// What an attempt takes at present in the whole service.
    typical: Duration,
    at: Instant,
    outcome: Outcome,
    latency: Duration,
}

impl<'a> Flight<'a> {
    pub(crate) fn begin(state: &'a ServerState, typical: Duration) -> Self {
        state.begin();
        let outcome = Outcome::Cancelled;
        Self {
            state,
            typical,
            at: Instant::ZERO,
            outcome,
            latency: Duration::ZERO,
        }
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
    }
}
