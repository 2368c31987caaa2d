//! The load that a server reports about itself: what no count of requests can see, such as other work on its machine.
//!
//! The last word stands, with its moment; who reads it decides how long it is worth something.

use std::sync::atomic::{AtomicU64, Ordering};

use evenkeel_core::Instant;

use crate::ServerState;

/// What a server said last. Written with each answer that says something, so it has a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Reported {
    /// The bits of an `f64`.
    utilization: AtomicU64,
    /// In nanoseconds; zero: nothing was said yet.
    at: AtomicU64,
}

impl ServerState {
    /// It says how much of what it can do it is doing: 0 is idle, 1 is all, and more than that is too much. What is not
    /// a number, or is below zero, is not taken.
    pub fn report_load(&self, now: Instant, utilization: f64) {
        if !utilization.is_finite() || utilization < 0.0 {
            return;
        }
        let reported = &self.reported;
        reported
            .utilization
            .store(utilization.to_bits(), Ordering::Relaxed);
        reported.at.store(now.as_nanos().max(1), Ordering::Release);
    }

    /// What it said last, and when; nothing if it never did.
    #[must_use]
    pub fn reported_load(&self) -> Option<(f64, Instant)> {
        let at = self.reported.at.load(Ordering::Acquire);
        let utilization = f64::from_bits(self.reported.utilization.load(Ordering::Relaxed));
        (at > 0).then(|| (utilization, Instant::from_nanos(at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_stands() {
        let state = ServerState::new();
        assert_eq!(state.reported_load(), None);
        state.report_load(Instant::from_nanos(5), 0.5);
        state.report_load(Instant::from_nanos(7), 1.25);
        let last = Some((1.25, Instant::from_nanos(7)));
        assert_eq!(state.reported_load(), last);
        for none in [f64::NAN, f64::INFINITY, -0.1] {
            state.report_load(Instant::from_nanos(9), none);
            assert_eq!(state.reported_load(), last);
        }
    }
}
