//! What is kept of old answers, and shown, for whoever collects metrics.

use evenkeel_core::metric::Sink;

use crate::cache::store::{FIRST, RENEWALS};
use crate::worker::proxy_snapshot::ProxySnapshot;

impl ProxySnapshot {
    pub(crate) fn collect_stale(&self, sink: &mut dyn Sink) {
        for service in self.services() {
            let Some(stale) = &service.stale else {
                continue;
            };
            let (answers, bytes) = stale.size();
            let labels = [("service", service.name())];
            let about = "Old answers that are kept for when there is no new one.";
            sink.gauge("evenkeel_stale_answers", about, &labels, answers as f64);
            for (result, counter) in FIRST.iter().zip(&stale.first) {
                let labels = [("service", service.name()), ("result", *result)];
                let about =
                    "Requests that were answered from what is kept, without asking a server.";
                sink.counter(
                    "evenkeel_stale_first_total",
                    about,
                    &labels,
                    counter.value(),
                );
            }
            for (result, counter) in RENEWALS.iter().zip(&stale.renewals) {
                let labels = [("service", service.name()), ("result", *result)];
                let about = "Answers that were to be fetched anew while the old ones were shown, by what became of it.";
                sink.counter(
                    "evenkeel_stale_renewals_total",
                    about,
                    &labels,
                    counter.value(),
                );
            }
            let about =
                "Kept answers that were forgotten because a request changed what they show.";
            let forgotten = stale.invalidated.value();
            sink.counter(
                "evenkeel_stale_invalidated_total",
                about,
                &labels,
                forgotten,
            );
            let about = "Bytes of old answers that are kept.";
            sink.gauge("evenkeel_stale_bytes", about, &labels, bytes as f64);
        }
    }
}
