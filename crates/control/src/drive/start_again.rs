//! Going on after a panic: the turn's remains are cleared away, and the new keeper is told what is known.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_fault::contract::Pace;
use evenkeel_fault::{Incident, Input};
use evenkeel_runtime::Panicked;

use super::Control;
use crate::asked::Asked;
use crate::world::{Books, Hands, Traffic};

/// What is said of an incident that was open.
const UNSEEN: &str = "evenkeel's control loop was started again after a mistake of its own; what became of this incident \
                      was not seen, the servers are judged anew";

impl<T: Traffic, H: Hands, B: Books> Control<T, H, B> {
    /// After a panic: waits for what is under way and a little longer, and goes on with a new keeper. If it panics itself, it is
    /// called again.
    pub(super) async fn start_again(&mut self, panicked: &Panicked) {
        let pause = self.stop_after_panic(panicked);
        // Orders that are under way belong to the keeper that is gone. They are waited for, each has its time limit: a new
        // keeper that orders beside them could start a process twice.
        while self.tasks.join_next().await.is_some() {}
        self.clock.sleep_until(self.clock.now() + pause).await;
        self.renew(self.clock.now());
    }

    fn stop_after_panic(&mut self, panicked: &Panicked) -> Duration {
        let now = self.clock.now();
        let pause = self.again.pause(now);
        tracing::error!(
            task = "control",
            open = self.open.len(),
            "the control loop has panicked at {panicked} and is started again in {pause:?}; traffic goes on"
        );
        // What was taken in and not yet worked on.
        for input in std::mem::take(&mut self.inputs) {
            if let Input::Signal(signal) = input {
                self.again.hear(signal.server, &signal.observation);
            }
        }
        self.answers.clear();
        // Whoever waits for what comes of an order hears that it is not followed any more.
        self.asked = Asked::default();
        self.outputs.clear();
        self.outcomes.clear();
        pause
    }

    fn renew(&mut self, now: Instant) {
        // Meanwhile the orders that were under way may have started what a new keeper would miss, and start again.
        while let Ok(signal) = self.signals.try_recv() {
            self.again.hear(signal.server, &signal.observation);
        }
        self.keeper = self.again.keeper(self.clock.epoch(), now);
        for incident in std::mem::take(&mut self.open).into_values() {
            let mut incident = Incident::clone(&incident);
            incident.close_unseen(self.clock.epoch(), now, UNSEEN);
            self.record(now, Arc::new(incident));
        }
        for server in self.again.servers() {
            self.hands.pace(server, Pace::Normal);
        }
        self.inputs.extend(self.again.known(now));
        self.changed = true;
    }
}
