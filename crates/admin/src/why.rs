//! The view behind `status --why`: why each server of a service gets its share, and what recovery would do next.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_fault::outlook::RecoveryOutlook;
use evenkeel_fault::recover::SuccessRate;
use serde::{Deserialize, Serialize};

/// A service's policy and what comes of it now.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceWhy {
    /// The service's name.
    pub name: String,
    /// The word of its policy.
    pub policy: String,
    /// The options that it follows, by their names in the configuration.
    pub options: BTreeMap<String, String>,
    /// The meaning of a server's score.
    pub score: String,
    /// The outlook of the service as a whole.
    pub recovery: OutlookView,
    /// Which costly actions have helped here, by kind of fault.
    pub success: Vec<ActionSuccess>,
    /// Whether suspected servers are used because too few others are left.
    pub panic: bool,
    /// Its servers, in the order of the configuration.
    pub servers: Vec<ServerWhy>,
}

/// The share of one server, and why.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerWhy {
    /// Its name.
    pub name: String,
    /// Its weight.
    pub weight: u32,
    /// Its tier: 0 is primary, 1 is backup.
    pub tier: u8,
    /// How the balancer stands to it, a word of the balancer's.
    pub standing: String,
    /// The part of its share that it takes: 1 in service, 0 when it takes nothing.
    pub part: f64,
    /// After this time its standing changes by itself, if it will.
    pub changes_in_ms: Option<f64>,
    /// The latency estimate.
    pub latency_ms: Option<f64>,
    /// Attempts in flight.
    pub in_flight: u64,
    /// Requests in flight by the server's own word, if it is asked and has answered in the last second.
    pub said_in_flight: Option<f64>,
    /// The latency that it expects for one more request, if reported.
    pub said_latency_ms: Option<f64>,
    /// How the policy sees it, if it is one that compares.
    pub score: Option<f64>,
    /// The share of the service's attempts that it is meant to get.
    pub share_intended: f64,
    /// The share that it got in the last ten seconds, if there were any attempts.
    pub share_got: Option<f64>,
    /// How often it was picked since the start, by why.
    pub picks: BTreeMap<String, u64>,
    /// The incident that it is in, if there is one that is not closed.
    pub incident: Option<String>,
    /// Why it gets that, in a sentence.
    pub sentence: String,
    /// The next step of recovery.
    pub recovery: OutlookView,
}

/// The outlook of a server or a service.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OutlookView {
    /// The next step: `nothing`, an action of a playbook, `diagnose`, `verify`, `try`, `restore` or `close`.
    pub next: String,
    /// The wait reason, a word of [`evenkeel_fault::outlook::WaitReason`]; `nothing` if everything is normal.
    pub waits_for: String,
    /// After this time, if that is known.
    pub in_ms: Option<f64>,
    /// All of it in words.
    pub text: String,
}

/// How often a costly action has helped against a kind of fault.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ActionSuccess {
    /// The kind of fault.
    pub fault: String,
    /// The action's word.
    pub action: String,
    /// Tries of late whose end is known, 20 at most.
    pub tried: u32,
    /// Of these, those after which the server was verified to be well.
    pub verified: u32,
    /// Whether it helps so seldom that it is not the first thing that is tried.
    pub put_off: bool,
}

impl ActionSuccess {
    /// A rate as it is shown.
    #[must_use]
    pub fn of(rate: &SuccessRate) -> Self {
        Self {
            fault: rate.fault.word().to_owned(),
            action: rate.action.clone(),
            tried: rate.tries.tried,
            verified: rate.tries.verified,
            put_off: rate.tries.seldom_helps(),
        }
    }
}

impl OutlookView {
    /// The outlook as of `now`.
    #[must_use]
    pub fn of(outlook: &RecoveryOutlook, now: Instant) -> Self {
        let millis = |time: Duration| (time.as_secs_f64() * 1e3).round();
        Self {
            next: outlook.next.word().to_owned(),
            waits_for: outlook.waits.word().to_owned(),
            in_ms: outlook.in_time(now).map(millis),
            text: outlook.text(now),
        }
    }
}
