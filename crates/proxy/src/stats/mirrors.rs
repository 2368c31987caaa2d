//! What became of requests that were to be copied, for whoever collects metrics.

use evenkeel_core::ServiceId;
use evenkeel_core::metric::Sink;

use super::counters::MIRRORED;
use crate::worker::state::ProxyState;

impl ProxyState {
    pub(crate) fn collect_mirrors(&self, sink: &mut dyn Sink) {
        let name = |service: ServiceId| self.services()[service.0 as usize].name();
        for (place, (from, to)) in self.mirrors().iter().enumerate() {
            for (index, result) in MIRRORED.iter().enumerate() {
                let workers = self.workers().iter();
                let value = workers
                    .map(|worker| worker.mirrors[place][index].value())
                    .sum();
                let labels = [
                    ("service", name(*from)),
                    ("to", name(*to)),
                    ("result", *result),
                ];
                let about = "Requests that were to be copied to another service, by what became of the copy.";
                sink.counter("evenkeel_mirrored_total", about, &labels, value);
            }
        }
    }
}
