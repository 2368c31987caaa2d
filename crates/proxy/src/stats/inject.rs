//! Faults that are injected on purpose, as they are counted. What is done to a request is decided by its exchange, before the first
//! attempt: servers have no part in it, so no signal tells of it, and no retry or fallback hides it.

use evenkeel_core::metric::Sink;
use evenkeel_tolerate::Inject;

use crate::worker::proxy_snapshot::ProxySnapshot;

impl ProxySnapshot {
    pub(crate) fn collect_injects(&self, sink: &mut dyn Sink) {
        let about = "Requests to which a fault was done on purpose.";
        for service in self.services() {
            let of_routes = self.route_policies();
            let of_routes = of_routes.filter(|(to, _)| *to == service.id());
            let places = of_routes.map(|(_, policies)| policies.place);
            let all = std::iter::once(service.policies().place).chain(places);
            let all: Vec<_> = all
                .filter_map(|place| self.inject(place))
                .map(Inject::snapshot)
                .collect();
            if all.is_empty() {
                continue;
            }
            let delayed = all.iter().map(|one| one.delayed).sum();
            let aborted = all.iter().map(|one| one.aborted).sum();
            for (kind, value) in [("delay", delayed), ("abort", aborted)] {
                let labels = [("service", service.name()), ("kind", kind)];
                sink.counter("evenkeel_injected_total", about, &labels, value);
            }
        }
    }
}
