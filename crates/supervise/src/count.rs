//! Counters of processes and probes.

use evenkeel_core::ProbeOutcome;
use evenkeel_core::metric::Counter;

/// Numbers of one supervised process.
#[derive(Debug, Default)]
pub(crate) struct ChildCounters {
    pub(crate) starts: Counter,
    pub(crate) start_failures: Counter,
    pub(crate) exits: Counter,
    pub(crate) dropped_lines: Counter,
    pub(crate) dropped_bytes: Counter,
}

/// The words of probe outcomes, in the order of their counters.
pub(crate) const WORDS: [&str; 10] = [
    "passed",
    "refused",
    "connect-timeout",
    "unreachable",
    "no-answer",
    "wrong-status",
    "reset",
    "port-taken",
    "invalid",
    "local-error",
];

/// Numbers of one server's probes.
#[derive(Debug, Default)]
pub(crate) struct ProbeCounters(pub(crate) [Counter; 10]);

impl ProbeCounters {
    pub(crate) fn add_one(&self, outcome: ProbeOutcome) {
        if let Some(slot) = WORDS.iter().position(|word| *word == outcome.word()) {
            self.0[slot].add_one();
        }
    }
}
