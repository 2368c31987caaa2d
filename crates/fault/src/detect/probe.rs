//! Detects probes that failed `fall` times in a row, or have never passed since the process was started.

use std::time::Duration;

use evenkeel_core::{Instant, ProbeOutcome};

use crate::policy::{DetectOptions, ProbeKind};
use crate::signal::ServerHistory;

use super::{Detection, Detector, NEAR};

/// Judges the row of failed probes.
#[must_use]
pub fn probe(facts: &ServerHistory, options: &DetectOptions) -> Option<Detection> {
    let failed = facts.probes.failed_in_row;
    if failed < options.probe.fall.max(1) {
        return None;
    }
    let onset = onset(facts);
    let how = last_in_words(facts, &options.probe.kind);
    Some(Detection {
        by: Detector::Probe,
        onset,
        text: format!("{failed} probes failed in a row, the last: {how}"),
    })
}

/// The first sign of what makes the probes fail: the first that failed, requests that failed before, or silence where there were answers.
fn onset(facts: &ServerHistory) -> Instant {
    let (probes, attempts) = (&facts.probes, &facts.attempts);
    let began = probes.row_since;
    // By the end of the first that failed: a hang that a probe meets at once was silent for too short a time at its beginning.
    let silent = attempts.silent_since(probes.row_began);
    let silent = silent.filter(|_| probes.no_server_responds() && !probes.cannot_connect());
    let failing = attempts.failing_since(began.before(NEAR));
    let earlier = silent.into_iter().chain(failing).min();
    // A probe that passed says that it was well then, unless requests failed all the same.
    let onset = earlier.map_or(began, |earlier| earlier.min(began));
    if failing.is_some() {
        onset
    } else {
        onset.max(probes.last_passed.min(began))
    }
}

/// Judges a started process that was never ready within `grace`. `began` is its start.
#[must_use]
pub fn late_start(
    facts: &ServerHistory,
    options: &DetectOptions,
    began: Instant,
    grace: Duration,
) -> Option<Detection> {
    (facts.probes.failed_in_row > 0).then(|| Detection {
        by: Detector::Probe,
        onset: began,
        text: format!(
            "not ready {} ms after its start; the last probe: {}",
            grace.as_millis(),
            last_in_words(facts, &options.probe.kind)
        ),
    })
}

fn last_in_words(facts: &ServerHistory, kind: &ProbeKind) -> String {
    let last = facts.probes.last;
    last.map_or_else(|| "failed".to_owned(), |last| in_words(last, kind))
}

/// The outcome of a probe in words, with the status and what it often means.
pub(crate) fn in_words(outcome: ProbeOutcome, kind: &ProbeKind) -> String {
    match outcome {
        ProbeOutcome::WrongStatus(status) => {
            format!("status {status}{}", host_check(status, kind))
        }
        ProbeOutcome::PortTaken => "another process listens at its address".to_owned(),
        ProbeOutcome::Passed
        | ProbeOutcome::Refused
        | ProbeOutcome::ConnectTimeout
        | ProbeOutcome::Unreachable
        | ProbeOutcome::NoAnswer
        | ProbeOutcome::Reset
        | ProbeOutcome::Invalid
        | ProbeOutcome::LocalError => outcome.word().to_owned(),
    }
}

/// Applications that check the host answer 400 (Django), 403 (Rails) or 421 to one that they do not know.
pub(crate) fn host_check(status: u16, kind: &ProbeKind) -> String {
    match kind {
        ProbeKind::Http { host, .. } if matches!(status, 400 | 403 | 421) => {
            let host = host.as_deref().unwrap_or(ProbeKind::DEFAULT_HOST);
            format!(
                " (the application may check the host: probes send `Host: {host}`; set `probe.host` to one that it knows)"
            )
        }
        ProbeKind::Http { .. } | ProbeKind::Tcp => String::new(),
    }
}
