//! What retries cost: how many attempts requests took, how long they waited between them, and what forbade another one.

use evenkeel_core::metric::{Counter, DurationHistogram};
use evenkeel_tolerate::StopReason;

/// Why a wanted retry was denied, by the place in [`RetryStats::denied`]. The first one was not wanted.
pub(super) const DENIED: [&str; 7] = [
    "not-retryable",
    "method",
    "body",
    "limit",
    "timeout-limit",
    "budget",
    "deadline",
];

/// Attempts of a request, by the place in [`RetryStats::attempts`].
pub(super) const ATTEMPTS: [&str; 5] = ["0", "1", "2", "3", "more"];

/// One worker's numbers of one service.
#[derive(Debug, Default)]
pub(crate) struct RetryStats {
    pub(super) attempts: [Counter; ATTEMPTS.len()],
    pub(super) waited: DurationHistogram,
    pub(super) denied: [Counter; DENIED.len()],
}

impl RetryStats {
    /// A request is over that took so many attempts, hedges among them.
    pub(crate) fn took(&self, attempts: u32) {
        let place = (attempts as usize).min(ATTEMPTS.len() - 1);
        self.attempts[place].add_from_owner(1);
    }

    /// A request waits so long before its next attempt.
    pub(crate) fn waits(&self, time: std::time::Duration) {
        self.waited.add_from_owner(time);
    }

    /// A request got no further attempt because of this.
    pub(crate) fn denied(&self, reason: StopReason) {
        let place = DENIED.iter().position(|word| *word == reason.word());
        if let Some(counter) = place.and_then(|place| self.denied.get(place)) {
            counter.add_from_owner(1);
        }
    }
}
