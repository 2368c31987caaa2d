//! The history of one server: what its signals leave behind for detectors and diagnoses.
//!
//! Recording is separate from judging, so that a signal is recorded once, cheaply, and every judge sees the same
//! numbers.

mod attempts;
mod probes;
mod process;
mod routes;
mod latencies;

pub use attempts::{AttemptHistory, AttemptVerdict, ObservedAttempt};
pub use latencies::{Latencies, SlowRow, TypicalLatency};
pub use probes::ProbeHistory;
pub use process::{DownReason, ProcessEnd, ProcessHistory};
pub use routes::{FailedServers, RouteTally, Routes, covers};

use std::time::Duration;

use evenkeel_core::{Instant, Outcome, ProbeOutcome};

use crate::policy::{DetectOptions, ProbeKind};

/// All that is remembered of one server.
#[derive(Debug, Clone)]
pub struct ServerHistory {
    /// Outcomes of attempts.
    pub attempts: AttemptHistory,
    /// Results of probes.
    pub probes: ProbeHistory,
    /// The supervised process.
    pub process: ProcessHistory,
    /// How fast it answers; only if slowness is looked for.
    pub latencies: Option<Latencies>,
    /// Probes only connect, which the kernel does for a process that does not run.
    probes_connect: bool,
    since: Instant,
}

impl ServerHistory {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(options: &DetectOptions, peers: usize) -> Self {
        let window = options
            .failure_ratio
            .map_or(Duration::from_secs(10), |ratio| ratio.window);
        Self {
            attempts: AttemptHistory::new(window),
            probes: ProbeHistory::default(),
            process: ProcessHistory::default(),
            latencies: options
                .slow
                .filter(|_| peers > 0)
                .map(|slow| Latencies::new(slow.window)),
            probes_connect: options.probe.kind == ProbeKind::Tcp,
            since: Instant::ZERO,
        }
    }

    /// The options or the number of peers are others now. What still means the same is kept.
    pub fn reconfigure(&mut self, options: &DetectOptions, peers: usize) {
        if let Some(ratio) = options.failure_ratio {
            self.attempts.set_window(ratio.window);
        }
        self.probes_connect = options.probe.kind == ProbeKind::Tcp;
        let slow = options.slow.filter(|_| peers > 0);
        self.latencies = match (self.latencies.take(), slow) {
            (_, None) => None,
            (Some(known), Some(slow)) if known.window() == slow.window => Some(known),
            (_, Some(slow)) => Some(Latencies::new(slow.window)),
        };
    }

    /// Takes in the end of an attempt. Does not allocate for a success.
    pub fn attempt(&mut self, ended: ObservedAttempt) -> AttemptVerdict {
        let ObservedAttempt {
            at,
            outcome,
            latency,
            shape: _,
        } = ended;
        if self.is_old(at, latency) {
            return AttemptVerdict::Nothing;
        }
        if let Some(latencies) = &mut self.latencies {
            match outcome {
                // An error is often quicker than an answer, and says nothing about how fast those are.
                Outcome::Answered(_) if outcome.is_success() => latencies.attempt(at, latency),
                Outcome::Superseded => latencies.superseded(at, latency),
                Outcome::Answered(_)
                | Outcome::ConnectRefused
                | Outcome::ConnectTimeout
                | Outcome::Unreachable
                | Outcome::Stale
                | Outcome::StreamRefused
                | Outcome::Reset { .. }
                | Outcome::AttemptTimeout
                | Outcome::BadResponse
                | Outcome::Truncated
                | Outcome::IdleTimeout
                // How long a client waited before it went away is no latency of the server's.
                | Outcome::Cancelled
                | Outcome::LocalError
                | Outcome::Rescued => {}
            }
        }
        let said = self.attempts.take(ended);
        if said == AttemptVerdict::Success {
            self.process.is_ready(at, true);
        }
        said
    }

    /// Takes in the end of a probe. Whether it says something about the server.
    pub fn probe(&mut self, at: Instant, outcome: ProbeOutcome, latency: Duration) -> bool {
        if outcome == ProbeOutcome::LocalError || self.is_old(at, latency) {
            return false;
        }
        self.probes.take(at, outcome, latency, &self.attempts);
        if outcome.passed() {
            self.process.is_ready(at, !self.probes_connect);
            if let Some(latencies) = &mut self.latencies {
                latencies.probe(at, latency);
            }
        }
        true
    }

    /// Forgets what a new process, or the end of an incident, makes untrue, and what began before it and ends later.
    /// Exits stay: they tell a crash loop.
    pub fn forget(&mut self, at: Instant) {
        self.since = at;
        self.attempts.forget();
        self.probes.forget();
        if let Some(latencies) = &mut self.latencies {
            latencies.forget();
        }
    }

    /// Whether what ended at `at` began before the last forgetting: it says how the server was, not how it is.
    fn is_old(&self, at: Instant, latency: Duration) -> bool {
        at.before(latency) < self.since
    }

    /// Probes are answered, and fail, yet real requests succeed, since then and now: then the probe is wrong, not the server. Where
    /// probes cannot connect, requests on connections that are kept prove nothing.
    #[must_use]
    pub fn probe_red_traffic_green(&self, now: Instant) -> bool {
        const ENOUGH: u64 = 10;
        const IN_ROW: u32 = 3;
        let (succeeded, failed) = self.since_probes_fail();
        let tally = self.attempts.tally(now);
        self.probes.failed_in_row > 0
            && !self.probes.cannot_connect()
            && succeeded >= ENOUGH
            && failed * 20 <= succeeded
            && self.attempts.failed_in_row < IN_ROW
            && tally.hits * 20 <= tally.total
    }

    /// Attempts that succeeded and that failed since probes fail.
    #[must_use]
    pub fn since_probes_fail(&self) -> (u64, u64) {
        (
            self.attempts
                .succeeded
                .saturating_sub(self.probes.succeeded_before),
            self.attempts
                .failed
                .saturating_sub(self.probes.failed_before),
        )
    }
}
