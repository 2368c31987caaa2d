//! Slow starts: whether a start gets more time before it is repeated.

use std::time::Duration;

use crate::outlook::WaitReason;

use super::ServerContext;
use super::phase::Retry;
use super::shown::PublishedState;

/// A process that passed its first probe so short a time ago is verified again.
const JUST_READY: Duration = Duration::from_secs(1);

impl ServerContext<'_> {
    /// How much longer a start that is alive may take: each that was too late has given the next one more.
    pub(super) fn start_wait(&self) -> Option<Duration> {
        let process = &self.server.facts.process;
        let started = process.started.filter(|_| process.ready.is_none())?;
        let within = self.spec.options.recover.verify.within;
        let allowance = self.server.starts.allowance(within);
        let rest = allowance.saturating_sub(self.now - started);
        let waits = process.down.is_none() && !rest.is_zero();
        waits.then_some(rest)
    }

    /// Whether a process that evenkeel has started lives and was not ready, or too late for its probes to be enough.
    pub(super) fn starts_late(&self) -> bool {
        let process = &self.server.facts.process;
        let lives = process.pid.is_some() && process.down.is_none();
        let is_tried = self.server.shown == PublishedState::Trial;
        let just_ready = |at| !is_tried && self.now - at < JUST_READY;
        lives && process.ready.is_none_or(just_ready) && !self.is_off()
    }

    /// The verification of a start is over, and the process still lives: perhaps it only needs longer.
    pub(super) fn starts_too_late(&mut self) {
        let within = self
            .verification()
            .map(|verification| verification.rules.options.within);
        if let Some(within) = within {
            self.server.starts.too_late(within);
        }
    }

    /// A start that is alive was not ready in time: it gets more, since another one would begin again.
    pub(super) fn start_continues(&mut self, step: usize, wait: Duration) {
        let now = self.now;
        self.watch(Some(Retry {
            at: now + wait,
            step,
            allowed: false,
            waits: WaitReason::SlowStart,
        }));
        if let Some(case) = self.case() {
            let text = format!(
                "its process is alive: it gets {:.0} s more before it is restarted (`recover.verify.within` sets how long a start may take)",
                wait.as_secs_f64()
            );
            case.note(now, "action", text);
        }
    }
}
