//! The pool's typical latency: the median of its members' estimates, cached by each worker for 100 ms.

use std::time::Duration;

use evenkeel_core::Instant;

use crate::Pool;

/// How long a median is used.
const KEPT_FOR: Duration = Duration::from_millis(100);
/// How long one is used that says nothing yet.
const UNKNOWN_FOR: Duration = Duration::from_millis(1);
/// For how many picks a median is used at most.
const KEPT_PICKS: u32 = 1_024;

/// The median, and when to compute it again.
#[derive(Debug, Default)]
pub(crate) struct CachedMedian {
    /// Zero: no member has an estimate.
    seconds: f64,
    until: Instant,
    picks: u32,
    scratch: Vec<f64>,
}

impl CachedMedian {
    /// The median in seconds, zero if no member has an estimate.
    pub(crate) const fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Computes it again when it is due. Allocates only when the pool has grown.
    pub(crate) fn renew(
        &mut self,
        pool: &Pool,
        candidates: impl Iterator<Item = u32>,
        now: Instant,
    ) {
        self.picks += 1;
        if now < self.until && self.picks < KEPT_PICKS {
            return;
        }
        self.scratch.clear();
        self.scratch.reserve(pool.members().len());
        self.scratch
            .extend(candidates.filter_map(|index| Some(pool.member(index).state.estimate()?.0)));
        self.seconds = lower_median(&mut self.scratch);
        self.picks = 0;
        self.until = now
            + if self.seconds > 0.0 {
                KEPT_FOR
            } else {
                UNKNOWN_FOR
            };
    }
}

/// The lower one of the two in the middle: of a good and a bad server, the good one says what is normal.
fn lower_median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = (values.len() - 1) / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}
