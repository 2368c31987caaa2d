//! What others are told of an attempt's end: those who look at servers, at latencies, and at requests that crash
//! servers.

use std::time::Duration;

use evenkeel_core::{ExposureEvent, Instant, Outcome};

use super::host::{AttemptReport, Host};
use super::state::Exchange;

impl<'a> Exchange<'a> {
    /// Tells those who look at servers how an attempt ended, or that the head of its response has come.
    pub(super) fn observe(
        &self,
        server: u32,
        (at, outcome, latency): (Instant, Outcome, Duration),
        host: &impl Host<'a>,
    ) {
        host.attempt_ended(&self.report(server, (at, outcome, latency)));
        if self.policies.hedge.is_some()
            // What was cut off would have taken longer: without it the quantile would fall with each one.
            && matches!(
                outcome,
                Outcome::Answered(..500)
                    | Outcome::AttemptTimeout
                    | Outcome::Cancelled
                    | Outcome::Superseded
            )
        {
            host.hedging(self.policies.place, |hedge| hedge.note(at, latency));
        }
        self.service.admission().ended(at, outcome);
    }

    /// An attempt has ended so. Says what the request is called if it failed, and tells of the attempt if it may have brought its server
    /// down, or is watched.
    pub(super) fn expose_end(
        &self,
        (begun, at): (Instant, Instant),
        server: u32,
        outcome: Outcome,
        host: &impl Host<'a>,
    ) {
        if outcome.is_failure() {
            host.name_shape(self.shape);
        }
        let unsettled = &self.service.quarantine.unsettled;
        if matches!(outcome, Outcome::Answered(_)) && unsettled.is_on(at) {
            unsettled.answered(host.exact_shape(), at);
        }
        let index = server;
        let server = self.id_of(server);
        let what = match outcome {
            Outcome::Reset { sent: true } | Outcome::Truncated | Outcome::Rescued => {
                let shape = self.watched.as_deref().copied();
                let broke = ExposureEvent::Broke {
                    age: at.since(begun),
                    route: self.shape,
                    text: host.exact_text(),
                };
                let is_watched = shape.is_some();
                let shape = shape.unwrap_or_else(|| host.exact_shape());
                // Of one that was taken out the fate is known.
                if self.service.tells_exits && outcome != Outcome::Rescued {
                    unsettled.note(shape, index, is_watched, at);
                }
                return host.expose(server, at, shape, broke);
            }
            Outcome::Answered(_)
            | Outcome::AttemptTimeout
            | Outcome::BadResponse
            | Outcome::IdleTimeout => ExposureEvent::Survived,
            // Whether the server would have survived it is not known.
            Outcome::Cancelled
            | Outcome::Superseded
            | Outcome::Reset { sent: false }
            | Outcome::ConnectRefused
            | Outcome::ConnectTimeout
            | Outcome::Unreachable
            | Outcome::Stale
            | Outcome::StreamRefused
            | Outcome::LocalError => ExposureEvent::Unsent,
        };
        if let Some(shape) = self.watched.as_deref() {
            host.expose(server, at, *shape, what);
        }
    }

    /// The report of an attempt that ended so.
    pub(super) fn report(
        &self,
        server: u32,
        (at, outcome, latency): (Instant, Outcome, Duration),
    ) -> AttemptReport {
        AttemptReport {
            server: self.id_of(server),
            generation: self.servers.generation(server),
            has_changed: self.service.version() != self.servers.version(),
            at,
            outcome,
            latency,
            shape: self.shape,
        }
    }
}
