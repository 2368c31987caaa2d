//! Receives a signal: finds its server, updates the history, and decides whether anything follows.

use evenkeel_core::{Instant, Observation, Outcome, ServerId, Signal};

use crate::contract::{Managed, Output};
use crate::signal::{AttemptVerdict, ObservedAttempt};

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
            let ended = ObservedAttempt {
                at,
                outcome,
                latency,
                shape,
            };
            self.attempt(now, id, ended, out);
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
            Observation::Started { pid, changed } => work.started(at, pid, changed),
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
        id: ServerId,
        ended: ObservedAttempt,
        out: &mut Vec<Output>,
    ) {
        let ObservedAttempt {
            at,
            outcome,
            latency: _,
            shape,
        } = ended;
        let Some(service) = self.services.get_mut(id.service.0 as usize) else {
            return;
        };
        let Some(server) = service.servers.get_mut(id.index as usize) else {
            return;
        };
        service.routes.take(at, id.index, shape, outcome);
        let common = service.common.as_ref();
        if server.is_quiet() && !common.is_some_and(|one| one.is_shared()) {
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
        let common = service.common.as_ref();
        let is_shared = common.is_some_and(|common| common.explains_requests(shape));
        let said = server.facts.attempt(ended);
        if let Some(unproven) = server.unproven.as_mut().filter(|_| !is_shared) {
            unproven.attempt(&ended);
        }
        if said != AttemptVerdict::Failure && server.is_quiet() {
            return;
        }
        self.with(now, id, out, |work| {
            work.attempt(said, &ended, is_shared);
        });
    }
}
