//! The measurements of a load so far, shared between the sending thread and its observers.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_core::stat::Histogram;
use evenkeel_core::{Instant, Recent};

const SLOT: Duration = Duration::from_millis(100);
const SLOTS: usize = 10;
const FAILURES_KEPT: usize = 100;

/// A load's numbers at one moment.
#[derive(Debug, Clone, Default)]
pub struct LoadStats {
    /// Requests whose time had come.
    pub sent: u64,
    /// Answered with 2xx in time, body and all.
    pub ok: u64,
    /// Ended in any other way.
    pub failed: u64,
    /// Not ended yet.
    pub in_flight: u64,
    /// Answers per status, also those that failed.
    pub by_status: BTreeMap<u16, u64>,
    /// Requests without an answer, per reason: `connect`, `reset`, `timeout`, `truncated`, `bad-response`, `crowded`.
    pub by_error: BTreeMap<&'static str, u64>,
    /// Time of all ended requests, from the moment when each was due.
    pub total: Histogram,
    /// The same for the last second.
    pub last_second: Histogram,
    /// Failures in the last second.
    pub failed_last_second: u64,
    /// The latest failures, oldest first.
    pub failures: Vec<LoadFailure>,
}

/// One request that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadFailure {
    /// When it ended, on the load's clock.
    pub at: Instant,
    /// The method and path, and the request's id if it carried one.
    pub request: String,
    /// The status or the reason.
    pub why: String,
    /// From the moment when it was due.
    pub took: Duration,
}

/// How one request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoadEnding {
    Answered(u16),
    Failed(&'static str),
}

impl LoadEnding {
    fn is_success(self) -> bool {
        match self {
            Self::Answered(status) => (200..300).contains(&status),
            Self::Failed(_) => false,
        }
    }
}

#[derive(Debug)]
pub(super) struct LoadNumbers {
    sent: u64,
    ok: u64,
    failed: u64,
    by_status: BTreeMap<u16, u64>,
    by_error: BTreeMap<&'static str, u64>,
    total: Histogram,
    slots: Vec<LatencySlot>,
    failures: Recent<LoadFailure>,
    pub(super) outcomes: Vec<Option<bool>>,
}

#[derive(Debug, Default)]
struct LatencySlot {
    number: u64,
    times: Histogram,
    failed: u64,
}

impl Default for LoadNumbers {
    fn default() -> Self {
        Self {
            sent: 0,
            ok: 0,
            failed: 0,
            by_status: BTreeMap::new(),
            by_error: BTreeMap::new(),
            total: Histogram::default(),
            slots: (0..SLOTS).map(|_| LatencySlot::default()).collect(),
            failures: Recent::new(FAILURES_KEPT),
            outcomes: Vec::new(),
        }
    }
}

fn slot_number(at: Instant) -> u64 {
    // From 1, so that an unused slot (0) is no slot of the first moment.
    at.as_nanos() / u64::try_from(SLOT.as_nanos()).expect("0.1 s in nanoseconds") + 1
}

impl LoadNumbers {
    pub(super) fn due(&mut self) {
        self.sent += 1;
    }

    /// The request with this number has ended so.
    pub(super) fn note_outcome(&mut self, number: u64, ending: LoadEnding) {
        let slot = usize::try_from(number).expect("so many requests are not sent");
        if self.outcomes.len() <= slot {
            self.outcomes.resize(slot + 1, None);
        }
        self.outcomes[slot] = Some(ending.is_success());
    }

    pub(super) fn ended(
        &mut self,
        now: Instant,
        due: Instant,
        ending: LoadEnding,
        request: impl FnOnce() -> String,
    ) {
        let took = now - due;
        let number = slot_number(now);
        let slot = &mut self.slots[usize::try_from(number).unwrap_or(0) % SLOTS];
        if slot.number != number {
            slot.number = number;
            slot.times.clear();
            slot.failed = 0;
        }
        slot.times.add(took);
        self.total.add(took);
        match ending {
            LoadEnding::Answered(status) => *self.by_status.entry(status).or_default() += 1,
            LoadEnding::Failed(word) => *self.by_error.entry(word).or_default() += 1,
        }
        if ending.is_success() {
            self.ok += 1;
            return;
        }
        self.failed += 1;
        slot.failed += 1;
        let why = match ending {
            LoadEnding::Answered(status) => status.to_string(),
            LoadEnding::Failed(word) => word.to_owned(),
        };
        self.failures.push(LoadFailure {
            at: now,
            request: request(),
            why,
            took,
        });
    }

    pub(super) fn snapshot(&self, now: Instant) -> LoadStats {
        let mut last_second = Histogram::default();
        let mut failed_last_second = 0;
        let newest = slot_number(now);
        for slot in self
            .slots
            .iter()
            .filter(|slot| slot.number > 0 && slot.number + SLOTS as u64 > newest)
        {
            last_second.merge(&slot.times);
            failed_last_second += slot.failed;
        }
        LoadStats {
            sent: self.sent,
            ok: self.ok,
            failed: self.failed,
            in_flight: self.sent - self.ok - self.failed,
            by_status: self.by_status.clone(),
            by_error: self.by_error.clone(),
            total: self.total.clone(),
            last_second,
            failed_last_second,
            failures: self.failures.iter().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_of_each_request_is_kept_in_the_order_in_which_they_were_due() {
        let mut numbers = LoadNumbers::default();
        numbers.note_outcome(2, LoadEnding::Answered(204));
        numbers.note_outcome(0, LoadEnding::Answered(500));
        assert_eq!(numbers.outcomes, [Some(false), None, Some(true)]);
        numbers.note_outcome(1, LoadEnding::Failed("reset"));
        assert_eq!(numbers.outcomes, [Some(false), Some(false), Some(true)]);
    }

    #[test]
    fn the_last_second_forgets_and_the_total_does_not() {
        let mut numbers = LoadNumbers::default();
        let end = |numbers: &mut LoadNumbers, ms, ending| {
            numbers.due();
            let now = Instant::from_millis(ms);
            numbers.ended(now, now.before(Duration::from_millis(3)), ending, || {
                "GET /".to_owned()
            });
        };
        end(&mut numbers, 50, LoadEnding::Answered(200));
        end(&mut numbers, 950, LoadEnding::Failed("reset"));
        let stats = numbers.snapshot(Instant::from_millis(990));
        assert_eq!(
            (stats.last_second.count(), stats.failed_last_second),
            (2, 1)
        );
        let stats = numbers.snapshot(Instant::from_millis(1_500));
        assert_eq!(
            (stats.last_second.count(), stats.failed_last_second),
            (1, 1)
        );
        end(&mut numbers, 1_960, LoadEnding::Answered(503));
        let stats = numbers.snapshot(Instant::from_millis(2_000));
        assert_eq!(
            (stats.last_second.count(), stats.failed_last_second),
            (1, 1)
        );
        assert_eq!(
            (stats.sent, stats.ok, stats.failed, stats.in_flight),
            (3, 1, 2, 0)
        );
        assert_eq!(stats.total.count(), 3);
        assert_eq!(
            stats
                .failures
                .iter()
                .map(|failure| failure.why.as_str())
                .collect::<Vec<_>>(),
            ["reset", "503"]
        );
    }
}
