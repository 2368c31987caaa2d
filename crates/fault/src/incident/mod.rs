//! The incident record: one fault from onset to close, as it is stored, shown and served.
//!
//! The JSON form is a contract; timestamps are RFC 3339 in UTC with milliseconds.

pub mod invariants;

use serde::{Deserialize, Serialize};

use crate::kind::FaultKind;

/// One fault from onset to close.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Unique in the store: the date of the onset and a number, `2026-11-22-0007`.
    pub id: String,
    /// Whether it was made on purpose.
    pub drill: bool,
    /// Its status.
    pub status: IncidentStatus,
    /// The service's name.
    pub service: String,
    /// The servers' names.
    pub servers: Vec<String>,
    /// The first signal that later proved part of it.
    pub onset: String,
    /// The decision that something is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detected: Option<String>,
    /// The diagnosis that recovery acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnosed: Option<String>,
    /// The verified return of service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<String>,
    /// The finished report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<String>,
    /// The four durations, from the monotonic clock; they win over the timestamps.
    pub durations_ms: Durations,
    /// The detector that spoke first.
    pub detected_by: String,
    /// The findings, most likely first.
    pub diagnosis: Vec<Finding>,
    /// The actions, in order.
    pub actions: Vec<ActionRecord>,
    /// Whether the repair held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<VerificationRecord>,
    /// The impact on requests.
    pub impact: Impact,
    /// The timeline.
    pub timeline: Vec<TimelineEntry>,
    /// Why it is over, once it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<CloseReason>,
    /// The report, once it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<Analysis>,
}

impl Incident {
    /// Whether its server is back in service, and requests of the kind that failed have not proven yet that it is well.
    #[must_use]
    pub fn is_unproven(&self) -> bool {
        let held = self.verification.as_ref();
        held.is_some_and(|held| held.outcome == "not-proven")
    }

    /// Where it stands, for people.
    #[must_use]
    pub fn standing(&self) -> &'static str {
        if self.status == IncidentStatus::Verifying && self.is_unproven() {
            "verifying, not proven yet"
        } else {
            self.status.word()
        }
    }
}

/// Why an incident is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CloseReason {
    /// The server is in service again.
    Recovered,
    /// An operator closed it as it was.
    ClosedByPerson,
    /// An operator put the server, or its service, into maintenance.
    Maintenance,
    /// The server is no longer a member of the service.
    Left,
    /// Its server or service was removed from the configuration by a reload.
    Removed,
    /// Its cause is shared by other servers: it goes on as the incident of the service.
    Merged,
    /// Each of its servers turned out to have a fault of its own: it goes on as incidents of those.
    Split,
    /// evenkeel itself ended; what became of the server is not known.
    EvenkeelEnded,
}

impl CloseReason {
    /// In words, after "closed: ".
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Recovered => "the server is in service again",
            Self::ClosedByPerson => "an operator closed it",
            Self::Maintenance => "an operator put the server into maintenance",
            Self::Left => "the server is no longer a member",
            Self::Removed => "it was removed from the configuration by a reload",
            Self::Merged => "it continues as an incident of the whole service",
            Self::Split => "it continues as incidents of single servers",
            Self::EvenkeelEnded => "evenkeel ended before it was over",
        }
    }
}

/// Who repaired it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RepairedBy {
    /// evenkeel.
    Evenkeel,
    /// An operator, by an order to evenkeel.
    Person,
}

/// The status of an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IncidentStatus {
    /// Detected; being diagnosed.
    Open,
    /// Actions are being carried out.
    Recovering,
    /// The repair is being verified.
    Verifying,
    /// An operator is asked.
    AwaitingApproval,
    /// evenkeel could not repair it; an operator is needed. It is still watched, and closes when the server is healthy
    /// again.
    Escalated,
    /// Over.
    Closed,
}

impl IncidentStatus {
    /// Its name in incidents and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Recovering => "recovering",
            Self::Verifying => "verifying",
            Self::AwaitingApproval => "awaiting-approval",
            Self::Escalated => "escalated",
            Self::Closed => "closed",
        }
    }
}

/// The four durations, in milliseconds (microsecond resolution), each once it is known.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Durations {
    /// From onset to detection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detection: Option<f64>,
    /// From detection to diagnosis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<f64>,
    /// From diagnosis to the verified return of service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<f64>,
    /// From the verified return to the finished report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<f64>,
}

impl Durations {
    /// Detection + diagnosis + recovery, once all three are known.
    #[must_use]
    pub fn time_to_restore(&self) -> Option<f64> {
        Some(self.detection? + self.diagnosis? + self.recovery?)
    }
}

/// One possible fault with its evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The kind of fault.
    pub fault: FaultKind,
    /// How sure, 0 to 1.
    pub confidence: f64,
    /// Why, in words with their numbers.
    pub evidence: Vec<String>,
}

/// One action that was carried out, or would have been.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionRecord {
    /// The action's word.
    pub action: String,
    /// The server it was about.
    pub server: String,
    /// When it began.
    pub started: String,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// How it ended; absent while in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<ActionOutcome>,
    /// Why it failed or was refused, or what a command printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Whether an operator ordered it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_person: bool,
}

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionOutcome {
    /// It was done.
    Done,
    /// It did not work.
    Failed,
    /// It did not end in time.
    TimedOut,
    /// A guard forbade it.
    Refused,
    /// It would have been done (dry run, or not approved).
    WouldDo,
}

impl ActionOutcome {
    /// Its name in incidents and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::TimedOut => "timed-out",
            Self::Refused => "refused",
            Self::WouldDo => "would-do",
        }
    }
}

/// Whether the repair held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerificationRecord {
    /// `passed`, `failed`, or `not-proven`: it is in service again and looks well, but too few requests of the kind that failed have
    /// succeeded since. An open incident waits for them.
    pub outcome: String,
    /// Who made the verified repair; absent if the server recovered without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repaired_by: Option<RepairedBy>,
    /// Probes that passed in a row.
    pub probes: u32,
    /// Real requests that succeeded in the trickle; where requests had failed, those of their kind, and those after the trickle, too.
    #[serde(default)]
    pub requests: u32,
}

/// The impact of an incident on requests, from onset to recovery, over the whole service.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Impact {
    /// Requests that came.
    pub requests: u64,
    /// Of these, those that the client saw fail (5xx or no answer).
    pub failed: u64,
    /// Of these, those that succeeded after a retry.
    pub saved_by_retry: u64,
    /// Share of the period's error budget that the failures spent.
    pub budget_spent: f64,
}

/// One line of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When.
    pub at: String,
    /// `signal`, `detection`, `diagnosis`, `action`, `verification`, `escalation`, `approval`,
    /// `maintenance`, `clock`, `recovery`, `analysis` or `output`.
    pub kind: String,
    /// In words.
    pub text: String,
}

/// The report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Analysis {
    /// A summary in two or three sentences.
    pub summary: String,
    /// The cause.
    pub cause: String,
    /// Ids of earlier incidents of the same service and fault.
    pub similar: Vec<String>,
    /// Recommendations.
    pub recommendations: Vec<String>,
}
