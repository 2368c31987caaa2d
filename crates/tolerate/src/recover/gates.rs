//! Breakers as what may refuse an attempt: one for whatever is called, or one for each server.

use std::time::Duration;

use evenkeel_core::Instant;

use super::{Gate, Passed};
use crate::Verdict;
use crate::breaker::{Admitted, Breaker, BreakerOptions, End};

/// A breaker for each server, by the number that a picker gives it. Attempts for which no server was picked share the first one.
#[derive(Debug)]
pub struct Breakers(Vec<Breaker>);

impl Breakers {
    /// For so many servers, at least one, all closed. `seed` is for the jitter of their open times.
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

    fn ended(&self, passed: Passed, now: Instant, verdict: Verdict, took: Duration) {
        Gate::ended(self.of(passed.server), passed, now, verdict, took);
    }

    fn abandoned(&self, passed: Passed) {
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

    fn ended(&self, passed: Passed, now: Instant, verdict: Verdict, took: Duration) {
        let admitted = Admitted::from_bits(passed.ticket);
        self.ended(admitted, now, end_of(verdict), took);
    }

    fn abandoned(&self, passed: Passed) {
        self.gave_up(Admitted::from_bits(passed.ticket));
    }
}

/// What a breaker counts. A final error was an answer; that a server asks for less is neither a failure nor a sign that it is well.
pub(super) const fn end_of(verdict: Verdict) -> End {
    match verdict {
        Verdict::Good | Verdict::Fatal => End::Good,
        Verdict::Throttled { .. } => End::Ignored,
        Verdict::Transient { .. }
        | Verdict::Timeout
        | Verdict::Unsent
        | Verdict::Lost
        | Verdict::Injected => End::Bad,
    }
}
