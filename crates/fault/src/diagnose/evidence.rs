//! The input of a diagnosis: the history of one server, an examination of it, and the comparison with its peers.

use std::time::Duration;

use evenkeel_core::{Instant, Outcome, ProbeOutcome};

use crate::contract::{Examination, Managed, ProcessState};
use crate::detect::{Comparison, exit_in_words, host_check, probe_in_words};
use crate::incident::Finding;
use crate::kind::FaultKind;
use crate::policy::{DetectOptions, ProbeKind};
use crate::signal::{DownReason, ProcessEnd, ServerHistory};

/// Everything that is known about one server at the moment of its diagnosis.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The moment.
    pub now: Instant,
    /// Its history.
    pub facts: &'a ServerHistory,
    /// How it is detected.
    pub options: &'a DetectOptions,
    /// How it is managed.
    pub managed: Managed,
    /// The examination, if there was one.
    pub examination: Option<&'a Examination>,
    /// How it compares with its peers, if it is slow.
    pub slow: Option<&'a Comparison>,
    /// Servers of the same service that cannot start either, and wait for this one.
    pub followers: &'a [String],
}

/// Failed attempts by how they failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutcomeCounts {
    /// Answered with 5xx.
    pub errors: u32,
    /// Closed, cut off or not HTTP, after something was sent.
    pub broken: u32,
    /// Refused.
    pub refused: u32,
    /// Connected, but never answered.
    pub timeouts: u32,
    /// Not connected in time, or unreachable.
    pub unreachable: u32,
}

impl OutcomeCounts {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.errors + self.broken + self.refused + self.timeouts + self.unreachable
    }

    /// Whether `part` is more than half of them.
    #[must_use]
    pub const fn mostly(&self, part: u32) -> bool {
        part * 2 > self.total()
    }
}

impl Evidence<'_> {
    /// The failed attempts that are remembered, by how they failed.
    #[must_use]
    pub fn failures(&self) -> OutcomeCounts {
        let mut counts = OutcomeCounts::default();
        let attempts = &self.facts.attempts;
        // A few errors are there always.
        let is_burst = attempts.fail_now();
        for (_, outcome) in attempts.failures(self.now) {
            match outcome {
                Outcome::Answered(_) => counts.errors += u32::from(is_burst),
                Outcome::Reset { .. } | Outcome::BadResponse | Outcome::Truncated => {
                    counts.broken += 1;
                }
                Outcome::ConnectRefused => counts.refused += 1,
                Outcome::AttemptTimeout => counts.timeouts += 1,
                Outcome::ConnectTimeout | Outcome::Unreachable => counts.unreachable += 1,
                Outcome::Stale
                | Outcome::StreamRefused
                | Outcome::IdleTimeout
                | Outcome::Cancelled
                | Outcome::LocalError
                | Outcome::Superseded
                | Outcome::Rescued => {}
            }
        }
        counts
    }

    /// Why its last start failed, in words.
    pub(super) fn start_failure(&self) -> Vec<String> {
        match &self.facts.process.down {
            Some(DownReason::NotStarted { reason, .. }) => {
                vec![format!("it could not be started: {reason}")]
            }
            Some(DownReason::Ended(ended)) => {
                let exit = &ended.exit;
                let mut words = vec![
                    format!("exit status: {}", exit_in_words(exit)),
                    format!(
                        "it exited {} ms after its start without ever passing a probe",
                        exit.uptime.as_millis()
                    ),
                ];
                if ended.handed_over() {
                    words.push(
                        "its command may put the server into the background; it must stay in the foreground"
                            .to_owned(),
                    );
                }
                let first = exit.last_lines.len().saturating_sub(3);
                let lines = exit.last_lines[first..].iter();
                words.extend(lines.map(|line| format!("it printed: {line}")));
                words
            }
            Some(DownReason::Stopped) | None => Vec::new(),
        }
    }

    /// How the examination's bare connect ended.
    #[must_use]
    pub fn tcp(&self) -> Option<(ProbeOutcome, Duration)> {
        self.examination.and_then(|examination| examination.tcp)
    }

    /// How the examination's HTTP request ended.
    #[must_use]
    pub fn http(&self) -> Option<(ProbeOutcome, Duration)> {
        self.examination.and_then(|examination| examination.http)
    }

    /// The process as the examination found it.
    #[must_use]
    pub fn process(&self) -> Option<&ProcessState> {
        self.examination
            .and_then(|examination| examination.process.as_ref())
    }

    /// Whether connections wait to be accepted; nothing if nothing listens or that is unknown.
    #[must_use]
    pub fn queues_connections(&self) -> Option<bool> {
        let queue = self.process()?.accept_queue?;
        Some(queue > 0)
    }

    /// How long ago its process was started, if it lives and was never ready.
    #[must_use]
    pub fn starting_for(&self) -> Option<Duration> {
        let process = &self.facts.process;
        let started = process.started.filter(|_| process.ready.is_none())?;
        self.living().map(|_| self.now.since(started))
    }

    /// The pid of the process, if it is known to live.
    #[must_use]
    pub fn living(&self) -> Option<u32> {
        match self.process() {
            Some(process) => process.pid,
            None => self.facts.process.pid,
        }
    }

    /// Whether the process is known not to run.
    #[must_use]
    pub const fn is_down(&self) -> bool {
        self.facts.process.down.is_some()
    }

    /// How the process ended by itself, if that is why it does not run.
    #[must_use]
    pub fn ended(&self) -> Option<&ProcessEnd> {
        match self.facts.process.down.as_ref()? {
            DownReason::Ended(ended) => Some(ended),
            DownReason::NotStarted { .. } | DownReason::Stopped => None,
        }
    }

    /// Ends of the process within a minute, each soon after it had been ready.
    #[must_use]
    pub fn short_lives(&self) -> Vec<&ProcessEnd> {
        let from = self.now.before(Duration::from_secs(60));
        let short = |ended: &&ProcessEnd| {
            ended
                .ready_for
                .is_some_and(|ready_for| ready_for < Duration::from_secs(10))
                && ended.exit.guardian.is_none()
        };
        self.facts.process.ended_since(from).filter(short).collect()
    }

    /// Whether a connection to the server succeeded recently: then its address is reachable and something listens.
    #[must_use]
    pub fn connects(&self) -> Option<bool> {
        self.tcp().map(|(outcome, _)| outcome.passed())
    }

    /// The probe's request, in words.
    #[must_use]
    pub const fn asked(&self) -> &'static str {
        match self.options.probe.kind {
            ProbeKind::Tcp => "HTTP request",
            ProbeKind::Http { .. } => "HTTP probe",
        }
    }

    /// The answer to the last probe, if that is why it failed: the status, and its usual meaning.
    #[must_use]
    pub fn wrong_status(&self) -> Option<String> {
        let last = self.facts.probes.last?;
        let kind = &self.options.probe.kind;
        matches!(last, ProbeOutcome::WrongStatus(_))
            .then(|| format!("the last probe: {}", probe_in_words(last, kind)))
    }

    /// The probes that failed up to now, in words; nothing if the last one passed.
    fn probed(&self) -> Option<String> {
        let probes = &self.facts.probes;
        let last = probes.last.filter(|_| probes.failed_in_row > 0)?;
        let last = probe_in_words(last, &self.options.probe.kind);
        Some(match probes.failed_in_row {
            1 => format!("the last probe failed: {last}"),
            row => format!("{row} probes failed in a row, the last: {last}"),
        })
    }

    /// The examination in words; without one, what its probes tell.
    #[must_use]
    pub fn examined(&self) -> Vec<String> {
        let mut words = Vec::new();
        if self.examination.is_none() {
            words.extend(self.probed());
        }
        if let Some((outcome, took)) = self.tcp() {
            words.push(if outcome.passed() {
                format!("TCP connect succeeded in {} ms", millis(took))
            } else {
                format!(
                    "TCP connect failed after {} ms: {}",
                    millis(took),
                    outcome.word()
                )
            });
        }
        if let Some((outcome, took)) = self.http() {
            let mut text = http_in_words(self.asked(), outcome, took);
            if let ProbeOutcome::WrongStatus(status) = outcome {
                text.push_str(&host_check(status, &self.options.probe.kind));
            }
            words.push(text);
        }
        if let Some(process) = self.process() {
            words.push(process_in_words(process));
            if let Some(listening) = process.listening {
                let verb = if listening {
                    "listens"
                } else {
                    "does not listen"
                };
                words.push(format!("a socket {verb} at its address"));
            }
            if let Some(waiting) = process.accept_queue.filter(|waiting| *waiting > 0) {
                words.push(format!("{waiting} connections wait to be accepted"));
            }
            if !process.listens_at.is_empty() {
                words.push(format!("it listens at {}", process.listens_at.join(", ")));
            }
        }
        words
    }

    /// The failed attempts, in words.
    #[must_use]
    pub fn attempts_in_words(&self) -> Vec<String> {
        let counts = self.failures();
        if counts.total() == 0 {
            return Vec::new();
        }
        let parts: Vec<String> = [
            (counts.errors, "answered with 5xx"),
            (counts.broken, "were cut off"),
            (counts.refused, "were refused"),
            (counts.timeouts, "got no answer"),
            (counts.unreachable, "could not connect"),
        ]
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
        vec![format!(
            "of the last {} failed attempts {}",
            counts.total(),
            parts.join(", ")
        )]
    }
}

/// A finding, with its evidence in words.
pub(super) fn finding(fault: FaultKind, confidence: f64, evidence: Vec<String>) -> Option<Finding> {
    Some(Finding {
        fault,
        confidence,
        evidence,
    })
}

fn http_in_words(asked: &str, outcome: ProbeOutcome, took: Duration) -> String {
    match outcome {
        ProbeOutcome::Passed => format!("{asked} was answered in {} ms", millis(took)),
        ProbeOutcome::NoAnswer => format!("{asked} got no answer within {} ms", millis(took)),
        ProbeOutcome::WrongStatus(status) => {
            format!(
                "{asked} was answered with status {status} in {} ms",
                millis(took)
            )
        }
        ProbeOutcome::Refused
        | ProbeOutcome::ConnectTimeout
        | ProbeOutcome::Unreachable
        | ProbeOutcome::Reset
        | ProbeOutcome::PortTaken
        | ProbeOutcome::Invalid
        | ProbeOutcome::LocalError => {
            format!(
                "{asked} failed after {} ms: {}",
                millis(took),
                outcome.word()
            )
        }
    }
}

fn process_in_words(process: &ProcessState) -> String {
    let Some(pid) = process.pid else {
        return "the process is not there".to_owned();
    };
    let meaning = match process.state {
        Some('T' | 't') => ", state T (stopped)".to_owned(),
        Some('D') => ", state D (waiting for the disk)".to_owned(),
        Some('Z') => ", state Z (exited, not yet reaped)".to_owned(),
        Some('S') => ", state S (sleeping)".to_owned(),
        Some('R') => ", state R (running)".to_owned(),
        Some(letter) => format!(", state {letter}"),
        None => String::new(),
    };
    let cpu = process.cpu_permille.map_or_else(String::new, |cpu| {
        format!(", uses {:.1} % of a CPU", f64::from(cpu) / 10.0)
    });
    format!("process {pid} is alive{meaning}{cpu}")
}

/// A duration in milliseconds: whole ones from 10 on, tenths below.
fn millis(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1e3;
    if millis < 10.0 {
        format!("{millis:.1}")
    } else {
        format!("{millis:.0}")
    }
}
