//! Outcomes of real attempts: how many failed in a row, in the window, and how.

use std::time::Duration;

use evenkeel_core::stat::{Tally, Window};
use evenkeel_core::{Instant, Outcome, Recent};

/// How many failures are remembered one by one.
const REMEMBERED: usize = 64;

/// What an attempt says about the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Nothing: the client gave up, the pooled connection was old, or evenkeel itself lacked something.
    Nothing,
    /// It serves.
    Success,
    /// It, or the way to it, failed.
    Failure,
}

/// Outcomes of one server's attempts.
#[derive(Debug, Clone)]
pub struct Attempts {
    /// Failures in a row until now.
    pub failed_in_row: u32,
    /// When the first of them was.
    pub row_began: Instant,
    /// All successes ever.
    pub succeeded: u64,
    /// All failures ever.
    pub failed: u64,
    window: Window,
    length: Duration,
    failures: Recent<(Instant, Outcome)>,
}

impl Attempts {
    /// Counts over the last `window`.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self {
            failed_in_row: 0,
            row_began: Instant::ZERO,
            succeeded: 0,
            failed: 0,
            window: Window::new(window),
            length: window,
            failures: Recent::new(REMEMBERED),
        }
    }

    /// Takes in one outcome.
    pub fn take(&mut self, at: Instant, outcome: Outcome) -> Said {
        if outcome.is_failure() {
            if self.failed_in_row == 0 {
                self.row_began = at;
            }
            self.failed_in_row = self.failed_in_row.saturating_add(1);
            self.failed += 1;
            self.window.add(at, true);
            self.failures.push((at, outcome));
            return Said::Failure;
        }
        if !outcome.is_success() {
            return Said::Nothing;
        }
        self.failed_in_row = 0;
        self.succeeded += 1;
        self.window.add(at, false);
        Said::Success
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

    /// The mean time between the failures of the row that goes on; none before there are two of them.
    #[must_use]
    pub fn row_gap(&self) -> Option<Duration> {
        let (last, _) = self.failures.iter().next_back()?;
        let gaps = self.failed_in_row.checked_sub(1).filter(|gaps| *gaps > 0)?;
        Some(last.since(self.row_began) / gaps)
    }

    /// How the failures of the row ended, latest first, at most [`REMEMBERED`] of them. None once the row is over: no attempt has
    /// ended for longer than `recent` and than three times the gap between its failures. So a server that requests still reach,
    /// however few, keeps its row, and one that they no longer reach does not.
    pub fn row(&self, now: Instant, recent: Duration) -> impl Iterator<Item = Outcome> {
        let last = self.failures.iter().next_back().map(|(at, _)| *at);
        let gap = self.row_gap().unwrap_or_default();
        let lasts = recent.max(gap.saturating_mul(3));
        let goes_on = last.is_some_and(|last| now.since(last) <= lasts);
        let length = if goes_on { self.failed_in_row } else { 0 };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.latest_failures().take(length)
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
