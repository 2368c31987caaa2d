//! When evenkeel's own descriptors, local ports or socket memory run out: it is counted, and said at most once a minute. No server
//! is to blame for it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_connect::{ExhaustedResource, lack_of};
use evenkeel_core::Instant;
use evenkeel_runtime::descriptors;

/// Between two lines in the log.
const BETWEEN_LINES: Duration = Duration::from_secs(60);

/// What has not been said yet. Shared by all workers.
#[derive(Debug, Default)]
pub(crate) struct Exhaustion {
    unsaid: AtomicU64,
    /// Nothing is said before this, in nanoseconds.
    not_before: AtomicU64,
    /// What the operating system said last.
    errno: AtomicU64,
    /// Since the start: descriptors, local ports, memory.
    lacked: [AtomicU64; 3],
}

impl Exhaustion {
    pub(super) fn add(&self, error: &io::Error) {
        let errno = error.raw_os_error().unwrap_or_default();
        self.errno
            .store(u64::from(errno.unsigned_abs()), Ordering::Relaxed);
        self.unsaid.fetch_add(1, Ordering::Relaxed);
        let place = match lack_of(error) {
            ExhaustedResource::Descriptors => 0,
            ExhaustedResource::Ports => 1,
            ExhaustedResource::Memory => 2,
        };
        self.lacked[place].fetch_add(1, Ordering::Relaxed);
    }

    /// How often descriptors, local ports and memory were lacking since the start.
    pub(crate) fn lacked(&self) -> [u64; 3] {
        self.lacked
            .each_ref()
            .map(|count| count.load(Ordering::Relaxed))
    }

    /// Says what has not been said, unless something was said in the last minute. How many that were.
    pub(crate) fn report(&self, now: Instant) -> u64 {
        let not_before = self.not_before.load(Ordering::Relaxed);
        if self.unsaid.load(Ordering::Relaxed) == 0 || now.as_nanos() < not_before {
            return 0;
        }
        let next = (now + BETWEEN_LINES).as_nanos();
        // Of several workers one says it.
        let order = Ordering::Relaxed;
        if (self.not_before)
            .compare_exchange(not_before, next, order, order)
            .is_err()
        {
            return 0;
        }
        let count = self.unsaid.swap(0, order);
        let errno = i32::try_from(self.errno.load(order)).unwrap_or_default();
        tracing::warn!(
            connections = count,
            error = %io::Error::from_raw_os_error(errno),
            descriptor_limit = descriptors::limit(),
            "evenkeel itself ran out of resources: connections could not be accepted or opened; no server is blamed"
        );
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exhaustion_is_logged_once_a_minute_with_its_count() {
        let exhaustion = Exhaustion::default();
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        let error = io::Error::from_raw_os_error(24);
        assert_eq!(exhaustion.report(at(0)), 0);
        exhaustion.add(&error);
        assert_eq!(exhaustion.report(at(5)), 1);
        for second in 6..65 {
            exhaustion.add(&error);
            assert_eq!(exhaustion.report(at(second)), 0);
        }
        assert_eq!(exhaustion.report(at(65)), 59);
        assert_eq!(exhaustion.report(at(500)), 0);
        assert_eq!(exhaustion.lacked(), [60, 0, 0]);
    }
}
