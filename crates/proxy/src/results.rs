//! Counters of a mechanism by what became of it, for each service that has it: hedges, deadlines, fallbacks.

use evenkeel_core::metric::{Counter, Sink};
use evenkeel_request::Policies;

use crate::count::ServiceCounters;
use crate::state::ProxyState;

/// A metric with the labels `service` and `result`.
pub(crate) struct Results {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// What the counters mean, by their place.
    pub(crate) words: &'static [&'static str],
    pub(crate) counters: fn(&ServiceCounters) -> &[Counter],
    /// Whether policies have the mechanism. Services that have it nowhere are left out.
    pub(crate) is_there: fn(&Policies) -> bool,
}

impl ProxyState {
    pub(crate) fn collect_results(&self, sink: &mut dyn Sink, results: &Results) {
        for (place, service) in self.services().iter().enumerate() {
            if !self.any_policies(place, results.is_there) {
                continue;
            }
            for (index, word) in results.words.iter().enumerate() {
                let workers = self.workers().iter();
                let counters =
                    workers.filter_map(|it| (results.counters)(&it.services[place]).get(index));
                let labels = [("service", service.name()), ("result", *word)];
                let value = counters.map(Counter::value).sum();
                sink.counter(results.name, results.about, &labels, value);
            }
        }
    }
}
