//! What an attempt holds of the mechanisms: permits of the throttle, of its server's breaker and gate, and of the limit. All of them
//! are released when they are dropped, so that a call may be dropped at any point.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::{Instant, Random};

use super::breakers::ServerBreakers;
use super::limit_queue::LimitPermit;
use crate::breaker::{Admitted, Breaker, Transition};
use crate::policy::gates::breaker_outcome;
use crate::policy::hooks::GatePermit;
use crate::policy::{Gate, Stopped};
use crate::{LimitOutcome, Throttle, Verdict};

/// All that an attempt holds. It is moved often, so it is small.
#[derive(Debug)]
#[must_use = "dropped at once it is released"]
pub(crate) struct AttemptPermits<'p> {
    pub(crate) throttle: Option<ThrottlePermit>,
    pub(crate) server: ServerPermits<'p>,
    pub(crate) limit: Option<LimitPermit<'p>>,
}

impl AttemptPermits<'_> {
    /// The attempt has ended; the transition of its breaker, if that made one.
    pub(crate) fn finish(
        self,
        now: Instant,
        verdict: Verdict,
        took: Duration,
    ) -> Option<Transition> {
        if let Some(limit) = self.limit {
            limit.finish(now, limit_outcome(verdict));
        }
        if let Some(throttle) = self.throttle {
            throttle.finish(now, verdict);
        }
        self.server.finish(now, verdict, took)
    }
}

/// The throttle has allowed the attempt. Dropped, it counts as nothing: the throttle counts attempts that have ended.
#[derive(Debug)]
pub(crate) struct ThrottlePermit(Arc<Throttle>);

impl ThrottlePermit {
    pub(crate) fn acquire(
        throttle: &Arc<Throttle>,
        now: Instant,
        random: &mut Random,
    ) -> Result<Self, Stopped> {
        if !throttle.allow(now, random) {
            return Err(Stopped::Throttled);
        }
        Ok(Self(Arc::clone(throttle)))
    }

    fn finish(self, now: Instant, verdict: Verdict) {
        self.0.note(now, is_accepted(verdict));
    }
}

/// What admits an attempt to its server: the program's gate, and the policy's breaker.
#[derive(Debug)]
pub(crate) struct ServerPermits<'p> {
    gate: GatePermit<'p>,
    breaker: OwnedBreakerPermit,
}

/// A permit of the policy's breaker, if it has one: [`crate::BreakerPermit`] without the time.
#[derive(Debug)]
struct OwnedBreakerPermit {
    breaker: Option<Arc<Breaker>>,
    ticket: u64,
}

impl OwnedBreakerPermit {
    fn finish(mut self, now: Instant, verdict: Verdict, took: Duration) -> Option<Transition> {
        let admitted = Admitted::from_bits(self.ticket);
        let breaker = self.breaker.take()?;
        breaker.ended(admitted, now, breaker_outcome(verdict), took)
    }
}

impl Drop for OwnedBreakerPermit {
    fn drop(&mut self) {
        if let Some(breaker) = self.breaker.take() {
            breaker.abandoned(Admitted::from_bits(self.ticket));
        }
    }
}

impl<'p> ServerPermits<'p> {
    pub(crate) fn acquire(
        gate: Option<&'p dyn Gate>,
        breakers: Option<&ServerBreakers>,
        server: Option<u32>,
        now: Instant,
    ) -> Result<Self, Stopped> {
        let gate = GatePermit::acquire(gate, server, now).map_err(|_until| Stopped::Open)?;
        let mut permits = Self {
            gate,
            ..Self::none()
        };
        if let Some(breakers) = breakers {
            let breaker = breakers.of(server, now);
            let admitted = breaker.admit(now).map_err(|_refused| Stopped::Open)?;
            permits.breaker.ticket = admitted.to_bits();
            permits.breaker.breaker = Some(breaker);
        }
        Ok(permits)
    }

    /// None: an attempt that waits holds no trial of a half-open breaker.
    pub(crate) const fn none() -> Self {
        Self {
            gate: GatePermit::none(),
            breaker: OwnedBreakerPermit {
                breaker: None,
                ticket: 0,
            },
        }
    }

    fn finish(self, now: Instant, verdict: Verdict, took: Duration) -> Option<Transition> {
        self.gate.finish(now, verdict, took);
        self.breaker.finish(now, verdict, took)
    }
}

/// What the limit learns from a verdict. A quick error says nothing about how busy the server is.
const fn limit_outcome(verdict: Verdict) -> LimitOutcome {
    match verdict {
        Verdict::Good => LimitOutcome::Good,
        Verdict::Throttled { .. } | Verdict::Timeout => LimitOutcome::Dropped,
        Verdict::Transient { .. }
        | Verdict::Fatal
        | Verdict::Unsent
        | Verdict::Lost
        | Verdict::Injected => LimitOutcome::Ignored,
    }
}

/// Whether the throttle counts the attempt as accepted. A fatal error was an answer of the server.
const fn is_accepted(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Good | Verdict::Fatal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::BreakerOutcome;

    /// The same table for the outcomes of HTTP is a test of `request`; where they differ is in docs/internals/policy-engine.md.
    #[test]
    fn what_each_verdict_means_to_breaker_limit_and_throttle() {
        use BreakerOutcome::{Bad, Good, Ignored};
        for (verdict, breaker, limit, accepted) in [
            (Verdict::Good, Good, LimitOutcome::Good, true),
            (Verdict::Fatal, Good, LimitOutcome::Ignored, true),
            (Verdict::THROTTLED, Ignored, LimitOutcome::Dropped, false),
            (Verdict::TRANSIENT, Bad, LimitOutcome::Ignored, false),
            (Verdict::Timeout, Bad, LimitOutcome::Dropped, false),
            (Verdict::Unsent, Bad, LimitOutcome::Ignored, false),
            (Verdict::Lost, Bad, LimitOutcome::Ignored, false),
            (Verdict::Injected, Bad, LimitOutcome::Ignored, false),
        ] {
            let found = (
                breaker_outcome(verdict),
                limit_outcome(verdict),
                is_accepted(verdict),
            );
            assert_eq!(found, (breaker, limit, accepted), "{verdict:?}");
        }
    }
}
