//! The attempt history of a server: consecutive failures, failures in the window, and their kinds.

use std::time::Duration;

use evenkeel_core::stat::{SlidingWindow, Tally};
use evenkeel_core::{Instant, Outcome, Recent};

/// How many failures are remembered one by one.
const REMEMBERED: usize = 64;

/// What an attempt says about its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptVerdict {
    /// Nothing: the client gave up, the pooled connection was old, or evenkeel itself lacked something.
    Nothing,
    /// It serves.
    Success,
    /// It, or the way to it, failed.
    Failure,
}

/// Outcomes of one server's attempts.
#[derive(Debug, Clone)]
pub struct AttemptHistory {
    /// Failures in a row until now.
    pub failed_in_row: u32,
    /// When the first of them was.
    pub row_began: Instant,
    /// All successes ever.
    pub succeeded: u64,
    /// All failures ever.
    pub failed: u64,
    window: SlidingWindow,
    length: Duration,
    failures: Recent<(Instant, Outcome)>,
}

impl AttemptHistory {
    /// Counts over the last `window`.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self {
            failed_in_row: 0,
            row_began: Instant::ZERO,
            succeeded: 0,
            failed: 0,
            window: SlidingWindow::new(window),
            length: window,
            failures: Recent::new(REMEMBERED),
        }
    }

    /// Takes in one outcome.
    pub fn take(&mut self, at: Instant, outcome: Outcome) -> AttemptVerdict {
        if outcome.is_failure() {
            if self.failed_in_row == 0 {
                self.row_began = at;
            }
            self.failed_in_row = self.failed_in_row.saturating_add(1);
            self.failed += 1;
            self.window.add(at, true);
            self.failures.push((at, outcome));
            return AttemptVerdict::Failure;
        }
        if !outcome.is_success() {
            return AttemptVerdict::Nothing;
        }
        self.failed_in_row = 0;
        self.succeeded += 1;
        self.window.add(at, false);
        AttemptVerdict::Success
    }

    /// Attempts in the window, and failures among them.
    #[must_use]
    pub fn tally(&self, now: Instant) -> Tally {
        self.window.clone().tally(now)
    }

    /// The remembered failures within the window, oldest first.
    #[must_use]
    pub fn failures(&self, now: Instant) -> impl DoubleEndedIterator<Item = (Instant, Outcome)> {
        let from = now.before(self.length);
        self.failures
            .iter()
            .copied()
            .filter(move |(at, _)| *at >= from)
    }

    /// How the last failure that is remembered ended.
    #[must_use]
    pub fn last_failure(&self) -> Option<Outcome> {
        let (_, outcome) = self.failures.iter().next_back()?;
        Some(*outcome)
    }

    /// The remembered failures, latest first, however long ago.
    pub fn latest_failures(&self) -> impl Iterator<Item = Outcome> {
        self.failures.iter().rev().map(|(_, outcome)| *outcome)
    }

    /// The first of the failures that lie close together before `moment`: none of them more than `gap` before the next.
    #[must_use]
    pub fn failing_since(&self, moment: Instant, gap: Duration) -> Option<Instant> {
        let mut since = None;
        for (at, _) in self.failures.iter().rev() {
            let next = since.unwrap_or(moment);
            if *at <= moment && next.since(*at) > gap {
                break;
            }
            since = Some((*at).min(next));
        }
        since
    }

    /// Forgets the window and the row.
    pub fn forget(&mut self) {
        self.failed_in_row = 0;
        self.window.clear();
        self.failures.clear();
    }
}
