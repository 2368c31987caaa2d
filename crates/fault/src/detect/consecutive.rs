//! Detects consecutive failed attempts. Fast where there is traffic, blind to a server that fails every second request.

use crate::policy::DetectOptions;
use crate::signal::ServerHistory;

use super::{Detection, Detector};

/// Judges the row of failed attempts.
#[must_use]
pub fn consecutive(facts: &ServerHistory, options: &DetectOptions) -> Option<Detection> {
    let failed = facts.attempts.failed_in_row;
    (options.consecutive_failures > 0 && failed >= options.consecutive_failures).then(|| {
        Detection {
            by: Detector::ConsecutiveFailures,
            onset: facts.attempts.onset().unwrap_or(facts.attempts.row_began),
            text: format!("{failed} attempts failed in a row"),
        }
    })
}
