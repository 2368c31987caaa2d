//! Recovery from a panic: clears the remains of the interrupted turn, and feeds the new keeper with the known state.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_fault::contract::ProbePace;
use evenkeel_fault::{Incident, Input, PlanChange};
use evenkeel_runtime::Panicked;

use super::Control;
use crate::pending_orders::PendingOrders;
use crate::world::{ActionExecutor, IncidentStore, RequestPath};

/// The note on an incident that was open.
const UNSEEN: &str = "evenkeel's control loop was started again after a mistake of its own; what became of this incident \
                      was not seen, the servers are judged anew";

impl<T: RequestPath, H: ActionExecutor, B: IncidentStore> Control<T, H, B> {
    /// After a panic: waits until running actions have ended and a little longer, and continues with a new keeper. If
    /// this panics, it is called again.
    pub(super) async fn start_again(&mut self, panicked: &Panicked) {
        let pause = self.stop_after_panic(panicked);
        // Running orders belong to the previous keeper. They are awaited, each with its time limit: a new keeper that
        // acts concurrently could start a process twice.
        while self.tasks.join_next().await.is_some() {}
        self.clock.sleep_until(self.clock.now() + pause).await;
        self.renew(self.clock.now());
    }

    fn stop_after_panic(&mut self, panicked: &Panicked) -> Duration {
        let now = self.clock.now();
        let pause = self.keeper_setup.pause(now);
        tracing::error!(
            task = "control",
            open = self.open.len(),
            "the control loop panicked at {panicked} and will be restarted in {pause:?}; traffic continues"
        );
        // Inputs that were received but not processed.
        for input in std::mem::take(&mut self.inputs) {
            if let Input::Signal(signal) = input {
                self.keeper_setup
                    .record_observation(signal.server, &signal.observation);
            }
        }
        self.answers.clear();
        // Callers that wait for an order learn that it is no longer tracked.
        self.pending_orders = PendingOrders::default();
        self.outputs.clear();
        self.outcomes.clear();
        pause
    }

    fn renew(&mut self, now: Instant) {
        // Meanwhile running orders may have started processes that a new keeper would not know of, and start again.
        while let Ok(signal) = self.signals.try_recv() {
            self.keeper_setup
                .record_observation(signal.server, &signal.observation);
        }
        self.keeper = self.keeper_setup.keeper(self.clock.epoch(), now);
        for incident in std::mem::take(&mut self.open).into_values() {
            let mut incident = Incident::clone(&incident);
            incident.close_unseen(self.clock.epoch(), now, UNSEEN);
            self.record(now, Arc::new(incident));
        }
        for server in self.keeper_setup.servers() {
            self.executor.pace(server, ProbePace::Normal);
        }
        self.inputs.extend(self.keeper_setup.known(now));
        self.inputs.push(Input::Plan(Box::new(PlanChange {
            services: Vec::new(),
            outdated: self.executor.outdated(),
        })));
        self.forget_gone(now);
        self.changed = true;
    }
}
