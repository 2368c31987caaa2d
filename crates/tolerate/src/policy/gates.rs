//! Circuit breakers as gates of a program's own: one for all attempts, or one for each server.

use std::time::Duration;

use evenkeel_core::Instant;

use super::{Gate, GatePass};
use crate::Verdict;
use crate::breaker::{Admitted, Breaker, BreakerOptions, BreakerOutcome};

/// A breaker for each server, by the number that a picker gives it. Attempts for which no server was picked share the first one.
#[derive(Debug)]
pub struct Breakers(Vec<Breaker>);

impl Breakers {
    /// For this many servers, at least one, all closed. `seed` is for the jitter of their open times.
    #[must_use]
    pub fn new(options: BreakerOptions, servers: usize, seed: u64) -> Self {
        let seeds = (0..servers.max(1)).map(|server| seed.wrapping_add(server as u64));
        Self(seeds.map(|seed| Breaker::new(options, seed)).collect())
    }

    /// The breaker of a server; that of the first one where there is no such server.
    #[must_use]
    pub fn of(&self, server: Option<u32>) -> &Breaker {
        let index = server.unwrap_or(0) as usize;
        // There is at least one.
        self.0.get(index).unwrap_or(&self.0[0])
    }
}

impl Gate for Breakers {
    fn try_pass(&self, server: Option<u32>, now: Instant) -> Result<u64, Instant> {
        Gate::try_pass(self.of(server), server, now)
    }

    fn ended(&self, passed: GatePass, now: Instant, verdict: Verdict, took: Duration) {
        Gate::ended(self.of(passed.server), passed, now, verdict, took);
    }

    fn abandoned(&self, passed: GatePass) {
        Gate::abandoned(self.of(passed.server), passed);
    }
}

impl Gate for Breaker {
    fn try_pass(&self, _: Option<u32>, now: Instant) -> Result<u64, Instant> {
        match self.admit(now) {
            Ok(admitted) => Ok(admitted.to_bits()),
            Err(refused) => Err(refused.until.unwrap_or(Instant::NEVER)),
        }
    }

    fn ended(&self, passed: GatePass, now: Instant, verdict: Verdict, took: Duration) {
        let admitted = Admitted::from_bits(passed.ticket);
        self.ended(admitted, now, breaker_outcome(verdict), took);
    }

    fn abandoned(&self, passed: GatePass) {
        self.abandoned(Admitted::from_bits(passed.ticket));
    }
}

/// What a breaker counts. A fatal error was an answer of the server; throttling is neither a failure nor a sign of health.
pub(crate) const fn breaker_outcome(verdict: Verdict) -> BreakerOutcome {
    match verdict {
        Verdict::Good | Verdict::Fatal => BreakerOutcome::Good,
        Verdict::Throttled { .. } => BreakerOutcome::Ignored,
        Verdict::Transient { .. }
        | Verdict::Timeout
        | Verdict::Unsent
        | Verdict::Lost
        | Verdict::Injected => BreakerOutcome::Bad,
    }
}
