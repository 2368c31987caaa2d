//! What became of requests that were to be copied, for whoever collects metrics.

use evenkeel_core::ServiceId;
use evenkeel_core::metric::Sink;

use super::counters::MIRRORED;
use crate::worker::proxy_snapshot::ProxySnapshot;

impl ProxySnapshot {
    pub(crate) fn collect_mirrors(&self, sink: &mut dyn Sink) {
        let name = |service: ServiceId| self.service(service).map_or("", |it| it.name());
        for pair in self.mirrors() {
            for (index, result) in MIRRORED.iter().enumerate() {
                let workers = pair.counters.iter();
                let value = workers.map(|counters| counters[index].value()).sum();
                let labels = [
                    ("service", name(pair.from)),
                    ("to", name(pair.to)),
                    ("result", *result),
                ];
                let about = "Requests that were to be copied to another service, by what became of the copy.";
                sink.counter("evenkeel_mirrored_total", about, &labels, value);
            }
        }
    }
}
