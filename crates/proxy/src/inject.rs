//! Faults on purpose, before the first attempt: a request waits, or is answered with an error and reaches no server.
//!
//! Apart from everything that notices faults: servers have no part in these, so no signal tells of them, and no retry or
//! fallback hides them.

use std::pin::pin;

use evenkeel_core::metric::Sink;
use evenkeel_request::Cause;
use evenkeel_tolerate::Inject;
use evenkeel_tolerate::inject::Injected;

use crate::client::Client;
use crate::client_watch::{ClientGone, until_gone};
use crate::drive::Journey;
use crate::state::ProxyState;

impl Journey<'_> {
    /// Does to the request what is to be done to it; a cause if it is over then.
    ///
    /// # Errors
    /// If the client is gone before the delay is over.
    pub(crate) async fn inject(&mut self, client: &Client) -> Result<Option<Cause>, ClientGone> {
        if self.policies.inject.is_none() {
            return Ok(None);
        }
        let Some(inject) = self.worker.state.inject(self.policies.place) else {
            return Ok(None);
        };
        self.injected = inject.decide();
        if let Some(delay) = self.injected.delay {
            let end = self.exchange.deadline().end();
            client.timer.set((self.worker.clock.now() + delay).min(end));
            let waited = until_gone(&client.watched.get(), pin!(client.timer.expired())).await;
            self.latest = self.worker.clock.now();
            waited?;
            if self.latest >= end {
                return Ok(Some(Cause::TotalTimeout));
            }
        }
        let abort = self.injected.abort;
        Ok(abort.map(|status| Cause::Injected { status }))
    }

    /// What was done to the request, for the access log.
    pub(crate) const fn injected_name(&self) -> &'static str {
        match self.injected {
            Injected {
                delay: None,
                abort: None,
            } => "",
            Injected {
                delay: Some(_),
                abort: None,
            } => "delay",
            Injected {
                delay: None,
                abort: Some(_),
            } => "abort",
            Injected {
                delay: Some(_),
                abort: Some(_),
            } => "delay abort",
        }
    }
}

impl ProxyState {
    /// Who decides about faults for requests that go by the policies at this place, if anybody does.
    pub(crate) fn inject(&self, place: u32) -> Option<&Inject> {
        self.injects().get(place as usize)?.as_ref()
    }

    pub(crate) fn collect_injects(&self, sink: &mut dyn Sink) {
        let about = "Requests to which a fault was done on purpose.";
        for (place, service) in self.services().iter().enumerate() {
            let of_routes = self.route_policies();
            let of_routes = of_routes.filter(|(service, _)| service.0 as usize == place);
            let places = of_routes.map(|(_, policies)| policies.place);
            let all = std::iter::once(service.policies.place).chain(places);
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
