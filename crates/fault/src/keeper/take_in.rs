//! Receives a signal: finds its server, updates the history, and decides whether anything follows.

use std::time::Duration;

use evenkeel_core::{Instant, Observation, Outcome, RequestShape, ServerId, Signal};

use crate::contract::{Managed, Output};
use crate::signal::AttemptVerdict;

use super::Keeper;

impl Keeper {
    pub(super) fn signal(&mut self, now: Instant, signal: Signal, out: &mut Vec<Output>) {
        let Signal {
            at,
            server: id,
            observation,
        } = signal;
        let at = at.min(now);
        if let Observation::Moved(address) = observation {
            self.moved(now, id, address, out);
            return;
        }
        if self.is_vacant(id) {
            // Actions in progress when the server was removed.
            return;
        }
        let observation = self.self_watch.corrected(at, observation);
        if let Observation::Attempt {
            outcome,
            latency,
            shape,
        } = observation
        {
            self.attempt(now, (at, id), (outcome, latency, shape), out);
            return;
        }
        if let Observation::Exited(exit) = &observation
            && self.joins_guardian(now, id, exit, out)
        {
            return;
        }
        self.note_end(at, id, &observation);
        self.with(now, id, out, |work| match observation {
            Observation::Attempt { .. } | Observation::Moved(_) => {}
            Observation::Probe { outcome, latency } => work.probe(at, outcome, latency),
            Observation::Started { pid } => work.started(at, pid),
            Observation::Exited(exit) => {
                work.server.facts.process.exited(at, *exit);
                work.process_down();
            }
            Observation::StartFailed(failure) => {
                work.server.facts.process.start_failed(at, *failure);
                work.process_down();
            }
        });
    }

    fn attempt(
        &mut self,
        now: Instant,
        (at, id): (Instant, ServerId),
        (outcome, latency, shape): (Outcome, Duration, RequestShape),
        out: &mut Vec<Output>,
    ) {
        let Some(service) = self.services.get_mut(id.service.0 as usize) else {
            return;
        };
        let Some(server) = service.servers.get_mut(id.index as usize) else {
            return;
        };
        service.routes.take(at, id.index, shape, outcome);
        let is_shared = service.common.as_ref().is_some_and(|one| one.is_shared());
        if server.is_quiet() && !is_shared {
            service.burn.attempt(at, id.index, shape, outcome);
        }
        if let Some(common) = &mut service.common {
            let spec = service.spec.servers.get(id.index as usize);
            if common.concerns_tier(spec.map_or(0, |spec| spec.tier)) {
                common.attempt(at, id.index, &server.name, shape, outcome);
            }
        }
        if outcome.is_success() {
            service.poison.judge.succeeded();
        } else if outcome == Outcome::ConnectRefused && server.managed != Managed::Child {
            service.poison.judge.refused(at, id.index);
        }
        let said = server.facts.attempt(at, outcome, latency);
        if said != AttemptVerdict::Failure && server.is_quiet() {
            return;
        }
        self.with(now, id, out, |work| {
            work.attempt(at, said, outcome, latency);
        });
    }
}
