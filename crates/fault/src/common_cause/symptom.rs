//! The symptom of one server as a single value, so that servers can be compared.

use std::time::Duration;

use evenkeel_core::{Instant, Outcome, ProbeOutcome};

use crate::detect;
use crate::policy::DetectOptions;
use crate::signal::ServerHistory;

/// Failures before this are over.
const RECENT: Duration = Duration::from_secs(5);
/// So many failures in a row, or among the recent ones, are a symptom beside peers that have it already.
const FEW: u32 = 3;
/// Where fewer requests come than that, so many failures in a row are.
const FEW_OF_THIN: u32 = 2;
/// The least time between failures in a row where few requests come. Else the next failure is there before anything costly is done.
const SPARSE: Duration = Duration::from_millis(250);

/// The symptom of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symptom {
    /// It answers with 503: it takes no more.
    Sheds,
    /// It answers with other 5xx.
    Errs,
    /// It cuts answers off, or what it answers is not HTTP.
    BreaksOff,
    /// It takes requests and answers none in time.
    Hangs,
    /// Its port is closed.
    Refuses,
    /// It cannot be reached.
    Unreachable,
    /// Its probes fail; requests do not.
    FailsProbes,
    /// It answers much slower than its peers.
    Lags,
}

impl Symptom {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Sheds,
        Self::Errs,
        Self::BreaksOff,
        Self::Hangs,
        Self::Refuses,
        Self::Unreachable,
        Self::FailsProbes,
        Self::Lags,
    ];

    /// Its place in [`Symptom::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The plural verb phrase for the symptom.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Sheds => "answer with 503",
            Self::Errs => "answer with errors",
            Self::BreaksOff => "cut their answers off",
            Self::Hangs => "do not answer",
            Self::Refuses => "refuse connections",
            Self::Unreachable => "cannot be reached",
            Self::FailsProbes => "fail their probes while requests do not fail",
            Self::Lags => "answer much slower than others",
        }
    }
}

/// One server that takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JudgedServer {
    /// Its symptom, if it has one.
    pub symptom: Option<Symptom>,
    /// When the symptom began; now if there is none.
    pub since: Instant,
    /// Its last requests succeeded; where none came, its last probe.
    pub is_well: bool,
}

impl JudgedServer {
    /// Reads a server's facts.
    #[must_use]
    pub fn read(facts: &ServerHistory, options: &DetectOptions, now: Instant) -> Self {
        let tally = facts.attempts.tally(now);
        if let Some((symptom, since)) = of_attempts(facts, options, now) {
            return Self {
                symptom: Some(symptom),
                since,
                is_well: false,
            };
        }
        let passes = facts.probes.last.is_some_and(ProbeOutcome::passed);
        let is_well = facts.attempts.failed_in_row == 0 && (tally.total > tally.hits || passes);
        let fails_probes = facts.probes.failed_in_row >= options.probe.fall.clamp(1, FEW);
        if fails_probes {
            return Self {
                symptom: Some(of_probe(facts)),
                since: facts.probes.row_began,
                is_well,
            };
        }
        Self {
            symptom: None,
            since: now,
            is_well,
        }
    }
}

/// What its attempts show, and since when.
fn of_attempts(
    facts: &ServerHistory,
    options: &DetectOptions,
    now: Instant,
) -> Option<(Symptom, Instant)> {
    let attempts = &facts.attempts;
    let from = now.before(RECENT);
    let recent = attempts.failures(now).filter(|(at, _)| *at >= from);
    let counts = Counts::of(recent.map(|(_, outcome)| outcome));
    if counts.sum() < FEW {
        // If too few requests come for that many failures, those that failed in a row tell as much. Two at once do not: after a stall
        // of evenkeel's own, for example.
        attempts.row_gap().filter(|gap| *gap >= SPARSE)?;
        let row = Counts::of(attempts.row(now, RECENT));
        let symptom = row.most().filter(|_| row.sum() >= FEW_OF_THIN)?;
        return Some((symptom, attempts.onset().unwrap_or(attempts.row_began)));
    }
    let tally = attempts.tally(now);
    let above = options.failure_ratio.map_or(0.5, |ratio| ratio.above);
    let fails = attempts.failed_in_row >= FEW
        || tally.hits as f64 > tally.total as f64 * above
        || detect::ratio(facts, options, now).is_some();
    let since = attempts.onset().unwrap_or(now);
    counts.most().filter(|_| fails).map(|most| (most, since))
}

/// How many failures show each of the first symptoms in [`Symptom::ALL`].
#[derive(Debug, Default)]
struct Counts([u32; 6]);

impl Counts {
    fn of(outcomes: impl Iterator<Item = Outcome>) -> Self {
        let mut counts = Self::default();
        for slot in outcomes.filter_map(place_of) {
            counts.0[slot] += 1;
        }
        counts
    }

    fn sum(&self) -> u32 {
        self.0.iter().sum()
    }

    /// The symptom that most of them show.
    fn most(&self) -> Option<Symptom> {
        let most = (0..self.0.len()).max_by_key(|&slot| self.0[slot])?;
        Symptom::ALL.get(most).copied()
    }
}

/// The symptom from failed probes, unless requests show another one.
fn of_probe(facts: &ServerHistory) -> Symptom {
    let (succeeded, _) = facts.since_probes_fail();
    match facts.probes.last {
        _ if succeeded > 0 => Symptom::FailsProbes,
        Some(ProbeOutcome::Refused | ProbeOutcome::PortTaken) => Symptom::Refuses,
        Some(ProbeOutcome::ConnectTimeout | ProbeOutcome::Unreachable) => Symptom::Unreachable,
        Some(ProbeOutcome::NoAnswer) => Symptom::Hangs,
        Some(
            ProbeOutcome::Passed
            | ProbeOutcome::WrongStatus(_)
            | ProbeOutcome::Reset
            | ProbeOutcome::Invalid
            | ProbeOutcome::LocalError,
        )
        | None => Symptom::FailsProbes,
    }
}

/// The place of a failed attempt's symptom in [`Symptom::ALL`].
const fn place_of(outcome: Outcome) -> Option<usize> {
    match outcome {
        Outcome::Answered(503) => Some(0),
        Outcome::Answered(_) => Some(1),
        Outcome::Reset { .. } | Outcome::BadResponse | Outcome::Truncated => Some(2),
        Outcome::AttemptTimeout => Some(3),
        Outcome::ConnectRefused => Some(4),
        Outcome::ConnectTimeout | Outcome::Unreachable => Some(5),
        Outcome::Stale
        | Outcome::StreamRefused
        | Outcome::IdleTimeout
        | Outcome::Cancelled
        | Outcome::LocalError
        | Outcome::Superseded
        | Outcome::Rescued => None,
    }
}
