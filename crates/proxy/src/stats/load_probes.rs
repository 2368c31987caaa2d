//! What became of load probes, for whoever collects metrics.

use evenkeel_core::metric::Sink;

use super::counters::LOAD_PROBES;
use crate::worker::proxy_snapshot::ProxySnapshot;

impl ProxySnapshot {
    pub(crate) fn collect_asked(&self, sink: &mut dyn Sink) {
        let about = "Questions to servers how busy they are, by how they ended.";
        for service in self.services() {
            if service.ask.is_none() {
                continue;
            }
            for (index, result) in LOAD_PROBES.iter().enumerate() {
                let value = service.add_up(|counters| counters.asked[index].value());
                let labels = [("service", service.name()), ("result", *result)];
                sink.counter("evenkeel_prequal_probes_total", about, &labels, value);
            }
        }
    }
}
