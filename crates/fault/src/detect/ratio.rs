//! Detects a high ratio of failed attempts. The lower bound of the confidence interval must exceed the limit, so that a
//! few failures among few attempts decide nothing.

use evenkeel_core::Instant;
use evenkeel_core::stat::wilson_lower_bound;

use crate::policy::DetectOptions;
use crate::signal::ServerHistory;

use super::{Detection, Detector};

/// Judges the share of failures in the window.
#[must_use]
pub fn ratio(facts: &ServerHistory, options: &DetectOptions, now: Instant) -> Option<Detection> {
    let limit = options.failure_ratio?;
    let tally = facts.attempts.tally(now);
    if tally.total < u64::from(limit.minimum_attempts.max(1)) {
        return None;
    }
    let bound = wilson_lower_bound(tally.hits, tally.total);
    (bound > limit.above).then(|| Detection {
        by: Detector::FailureRatio,
        onset: facts.attempts.onset().unwrap_or(now),
        text: format!(
            "{} of {} attempts failed within {} ms (at least {:.0} %, limit {:.0} %)",
            tally.hits,
            tally.total,
            limit.window.as_millis(),
            bound * 100.0,
            limit.above * 100.0
        ),
    })
}
