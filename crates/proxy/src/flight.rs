//! An attempt that is under way, as the balancer counts it: whatever ends it, also a panic, it is counted out once.

use std::time::Duration;

use evenkeel_balance::{Member, ServerState};
use evenkeel_core::{Instant, Outcome};

use crate::observe::{Watch, Watched};
use crate::queue::Queue;

/// An attempt under way. Counted in when it is made and out when it is dropped, with what was known of it by then.
#[derive(Debug)]
pub(crate) struct Flight<'a> {
    state: &'a ServerState,
    queue: &'a Queue,
    /// What it owes to who watches the server, if anybody does.
    watched: Option<Watched<'a>>,
    /// What an attempt takes at present in the whole service.
    typical: Duration,
    at: Instant,
    outcome: Outcome,
    latency: Duration,
}

impl<'a> Flight<'a> {
    /// Nothing if the server has as many requests as it may, or if its breaker lets nothing through.
    pub(crate) fn begin(
        (member, watch): (&'a Member, Option<&'a Watch>),
        queue: &'a Queue,
        typical: Duration,
        now: Instant,
    ) -> Option<Self> {
        if !member.begin() {
            return None;
        }
        let mut flight = Self {
            state: &member.state,
            queue,
            watched: None,
            typical,
            at: Instant::ZERO,
            outcome: Outcome::Cancelled,
            latency: Duration::ZERO,
        };
        if let Some(watch) = watch {
            flight.watched = Some(watch.begin(member, now)?);
        }
        Some(flight)
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
        if let Some(watched) = self.watched.take() {
            watched.ended(self.state, self.at, self.outcome, self.latency);
        }
        self.queue.free_one();
    }
}
