//! What retries cost: how many attempts requests took, how long they waited between them, and what forbade another one.

use evenkeel_core::metric::{Counter, DurationHistogram, DurationSnapshot, Sink};
use evenkeel_tolerate::StopReason;

use crate::state::ProxyState;

/// Why a wanted retry was denied, by the place in [`Effort::denied`]. The first one was not wanted.
const DENIED: [&str; 7] = [
    "not-retryable",
    "method",
    "body",
    "limit",
    "timeout-limit",
    "budget",
    "deadline",
];

/// Attempts of a request, by the place in [`Effort::attempts`].
const ATTEMPTS: [&str; 5] = ["0", "1", "2", "3", "more"];

/// One worker's numbers of one service.
#[derive(Debug, Default)]
pub(crate) struct Effort {
    attempts: [Counter; ATTEMPTS.len()],
    waited: DurationHistogram,
    denied: [Counter; DENIED.len()],
}

impl Effort {
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

impl ProxyState {
    pub(crate) fn collect_efforts(&self, sink: &mut dyn Sink) {
        for (place, service) in self.services().iter().enumerate() {
            let efforts = || {
                self.workers()
                    .iter()
                    .map(|worker| &worker.services[place].effort)
            };
            for (index, attempts) in ATTEMPTS.iter().enumerate() {
                let value = efforts().map(|effort| effort.attempts[index].value()).sum();
                let labels = [("service", service.name()), ("attempts", *attempts)];
                let about =
                    "Requests that are over, by how many attempts they took, hedges among them.";
                sink.counter("evenkeel_requests_by_attempts_total", about, &labels, value);
            }
            for (index, by) in DENIED.iter().enumerate().skip(1) {
                let value = efforts().map(|effort| effort.denied[index].value()).sum();
                let labels = [("service", service.name()), ("by", *by)];
                let about = "Retries that were wanted and not made, by what forbade them.";
                sink.counter("evenkeel_retries_denied_total", about, &labels, value);
            }
            let mut waited = DurationSnapshot::default();
            efforts().for_each(|effort| waited.merge(&effort.waited.snapshot()));
            let labels = [("service", service.name())];
            let about = "How long requests waited before a retry.";
            sink.durations("evenkeel_retry_wait_seconds", about, &labels, &waited);
        }
    }
}
