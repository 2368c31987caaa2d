//! Limits on a process's output: lines and bytes per second, each with a burst.
//!
//! A process that prints without end would otherwise fill the disk with evenkeel's log, and delay everything else that
//! is logged. Dropped output is counted; the last lines are kept, since they often explain why a process ended.

use std::time::Duration;

use evenkeel_core::{Instant, Recent};

/// Lines that are passed on per second, in the long run. journald's default is a third of it.
const LINES_PER_SECOND: f64 = 1000.0;
/// Lines that are passed on at once after a quiet time.
const LINES_BURST: f64 = 5000.0;
/// Bytes per second in the long run: at most 11 GB a day.
const BYTES_PER_SECOND: f64 = 128.0 * 1024.0;
/// Bytes at once after a quiet time.
const BYTES_BURST: f64 = 1024.0 * 1024.0;
/// Between two reports of what was dropped.
pub(crate) const REPORT_EVERY: Duration = Duration::from_secs(5);
/// So many of the lines that were dropped last are kept.
const LAST_LINES: usize = 10;

/// Output dropped since the last report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct DroppedOutput {
    /// Lines, or pieces of very long ones.
    pub(crate) lines: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// The limit of one process.
#[derive(Debug)]
pub(crate) struct OutputLimit {
    lines: f64,
    bytes: f64,
    refilled: Instant,
    dropped: DroppedOutput,
    report_at: Option<Instant>,
    last: Recent<Vec<u8>>,
}

impl OutputLimit {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            lines: LINES_BURST,
            bytes: BYTES_BURST,
            refilled: now,
            dropped: DroppedOutput::default(),
            report_at: None,
            last: Recent::new(LAST_LINES),
        }
    }

    /// Whether this line may be passed on.
    pub(crate) fn allows(&mut self, now: Instant, line: &[u8]) -> bool {
        let passed = now.since(self.refilled).as_secs_f64();
        self.refilled = now;
        self.lines = passed
            .mul_add(LINES_PER_SECOND, self.lines)
            .min(LINES_BURST);
        self.bytes = passed
            .mul_add(BYTES_PER_SECOND, self.bytes)
            .min(BYTES_BURST);
        let length = line.len() as f64;
        if self.lines < 1.0 || self.bytes < length {
            return false;
        }
        self.lines -= 1.0;
        self.bytes -= length;
        true
    }

    /// This line was not passed on.
    pub(crate) fn drop_line(&mut self, now: Instant, line: &[u8]) {
        self.dropped.lines += 1;
        self.dropped.bytes += line.len() as u64;
        self.report_at.get_or_insert(now + REPORT_EVERY);
        self.last.push(line.to_vec());
    }

    /// When something is to be reported.
    pub(crate) const fn report_at(&self) -> Option<Instant> {
        self.report_at
    }

    /// Output dropped since the last report, if any.
    pub(crate) fn report(&mut self) -> Option<DroppedOutput> {
        self.report_at = None;
        let dropped = std::mem::take(&mut self.dropped);
        (dropped.lines > 0).then_some(dropped)
    }

    /// The last lines of those that were dropped, if the process printed nothing after them that was passed on.
    pub(crate) fn last_lines(&self) -> impl Iterator<Item = &[u8]> {
        self.last.iter().map(Vec::as_slice)
    }

    /// A line was passed on: lines dropped before it are no longer the last ones.
    pub(crate) fn passed_on(&mut self) {
        self.last.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    /// Offers `lines` lines of `length` bytes each millisecond for a second; how many are passed on.
    fn offer(limit: &mut OutputLimit, from: u64, lines: usize, length: usize) -> u64 {
        let line = vec![b'x'; length];
        let mut passed = 0;
        for millis in from..from + 1000 {
            for _ in 0..lines {
                if limit.allows(at(millis), &line) {
                    passed += 1;
                    limit.passed_on();
                } else {
                    limit.drop_line(at(millis), &line);
                }
            }
        }
        passed
    }

    #[test]
    fn many_short_lines_are_bound_by_their_number() {
        let mut limit = OutputLimit::new(at(0));
        let first = offer(&mut limit, 0, 100, 10);
        assert!((5_900..=6_000).contains(&first), "{first}");
        let second = offer(&mut limit, 1000, 100, 10);
        assert!((990..=1_001).contains(&second), "{second}");
        assert_eq!(
            limit.report(),
            Some(DroppedOutput {
                lines: 200_000 - first - second,
                bytes: (200_000 - first - second) * 10
            })
        );
        assert_eq!(limit.report(), None);
    }

    #[test]
    fn long_lines_are_bound_by_their_bytes() {
        let mut limit = OutputLimit::new(at(0));
        let passed = offer(&mut limit, 0, 2, 4096);
        assert!((280..=288).contains(&passed), "{passed}");
        assert_eq!(limit.last_lines().count(), LAST_LINES);
    }

    #[test]
    fn a_server_that_prints_as_servers_do_loses_nothing() {
        let mut limit = OutputLimit::new(at(0));
        for second in 0..60 {
            for millis in 0..500 {
                assert!(limit.allows(at(second * 1000 + millis), &[b'x'; 200]));
            }
        }
        assert_eq!(limit.report(), None);
        assert_eq!(limit.report_at(), None);
    }
}
