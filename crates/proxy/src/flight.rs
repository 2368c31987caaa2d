//! An attempt that is under way, as the balancer counts it: whatever ends it, also a panic, it is counted out once.

use std::time::Duration;

use evenkeel_balance::{Member, ServerState};
use evenkeel_core::{Instant, Outcome};
use evenkeel_tolerate::limit::Adaptive;

use crate::queue::Queue;

/// An attempt under way. Counted in when it is made and out when it is dropped, with what was known of it by then.
#[derive(Debug)]
pub(crate) struct Flight<'a> {
    state: &'a ServerState,
    queue: &'a Queue,
    /// What finds the server's bound, if it is to be found, and how many were in flight when this one began.
    learns: Option<&'a Adaptive>,
    in_flight: u32,
    /// What an attempt takes at present in the whole service.
    typical: Duration,
    at: Instant,
    outcome: Outcome,
    latency: Duration,
}

impl<'a> Flight<'a> {
    /// Nothing if the server has as many requests as it may.
    pub(crate) fn begin(
        member: &'a Member,
        learns: Option<&'a Adaptive>,
        queue: &'a Queue,
        typical: Duration,
    ) -> Option<Self> {
        member.begin().then(|| Self {
            state: &member.state,
            queue,
            learns,
            in_flight: learns.map_or(0, |_| member.state.in_flight()),
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
        if let Some((adaptive, dropped)) = self.learns.zip(is_dropped(self.outcome))
            && let Some(bound) = adaptive.sample(self.at, self.latency, self.in_flight, dropped)
        {
            self.state.set_bound(bound);
        }
        self.queue.free_one();
    }
}

/// Whether the server had more than it could do; nothing if the attempt says nothing about that.
const fn is_dropped(outcome: Outcome) -> Option<bool> {
    match outcome {
        Outcome::Answered(429 | 503) | Outcome::AttemptTimeout | Outcome::ConnectTimeout => {
            Some(true)
        }
        Outcome::Answered(200..=499) => Some(false),
        // A fast error of the application's says nothing about how busy it is, and neither does what never reached it.
        _ => None,
    }
}
