//! Counters of a mechanism by what became of it, for each service that has it: hedges, deadlines, fallbacks.

use evenkeel_core::metric::{Counter, Sink};
use evenkeel_request::Policies;

use super::counters::{DEADLINES, FALLBACKS, HEDGES, KEPT_ENDED, ServiceCounters};
use crate::worker::proxy_snapshot::ProxySnapshot;

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

impl ProxySnapshot {
    pub(crate) fn collect_results(&self, sink: &mut dyn Sink, results: &Results) {
        for service in self.services() {
            if !self.any_policies(service, results.is_there) {
                continue;
            }
            for (index, word) in results.words.iter().enumerate() {
                let workers = service.counters().iter();
                let counters = workers.filter_map(|it| (results.counters)(it).get(index));
                let labels = [("service", service.name()), ("result", *word)];
                let value = counters.map(Counter::value).sum();
                sink.counter(results.name, results.about, &labels, value);
            }
        }
    }
}

pub(crate) const HEDGE_RESULTS: Results = Results {
    name: "evenkeel_hedges_total",
    about: "Attempts that were made beside late ones, or were to be made, by what became of them.",
    words: &HEDGES,
    counters: |counters| &counters.hedges,
    is_there: |policies| policies.hedge.is_some(),
};

pub(crate) const FALLBACK_RESULTS: Results = Results {
    name: "evenkeel_fallbacks_total",
    about: "Requests that no server of the service answered, by what their clients got instead.",
    words: &FALLBACKS,
    counters: |counters| &counters.fallbacks,
    is_there: |policies| policies.fallback.is_some(),
};

pub(crate) const DEADLINE_RESULTS: Results = Results {
    name: "evenkeel_deadlines_total",
    about: "Requests whose clients said how long they wait, by what that was.",
    words: &DEADLINES,
    counters: |counters| &counters.deadlines,
    is_there: |policies| policies.deadline.is_some(),
};

pub(crate) const KEPT_RESULTS: Results = Results {
    name: "evenkeel_kept_connections_ended_total",
    about: "Connections to servers that were kept and not used again, by why.",
    words: &KEPT_ENDED,
    counters: |counters| &counters.pool,
    is_there: |_| true,
};
