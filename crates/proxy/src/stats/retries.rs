//! What retries cost, shown to whoever collects metrics.

use evenkeel_core::metric::{DurationSnapshot, Sink};

use super::retry_stats::{ATTEMPTS, DENIED};
use crate::worker::proxy_snapshot::ProxySnapshot;

impl ProxySnapshot {
    pub(crate) fn collect_retries(&self, sink: &mut dyn Sink) {
        for service in self.services() {
            let retry_stats = || service.counters().iter().map(|it| &it.retry_stats);
            for (index, attempts) in ATTEMPTS.iter().enumerate() {
                let value = retry_stats()
                    .map(|stats| stats.attempts[index].value())
                    .sum();
                let labels = [("service", service.name()), ("attempts", *attempts)];
                let about =
                    "Requests that are over, by how many attempts they took, hedges among them.";
                sink.counter("evenkeel_requests_by_attempts_total", about, &labels, value);
            }
            for (index, by) in DENIED.iter().enumerate().skip(1) {
                let value = retry_stats().map(|stats| stats.denied[index].value()).sum();
                let labels = [("service", service.name()), ("by", *by)];
                let about = "Retries that were wanted and not made, by what forbade them.";
                sink.counter("evenkeel_retries_denied_total", about, &labels, value);
            }
            let mut waited = DurationSnapshot::default();
            retry_stats().for_each(|stats| waited.merge(&stats.waited.snapshot()));
            let labels = [("service", service.name())];
            let about = "How long requests waited before a retry.";
            sink.durations("evenkeel_retry_wait_seconds", about, &labels, &waited);
        }
    }
}
