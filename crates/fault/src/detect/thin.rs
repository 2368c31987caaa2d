//! Detects two consecutive attempts without an answer where traffic is sparse: otherwise it would take minutes until a
//! server that hangs has failed enough requests. The server is then examined, which decides. Attempts of one route that fails
//! while the server answers others show no server that hangs, nor do attempts that fail while it answers probes.

use evenkeel_core::{Instant, Outcome};

use crate::policy::{DetectOptions, ProbeKind};
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
    // Connections are accepted for a process that hangs; answers are its own.
    let is_asked = matches!(options.probe.kind, ProbeKind::Http { .. });
    let last_began = attempts.latest_failure_since();
    if is_asked && last_began.is_some_and(|began| facts.probes.last_passed > began) {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evenkeel_core::{ProbeOutcome, RequestShape};

    use super::*;
    use crate::policy::ProbeOptions;
    use crate::signal::ObservedAttempt;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Two requests get no answer within half a second each, the second from 2 s on; a probe passes at this time.
    fn fires(kind: ProbeKind, passed: u64) -> bool {
        let options = DetectOptions {
            probe: ProbeOptions {
                kind,
                every: ms(2_000),
                timeout: ms(1_000),
                fall: 3,
                rise: 2,
                fast: ms(250),
            },
            consecutive_failures: 5,
            failure_ratio: None,
            slow: None,
        };
        let mut facts = ServerHistory::new(&options, 2);
        let attempt = |at| ObservedAttempt {
            at: Instant::from_millis(at),
            outcome: Outcome::AttemptTimeout,
            latency: ms(500),
            shape: RequestShape::of(b"POST", b"/orders"),
        };
        facts.attempt(attempt(1_500));
        facts.probe(Instant::from_millis(passed), ProbeOutcome::Passed, ms(1));
        facts.attempt(attempt(2_500));
        thin_hang(&facts, &options, Instant::from_millis(2_500)).is_some()
    }

    #[test]
    fn a_server_that_answers_a_probe_while_a_request_waits_does_not_hang() {
        let http = || ProbeKind::Http {
            path: "/health".to_owned(),
            host: None,
            expect: (200, 399),
        };
        assert!(fires(http(), 1_900));
        assert!(!fires(http(), 2_100));
        assert!(fires(ProbeKind::Tcp, 2_100), "the kernel connects");
    }
}
