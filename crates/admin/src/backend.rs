//! What the admin API shows and accepts: the types shared with the wiring, which implements [`AdminBackend`], and with
//! the command line, which reads the views back from JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use evenkeel_core::Endpoint;
use evenkeel_core::metric::Sink;
use evenkeel_fault::maintenance::OrderTerms;
use evenkeel_fault::{Incident, Maintenance};
use serde::{Deserialize, Serialize};

use crate::instance::{ConfigurationView, InstanceView};
use crate::why::ServiceWhy;

/// Incidents in one answer when the request names no limit.
const LIMIT: usize = 200;
/// Incidents in one answer at most.
pub(crate) const LIMIT_MAX: usize = 1000;

/// The requested incidents; fields that are `None` do not filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncidentQuery {
    /// Of this service.
    pub service: Option<String>,
    /// With an onset since: a date, a timestamp (RFC 3339), or an [`age`].
    pub since: Option<String>,
    /// With this status, one of [`evenkeel_fault::incident::IncidentStatus`]'s words.
    pub status: Option<String>,
    /// So many at most, the newest.
    pub limit: usize,
}

impl Default for IncidentQuery {
    fn default() -> Self {
        Self {
            service: None,
            since: None,
            status: None,
            limit: LIMIT,
        }
    }
}

/// The running program as the admin API sees it. Called on blocking threads, concurrently.
pub trait AdminBackend: Send + Sync {
    /// All services, in the order of the configuration.
    fn services(&self) -> Vec<ServiceView>;

    /// Why each server of the service gets what it gets; `None` if there is no such service.
    fn why(&self, service: &str) -> Option<ServiceWhy>;

    /// The incidents that the filter chooses, the newest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn incidents(&self, filter: &IncidentQuery) -> Result<Vec<Incident>, String>;

    /// The incident of this id.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn incident(&self, id: &str) -> Result<Option<Incident>, String>;

    /// How each service fared since: a date, a timestamp (RFC 3339), or an [`age`].
    ///
    /// # Errors
    /// If the store cannot be read.
    fn report(&self, since: &str) -> Result<Vec<ServiceReport>, String>;

    /// Puts all metrics into `sink`. The version, the uptime and the states of servers are added by the admin API.
    fn collect(&self, sink: &mut dyn Sink);

    /// Whether what repairs faults is at work.
    ///
    /// # Errors
    /// Why it is not.
    fn alive(&self) -> Result<(), String>;

    /// Whether requests can be served.
    ///
    /// # Errors
    /// Why they cannot.
    fn ready(&self) -> Result<(), String>;

    /// This evenkeel itself.
    fn instance(&self) -> InstanceView;

    /// The effective configuration. `all`: also values that nobody has set.
    fn configuration(&self, all: bool) -> ConfigurationView;

    /// The program's version.
    fn version(&self) -> String;

    /// How long it has run.
    fn uptime(&self) -> Duration;

    /// Executes an operator's order, or passes it on, and returns its progress. Its target existed a moment ago. With
    /// `wait` it waits for the end, at most for this long.
    ///
    /// # Errors
    /// Why it was not carried out.
    fn order(
        &self,
        order: Order,
        terms: &OrderTerms,
        wait: Option<Duration>,
    ) -> Result<OrderProgress, OrderError>;
}

/// The progress of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderProgress {
    /// It was carried out: status 200.
    Done(String),
    /// It is being carried out: status 202.
    Accepted(String),
}

/// Why an order was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderError {
    /// Something that was said with it cannot be, and nothing was changed: status 400.
    Invalid(String),
    /// It is not allowed or makes no sense now, and nothing was changed: status 409.
    Refused(String),
    /// It was tried and did not succeed: status 500.
    Failed(String),
    /// Nobody takes orders now: status 503.
    Unavailable(String),
    /// It is still in progress after the waiting time: status 504.
    Unfinished(String),
}

impl OrderError {
    /// The status of the answer.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Invalid(_) => 400,
            Self::Refused(_) => 409,
            Self::Failed(_) => 500,
            Self::Unavailable(_) => 503,
            Self::Unfinished(_) => 504,
        }
    }

    /// Why.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Invalid(why)
            | Self::Refused(why)
            | Self::Failed(why)
            | Self::Unavailable(why)
            | Self::Unfinished(why) => why,
        }
    }
}

/// An operator's order, with names instead of ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// The server takes no new attempts until restored.
    Drain {
        /// The service's name.
        service: String,
        /// The server's name.
        server: String,
    },
    /// The server takes attempts again.
    Restore {
        /// The service's name.
        service: String,
        /// The server's name.
        server: String,
    },
    /// The server takes no new attempts at once, until restored.
    Eject {
        /// The service's name.
        service: String,
        /// The server's name.
        server: String,
    },
    /// The server's process is replaced.
    Restart {
        /// The service's name.
        service: String,
        /// The server's name.
        server: String,
    },
    /// The service gets another server, or one of the file again that was removed.
    AddServer {
        /// The service's name.
        service: String,
        /// The server.
        server: ServerToAdd,
        /// Also after a restart.
        persist: bool,
    },
    /// The service does without this server.
    RemoveServer {
        /// The service's name.
        service: String,
        /// The server's name.
        server: String,
        /// Also after a restart.
        persist: bool,
    },
    /// The server gets another weight.
    SetWeight {
        /// The service's name.
        service: String,
        /// The server's name.
        server: String,
        /// From 1 to 1,000.
        weight: u32,
        /// Also after a restart.
        persist: bool,
    },
    /// The server gets another bound on concurrent requests.
    SetMaxRequests {
        /// The service's name.
        service: String,
        /// The server's name.
        server: String,
        /// Up to 1,000,000; 0: none.
        max_requests: u32,
        /// Also after a restart.
        persist: bool,
    },
    /// The configuration's file is read again, and what has changed is applied.
    Reload {
        /// Only says what would change.
        check: bool,
    },
    /// The service's requests are answered for it, or sent to its servers again.
    Maintenance {
        /// The service's name.
        service: String,
        /// Whether it begins.
        on: bool,
    },
    /// The service's requests that are in quarantine are sent to servers again.
    LiftQuarantine {
        /// The service's name.
        service: String,
    },
    /// Do what the incident of this id proposes.
    Approve(String),
    /// Do not.
    Reject(String),
    /// Close the incident of this id as it is.
    Close(String),
}

/// A server that a service is to have. What is `None` is as in a file that does not say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerToAdd {
    /// Its name.
    pub name: Option<String>,
    /// Its address.
    pub address: Endpoint,
    /// Its weight, from 1 to 1,000.
    pub weight: Option<u32>,
    /// Its tier, from 0 to 9: 0 is primary, 1 is backup.
    pub tier: Option<u8>,
    /// The most requests that it has at once, up to 1,000,000; 0: no bound.
    pub max_requests: Option<u32>,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drain { service, server } => write!(f, "drain {service}/{server}"),
            Self::Restore { service, server } => write!(f, "restore {service}/{server}"),
            Self::Eject { service, server } => write!(f, "eject {service}/{server}"),
            Self::Restart { service, server } => write!(f, "restart {service}/{server}"),
            Self::AddServer {
                service, server, ..
            } => match &server.name {
                Some(name) => write!(f, "add server {service}/{name} at {}", server.address),
                None => write!(f, "add server {} to {service}", server.address),
            },
            Self::RemoveServer {
                service, server, ..
            } => write!(f, "remove server {service}/{server}"),
            Self::SetWeight {
                service,
                server,
                weight,
                ..
            } => write!(f, "set the weight of {service}/{server} to {weight}"),
            Self::SetMaxRequests {
                service,
                server,
                max_requests,
                ..
            } => write!(
                f,
                "set max_requests of {service}/{server} to {max_requests}"
            ),
            Self::Reload { check: false } => f.write_str("reload"),
            Self::Reload { check: true } => f.write_str("check for a reload"),
            Self::Maintenance { service, on } => {
                write!(
                    f,
                    "maintenance {service} {}",
                    if *on { "on" } else { "off" }
                )
            }
            Self::LiftQuarantine { service } => write!(f, "lift the quarantine of {service}"),
            Self::Approve(id) => write!(f, "approve {id}"),
            Self::Reject(id) => write!(f, "reject {id}"),
            Self::Close(id) => write!(f, "close {id}"),
        }
    }
}

/// One service now. Counts are since the start of the program.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// The word of its policy.
    pub policy: String,
    /// Its servers, in the order of the configuration.
    pub servers: Vec<ServerView>,
    /// Requests that came.
    pub requests: u64,
    /// Of these, those that the client saw fail.
    pub failed: u64,
    /// Of these, those that succeeded after a retry.
    pub saved_by_retry: u64,
    /// Half of the requests took at most this long.
    pub p50_ms: Option<f64>,
    /// Nine of ten requests took at most this long.
    pub p90_ms: Option<f64>,
    /// All but one in a hundred took at most this long.
    pub p99_ms: Option<f64>,
    /// Attempts in flight.
    pub in_flight: u64,
    /// Requests that wait because all servers have as many as they may.
    pub waiting: u32,
    /// Requests that wait for the first server that comes back.
    pub held: u32,
    /// Servers by state, each a word of [`evenkeel_fault::contract::ServerStatus`]; none where there is none.
    pub servers_by_state: BTreeMap<String, u64>,
    /// The last ten seconds.
    pub recent: RecentTraffic,
    /// Retries that the service's budget would pay for now.
    pub retry_budget: f64,
    /// Notes for the operator, in words.
    pub notes: Vec<String>,
    /// The maintenance of the whole service, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// That maintenance is ending: requests wait for the first server that is verified.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub maintenance_ends: bool,
}

/// One server now. Counts are since the start of the program.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerView {
    /// Its name, unique in the service.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its state: a word of [`evenkeel_fault::contract::ServerStatus`].
    pub state: String,
    /// How the balancer stands to it: a word of the balancer's.
    pub standing: String,
    /// Its weight.
    pub weight: u32,
    /// Its tier: 0 is primary, 1 is backup.
    pub tier: u8,
    /// Its process, if evenkeel runs it and it lives.
    pub pid: Option<u32>,
    /// Attempts in flight.
    pub in_flight: u64,
    /// The maximum number of attempts in flight, if there is a limit.
    pub limit: Option<u32>,
    /// The reason for the current adaptive limit, as a word.
    pub limit_why: Option<String>,
    /// The state of its breaker, if it has one: a word.
    pub breaker: Option<String>,
    /// Attempts that ended.
    pub attempts: u64,
    /// Of these, those that count against the server.
    pub failures: u64,
    /// How long it takes to answer, recently: the estimate that policies use.
    pub latency_ms: Option<f64>,
    /// Half of the attempts took at most this long until the answer's head.
    pub p50_ms: Option<f64>,
    /// Nine of ten attempts took at most this long.
    pub p90_ms: Option<f64>,
    /// All but one in a hundred took at most this long.
    pub p99_ms: Option<f64>,
    /// The share of the service's attempts that it is meant to get now.
    pub share_intended: f64,
    /// The share that it got in the last ten seconds, if there were any attempts.
    pub share_got: Option<f64>,
    /// How often it was picked, by why; none where it never was.
    pub picks: BTreeMap<String, u64>,
    /// The last ten seconds.
    pub recent: RecentTraffic,
    /// Its maintenance, if it is in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// Its open incident, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<OpenIncident>,
}

/// A server's open incident, in short.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OpenIncident {
    /// Its id.
    pub id: String,
    /// Its status: a word of [`evenkeel_fault::incident::IncidentStatus`].
    pub status: String,
    /// The likeliest fault, once it is diagnosed.
    pub fault: Option<String>,
    /// The detection, or the evidence of the diagnosis.
    pub reason: String,
    /// The next step, and who has to take it.
    pub next: String,
}

impl OpenIncident {
    /// The incident in short.
    #[must_use]
    pub fn of(incident: &Incident) -> Self {
        let found = incident.diagnosis.first();
        let noticed = incident.timeline.iter();
        let noticed = noticed
            .filter(|entry| entry.kind == "detection")
            .map(|entry| &entry.text)
            .next();
        let reason = found.and_then(|found| found.evidence.first()).or(noticed);
        Self {
            id: incident.id.clone(),
            status: incident.status.word().to_owned(),
            fault: found.map(|found| found.fault.word().to_owned()),
            reason: reason.cloned().unwrap_or_default(),
            next: evenkeel_fault::analyze::next_step(incident),
        }
    }
}

/// The activity of a service or a server in about the last ten seconds: requests of a service, attempts of a server.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RecentTraffic {
    /// How long the look back is, in seconds; zero before there was anything to compare with.
    pub seconds: f64,
    /// Requests that ended, per second.
    pub requests_per_second: f64,
    /// Of these, those that failed.
    pub failures_per_second: f64,
    /// Bytes sent to servers, heads included, per second.
    pub sent_bytes_per_second: f64,
    /// Bytes received from servers, heads included, per second.
    pub received_bytes_per_second: f64,
    /// Half of them took at most this long.
    pub p50_ms: Option<f64>,
    /// Nine of ten took at most this long.
    pub p90_ms: Option<f64>,
    /// All but one in a hundred took at most this long.
    pub p99_ms: Option<f64>,
}

/// How one service fared in a period. What cannot be known yet is absent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceReport {
    /// The service's name.
    pub service: String,
    /// Incidents that began in the period.
    pub incidents: u32,
    /// Of these, those that are not over.
    pub open: u32,
    /// Mean time to detection, in milliseconds.
    pub mttd_ms: Option<f64>,
    /// Mean time to restore (detection + diagnosis + recovery), in milliseconds.
    pub mttr_ms: Option<f64>,
    /// Half of the incidents were restored within this time.
    pub p50_restore_ms: Option<f64>,
    /// Nine of ten incidents were restored within this time.
    pub p90_restore_ms: Option<f64>,
    /// The share of requests that did not fail; from the first request on.
    pub availability: Option<f64>,
    /// Requests in the period.
    pub requests: u64,
    /// Of these, those that the client saw fail.
    pub failed: u64,
}

/// How long back a `since` like `30d` looks (s, m, h, d or w); `None` if it is no such text.
#[must_use]
pub fn age(since: &str) -> Option<Duration> {
    let unit = match since.as_bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3600,
        b'd' => 86_400,
        b'w' => 7 * 86_400,
        _ => return None,
    };
    let number = since.get(..since.len() - 1)?;
    if number.is_empty() || number.len() > 9 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(Duration::from_secs(number.parse::<u64>().ok()? * unit))
}

/// Whether `since` is a date or a timestamp by its shape, or an [`age`].
pub(crate) fn is_since(since: &str) -> bool {
    const SHAPE: &[u8] = b"dddd-dd-dd";
    let text = since.as_bytes();
    let is_date = text.len() >= SHAPE.len()
        && SHAPE.iter().zip(text).all(|(shape, byte)| match shape {
            b'd' => byte.is_ascii_digit(),
            _ => shape == byte,
        });
    let time = text.get(SHAPE.len()..).unwrap_or_default();
    let is_time = time.is_empty()
        || matches!(time, [b'T' | b't', rest @ ..] if (9..=30).contains(&rest.len())
            && rest.iter().all(|byte| byte.is_ascii_digit() || b":.+-Zz".contains(byte)));
    age(since).is_some() || (is_date && is_time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_parsed_with_their_unit() {
        assert_eq!(age("30d"), Some(Duration::from_secs(30 * 86_400)));
        assert_eq!(age("90m"), Some(Duration::from_secs(5400)));
        for wrong in ["", "d", "1", "-1d", "1.5h", "1y", "9999999999s", "é", "1é"] {
            assert_eq!(age(wrong), None, "{wrong}");
        }
        assert!(age("999999999w").is_some(), "the longest does not overflow");
    }

    #[test]
    fn shapes_of_since() {
        for right in [
            "7d",
            "2026-11-22",
            "2026-11-22T10:00:00Z",
            "2026-11-22T10:00:00.123+02:00",
        ] {
            assert!(is_since(right), "{right}");
        }
        for wrong in [
            "",
            "yesterday",
            "2026-1-2",
            "2026-11-22T",
            "2026-11-22 10:00:00Z",
            "2026-11-22T10:00:00'--",
        ] {
            assert!(!is_since(wrong), "{wrong}");
        }
    }

    #[test]
    fn views_come_back_from_json() {
        let view = ServiceView {
            name: "shop".to_owned(),
            servers: vec![ServerView {
                name: "shop-1".to_owned(),
                pid: Some(7),
                ..ServerView::default()
            }],
            p50_ms: Some(1.25),
            ..ServiceView::default()
        };
        let text = serde_json::to_string(&view).unwrap();
        assert_eq!(serde_json::from_str::<ServiceView>(&text).unwrap(), view);
    }
}
