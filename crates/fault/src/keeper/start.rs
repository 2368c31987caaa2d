//! The expected start time of a server, learnt from its earlier starts.

use std::collections::VecDeque;
use std::time::Duration;

use evenkeel_core::Instant;

/// So many starts are remembered.
const REMEMBERED: usize = 5;
/// The factor on the longest of them: a start takes longer on a busy machine.
const TIMES: u32 = 2;
/// And never more than this, unless the configured time is longer.
const CAP: Duration = Duration::from_secs(300);

/// The starts of one server.
#[derive(Debug, Default)]
pub(super) struct StartTimes {
    began: Option<Instant>,
    taken: VecDeque<Duration>,
    joins: bool,
}

impl StartTimes {
    /// Its process was started, by evenkeel or by a command.
    pub(super) fn began(&mut self, at: Instant) {
        self.began = Some(at);
    }

    /// It has come by a reload, beside others that serve.
    pub(super) const fn joined(&mut self) {
        self.joins = true;
    }

    /// It is ready: whether it has come by a reload and has not served before, so that it begins slowly.
    pub(super) const fn take_joined(&mut self) -> bool {
        std::mem::replace(&mut self.joins, false)
    }

    /// It passed a probe: the first one after its start tells how long that took.
    pub(super) fn passed(&mut self, at: Instant) {
        if let Some(began) = self.began.take() {
            self.remember(at.since(began));
        }
    }

    /// It did not start within `allowance` and had not ended either: the next start gets more.
    pub(super) fn too_late(&mut self, allowance: Duration) {
        if self.began.take().is_some() {
            self.remember(allowance);
        }
    }

    /// How long the next start may take, at least `configured`.
    pub(super) fn allowance(&self, configured: Duration) -> Duration {
        let longest = self.taken.iter().max().copied().unwrap_or_default();
        longest.saturating_mul(TIMES).min(CAP).max(configured)
    }

    fn remember(&mut self, taken: Duration) {
        if self.taken.len() == REMEMBERED {
            self.taken.pop_front();
        }
        self.taken.push_back(taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    #[test]
    fn twice_the_longest_of_the_last_starts_and_no_less_than_configured() {
        let mut starts = StartTimes::default();
        assert_eq!(starts.allowance(10 * SECOND), 10 * SECOND);
        starts.began(at(0));
        starts.passed(at(8));
        starts.passed(at(100));
        assert_eq!(starts.allowance(10 * SECOND), 16 * SECOND);
        for start in 0..5 {
            starts.began(at(200 + start));
            starts.passed(at(201 + start));
        }
        assert_eq!(starts.allowance(10 * SECOND), 10 * SECOND);
    }

    #[test]
    fn a_start_that_takes_longer_than_allowed_gets_more_the_next_time_up_to_the_cap() {
        let mut starts = StartTimes::default();
        for expected in [20, 40, 80, 160, 300, 300] {
            starts.began(at(0));
            let allowance = starts.allowance(10 * SECOND);
            starts.too_late(allowance);
            assert_eq!(starts.allowance(10 * SECOND), expected * SECOND);
        }
        assert_eq!(starts.allowance(400 * SECOND), 400 * SECOND);
    }
}
