//! Probe results: the series of failures or passes that includes the latest one.

use std::time::Duration;

use evenkeel_core::{Instant, ProbeOutcome};

use super::AttemptHistory;

/// Results of one server's probes.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProbeHistory {
    /// Failures in a row until now.
    pub failed_in_row: u32,
    /// When the first of them was.
    pub row_began: Instant,
    /// From when on it shows the fault: a probe that was not answered does so from its beginning on.
    pub row_since: Instant,
    /// When one passed last; zero if none did.
    pub last_passed: Instant,
    /// Passes in a row until now.
    pub passed_in_row: u32,
    /// How the last one ended.
    pub last: Option<ProbeOutcome>,
    /// Attempts that had succeeded when the row of failures began.
    pub succeeded_before: u64,
    /// Attempts that had failed when the row of failures began.
    pub failed_before: u64,
}

impl ProbeHistory {
    /// Takes in one result.
    pub fn take(
        &mut self,
        at: Instant,
        outcome: ProbeOutcome,
        latency: Duration,
        attempts: &AttemptHistory,
    ) {
        self.last = Some(outcome);
        if outcome.passed() {
            self.last_passed = at;
            self.failed_in_row = 0;
            self.passed_in_row = self.passed_in_row.saturating_add(1);
            return;
        }
        if self.failed_in_row == 0 {
            self.row_began = at;
            self.row_since = if self.no_server_responds() {
                at.before(latency).max(attempts.last_success()).min(at)
            } else {
                at
            };
            self.succeeded_before = attempts.succeeded;
            self.failed_before = attempts.failed;
        }
        self.passed_in_row = 0;
        self.failed_in_row = self.failed_in_row.saturating_add(1);
    }

    /// Whether the last one failed because nothing listens or answers, and not because of the answer.
    #[must_use]
    pub const fn no_server_responds(&self) -> bool {
        match self.last {
            Some(
                ProbeOutcome::Refused
                | ProbeOutcome::ConnectTimeout
                | ProbeOutcome::Unreachable
                | ProbeOutcome::NoAnswer,
            ) => true,
            None
            | Some(
                ProbeOutcome::Passed
                | ProbeOutcome::WrongStatus(_)
                | ProbeOutcome::Reset
                | ProbeOutcome::PortTaken
                | ProbeOutcome::Invalid
                | ProbeOutcome::LocalError,
            ) => false,
        }
    }

    /// Whether the last one failed before a connection to the server was made.
    #[must_use]
    pub const fn cannot_connect(&self) -> bool {
        matches!(
            self.last,
            Some(
                ProbeOutcome::Refused
                    | ProbeOutcome::ConnectTimeout
                    | ProbeOutcome::Unreachable
                    | ProbeOutcome::PortTaken
            )
        )
    }

    /// Forgets all.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}
