//! Every decision of a policy, as an event for a listener.

use std::time::Duration;

use evenkeel_core::Instant;

use super::{Attempt, Repaired, Stopped};
use crate::breaker::Transition;
use crate::{Call, StopReason, Verdict};

/// One decision, or what led to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PolicyEvent {
    /// An attempt begins.
    Began(Attempt),
    /// An attempt has ended.
    Ended {
        /// The attempt.
        attempt: Attempt,
        /// What its end means.
        verdict: Verdict,
        /// How long it took.
        took: Duration,
    },
    /// An attempt was cancelled because another one beside it answered first.
    Cancelled {
        /// The attempt.
        attempt: Attempt,
        /// How long it had taken.
        took: Duration,
    },
    /// A hedged attempt answered before the first.
    HedgeWon,
    /// A hedged attempt was due and not made.
    HedgeDenied(Stopped),
    /// There will be a retry.
    Retry {
        /// The verdict of the attempt that failed.
        verdict: Verdict,
        /// How long to wait first.
        after: Duration,
        /// Whether it cost nothing: neither the limit nor the budget.
        free: bool,
    },
    /// There will be no retry.
    Denied(StopReason),
    /// An attempt waited for a token of the rate.
    Paced {
        /// How long it waited.
        waited: Duration,
    },
    /// An attempt that waited in the queue has left it.
    Queued {
        /// How long it waited.
        waited: Duration,
        /// Why it was rejected; `None` if it got a slot.
        refused: Option<Stopped>,
    },
    /// A fault was injected.
    Injected {
        /// Into this attempt.
        attempt: Attempt,
        /// How long the attempt is delayed.
        delay: Option<Duration>,
        /// Whether the attempt then fails without being made.
        abort: bool,
    },
    /// A breaker of the policy has opened or closed.
    Breaker {
        /// The server of the breaker, if one was picked.
        server: Option<u32>,
        /// The new state.
        change: Transition,
    },
    /// A repair has ended.
    Repair {
        /// Its result; `None` if the deadline ended it.
        outcome: Option<Repaired>,
        /// How long it took.
        took: Duration,
    },
    /// A fallback was used.
    Fallback {
        /// Whether it had a value.
        good: bool,
    },
    /// The call is over.
    Stopped {
        /// The reason.
        why: Stopped,
        /// Attempts made.
        attempts: u32,
        /// Time waited between them.
        waited: Duration,
    },
    /// The call was dropped before its end.
    Abandoned,
}

/// Receives every decision. Called on the path of the call, so it must not block.
pub trait EventListener: Send + Sync {
    /// Something happened in `call` under the policy of this name, at `now`.
    fn on_event(&self, policy: &str, call: &Call, now: Instant, event: &PolicyEvent);
}

impl<F: Fn(&str, &Call, Instant, &PolicyEvent) + Send + Sync> EventListener for F {
    fn on_event(&self, policy: &str, call: &Call, now: Instant, event: &PolicyEvent) {
        self(policy, call, now, event);
    }
}
