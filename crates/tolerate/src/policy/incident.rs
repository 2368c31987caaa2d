//! The incident of a call that did not succeed at once: when, its attempts, its repair, its result. Plain data for a log, a store
//! or a person.

use std::fmt;

use serde::Serialize;

use super::{Recovered, Recovery, Stopped};
use crate::clock::Clock;

/// A call that did not succeed at once.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Incident {
    /// The policy's name.
    pub policy: String,
    /// The name of the call.
    pub call: String,
    /// When it began, in milliseconds since 1970-01-01 UTC.
    pub began_ms: u64,
    /// How long it took.
    pub took_ms: f64,
    /// How much of that was waiting between attempts.
    pub waited_ms: f64,
    /// The attempts, at most the first 32.
    pub attempts: Vec<IncidentAttempt>,
    /// How many attempts there were.
    pub attempts_made: u32,
    /// How the last repair ended, if there was one: "done", "nothing", "failed".
    pub repair: Option<&'static str>,
    /// Whether it succeeded in the end.
    pub recovered: bool,
    /// Whether the caller got a fallback's value.
    pub fell_back: bool,
    /// Why it stopped: "good", "budget", "deadline", …
    pub stopped: &'static str,
    /// The last error, if the call ended with one.
    pub error: Option<String>,
}

/// One attempt of an incident.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct IncidentAttempt {
    /// Which one, from 1.
    pub number: u32,
    /// Whether it was a hedge.
    pub hedge: bool,
    /// The server, if one was picked.
    pub server: Option<u32>,
    /// How long it took.
    pub took_ms: f64,
    /// How it ended: "good", "timeout", …, or "cancelled".
    pub ended: &'static str,
}

impl<C: Clock> Recovery<C> {
    /// The incident of a call that ended now; `None` if it succeeded at once.
    #[must_use]
    pub fn incident<T, E: fmt::Display>(&self, recovered: &Recovered<T, E>) -> Option<Incident> {
        let report = &recovered.report;
        if recovered.stopped == Stopped::Good && report.attempts < 2 {
            return None;
        }
        let millis = |duration: std::time::Duration| duration.as_secs_f64() * 1e3;
        let attempts = report.log().map(|record| IncidentAttempt {
            number: record.number,
            hedge: record.hedge,
            server: record.server,
            took_ms: millis(record.took),
            ended: record.verdict.map_or("cancelled", crate::Verdict::word),
        });
        let clock = self.clock();
        Some(Incident {
            policy: self.name().to_owned(),
            call: report.call.to_owned(),
            began_ms: clock.epoch().wall(clock.now().before(report.took)).0,
            took_ms: millis(report.took),
            waited_ms: millis(report.waited),
            attempts: attempts.collect(),
            attempts_made: report.attempts,
            repair: report.repaired.map(super::Repaired::word),
            recovered: recovered.is_good(),
            fell_back: report.fell_back,
            stopped: recovered.stopped.word(),
            error: match recovered.last() {
                Some(Err(error)) => Some(error.to_string()),
                Some(Ok(_)) | None => None,
            },
        })
    }
}
