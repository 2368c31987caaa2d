//! Detects two consecutive attempts without an answer where traffic is sparse: otherwise it would take minutes until a
//! server that hangs has failed enough requests. The server is then examined, which decides. Attempts of one route that fails
//! while the server answers others show no server that hangs.

use evenkeel_core::{Instant, Outcome};

use crate::policy::DetectOptions;
use crate::signal::ServerHistory;

use super::{Detection, Detector};

/// With more attempts in the window the other detectors are quick enough.
const THIN: u64 = 20;
/// So many attempts without an answer.
const ENOUGH: usize = 2;

/// Judges the last attempts of a server that gets few.
#[must_use]
pub fn thin_hang(
    facts: &ServerHistory,
    options: &DetectOptions,
    now: Instant,
) -> Option<Detection> {
    let attempts = &facts.attempts;
    let row = usize::try_from(attempts.failed_in_row).unwrap_or(usize::MAX);
    if options.consecutive_failures == 0 || row < ENOUGH || attempts.tally(now).total >= THIN {
        return None;
    }
    if attempts.row_is_of_failing_route(now) {
        return None;
    }
    // Between them may be more time than the window has.
    let latest = attempts.latest_failures().take(ENOUGH);
    let hung = latest.filter(|outcome| *outcome == Outcome::AttemptTimeout);
    (hung.count() == ENOUGH).then(|| Detection {
        by: Detector::ConsecutiveFailures,
        onset: attempts.onset().unwrap_or(attempts.row_began),
        text: format!("{row} attempts in a row got no answer, and traffic is sparse"),
    })
}
