//! What became of load probes, for whoever collects metrics.

use evenkeel_core::metric::Sink;

use super::counters::LOAD_PROBES;
use crate::worker::state::ProxyState;

impl ProxyState {
    pub(crate) fn collect_asked(&self, sink: &mut dyn Sink) {
        let about = "Questions to servers how busy they are, by how they ended.";
        for (place, service) in self.services().iter().enumerate() {
            if service.ask.is_none() {
                continue;
            }
            for (index, result) in LOAD_PROBES.iter().enumerate() {
                let workers = self.workers().iter();
                let value = workers
                    .map(|worker| worker.services[place].asked[index].value())
                    .sum();
                let labels = [("service", service.name()), ("result", *result)];
                sink.counter("evenkeel_prequal_probes_total", about, &labels, value);
            }
        }
    }
}
