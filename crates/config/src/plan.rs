//! The plan: a fully validated configuration. Everything that runs is built from it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use evenkeel_balance::BalanceOptions;
use evenkeel_core::{Endpoint, ServiceId};
use evenkeel_fault::policy::{FaultOptions, Mode};
use evenkeel_request::route::{RateRule, Route};
pub use evenkeel_request::service::{StickyBy, StickyKey};
use evenkeel_request::{HashOn, HeaderChanges, HoldOptions, Mirror, Policies};
use evenkeel_tolerate::throttle::SreOptions;
use evenkeel_tolerate::{BreakerOptions, Class, LimitOptions, QueueOptions, ShedOptions};

/// A whole configuration, resolved and validated.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// When the file is read again.
    pub reload: ReloadMode,
    /// Worker threads of the data plane; at least 1.
    pub workers: usize,
    /// The admin API: status and metrics.
    pub admin: AdminPlan,
    /// The incident store.
    pub store: StorePlan,
    /// Logging.
    pub log: LogPlan,
    /// The listeners.
    pub listeners: Vec<ListenerPlan>,
    /// The DNS listeners.
    pub dns: Vec<DnsPlan>,
    /// The services in the order of the file; each has its [`ServiceId`] in `id`.
    pub services: Vec<ServicePlan>,
}

impl Plan {
    /// The service with this id.
    #[must_use]
    pub fn service(&self, id: ServiceId) -> Option<&ServicePlan> {
        // In a plan that was never reloaded, the id is the place in the list.
        let guess = self.services.get(id.0 as usize);
        guess
            .filter(|service| service.id == id)
            .or_else(|| self.services.iter().find(|service| service.id == id))
    }
}

/// When the file is read again while evenkeel runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadMode {
    /// When `evenkeel reload`, the API or SIGHUP asks for it.
    Manual,
    /// Also when the file changes.
    Watch,
}

/// The admin API: status and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminPlan {
    /// The address. Port 0 selects a free port.
    pub address: Endpoint,
    /// The socket file, if it is a Unix domain socket.
    pub socket: SocketPlan,
    /// The file with the token for changes; created with mode 0600 if it does not exist.
    pub token_file: PathBuf,
}

/// The incident store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorePlan {
    /// The SQLite file; `None` keeps them in memory only.
    pub file: Option<PathBuf>,
}

/// Logging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPlan {
    /// The format of a line.
    pub format: LogFormat,
    /// The lowest level that is logged.
    pub level: LogLevel,
    /// Whether each request is logged.
    pub access: bool,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// How important a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something looks wrong.
    Warn,
    /// Something changed.
    Info,
    /// Details of what evenkeel does.
    Debug,
    /// All details.
    Trace,
}

/// An address on which DNS queries are answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsPlan {
    /// Its name.
    pub name: String,
    /// The address, for UDP and TCP.
    pub address: SocketAddr,
    /// The names that are answered.
    pub names: Vec<DnsNamePlan>,
    /// Answers per second to clients of the same network over UDP; 0: no limit.
    pub rate: u32,
}

/// A name that is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsNamePlan {
    /// The name, without a dot at its end, in lower case.
    pub name: String,
    /// The service.
    pub service: ServiceId,
    /// For how long an answer may be kept.
    pub ttl: Duration,
    /// The maximum number of servers in an answer.
    pub answers: usize,
}

/// An address on which traffic is accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerPlan {
    /// Its name.
    pub name: String,
    /// The address.
    pub address: Endpoint,
    /// The socket file, if it is a Unix domain socket.
    pub socket: SocketPlan,
    /// The service for requests that no route matches.
    pub default_service: Option<ServiceId>,
    /// The rules, first match wins.
    pub routes: Vec<Route>,
    /// Limits on the size and the pace of clients' requests.
    pub limits: ListenerLimits,
}

/// Who may connect to a Unix domain socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketPlan {
    /// The permissions of its file; connecting requires permission to write.
    pub mode: u32,
    /// The group of its file, by name or number; that of the process if absent.
    pub group: Option<String>,
}

/// Limits on the size and the pace of clients' requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerLimits {
    /// The whole request head, in bytes.
    pub head_bytes: usize,
    /// Header fields.
    pub headers: usize,
    /// The timeout from the first byte of a request head to its last.
    pub head_time: Duration,
    /// The idle timeout of a kept-alive connection.
    pub idle_time: Duration,
    /// Connections at the same time, over all workers.
    pub connections: usize,
}

/// The maximum number of connected clients with this many descriptors: each may need a second one for its server, and
/// 64 are reserved for everything else: the store, the log, probes, the admin API, pipes of processes.
#[must_use]
pub const fn most_clients(descriptors: u64) -> u64 {
    const OVERHEAD: u64 = 64;
    let most = descriptors.saturating_sub(OVERHEAD) / 2;
    if most == 0 { 1 } else { most }
}

/// A service: a group of equivalent servers, and how they are balanced, monitored and repaired.
#[derive(Debug, Clone, PartialEq)]
pub struct ServicePlan {
    /// Its id: the same for a service of this name in each plan that follows this one. In the first plan it is the place
    /// in the file.
    pub id: ServiceId,
    /// Its name.
    pub name: String,
    /// Its servers in the order of the file; each has the index of its id.
    pub servers: Vec<ServerPlan>,
    /// Which of its servers come from DNS.
    pub discover: Vec<DiscoverPlan>,
    /// Which server takes the next attempt.
    pub balance: BalanceOptions,
    /// The hash key of requests, for hashing policies.
    pub hash_on: HashOn,
    /// How clients stay with their servers, if they do.
    pub sticky: Option<StickyPlan>,
    /// How much it takes.
    pub limit: LimitPlan,
    /// Which requests wait for the first server that comes back, if any do.
    pub hold_requests: Option<HoldOptions>,
    /// The field of responses in which servers say how busy they are, in lower case.
    pub load_header: Option<String>,
    /// How servers are asked how busy they are, if they are.
    pub ask: Option<LoadProbePlan>,
    /// The policies of its requests, unless a route overrides them.
    pub policies: Policies,
    /// When a server is not asked because it has failed lately, if ever.
    pub breaker: Option<BreakerOptions>,
    /// Changes of each request header.
    pub request_headers: HeaderChanges,
    /// Changes of each response header.
    pub response_headers: HeaderChanges,
    /// Mirroring of requests to another service.
    pub mirror: Option<Mirror>,
    /// Detection, diagnosis, recovery, objective.
    pub fault: FaultOptions,
}

impl ServicePlan {
    /// The server with this index.
    #[must_use]
    pub fn server(&self, index: u32) -> Option<&ServerPlan> {
        let guess = self.servers.get(index as usize);
        guess
            .filter(|server| server.index == index)
            .or_else(|| self.servers.iter().find(|server| server.index == index))
    }

    /// Whether `server` takes no request, as a new server, before the fault path says that it is ready: its process has yet to be
    /// started. With `recover.mode = "off"` nothing is taken out of rotation.
    #[must_use]
    pub fn starts_out_of_rotation(&self, server: &ServerPlan) -> bool {
        matches!(server.managed, ManagedPlan::Child(_)) && self.fault.recover.mode != Mode::Off
    }
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerPlan {
    /// The index of its id: the same for a server of this name in each plan that follows this one. In the first plan it is
    /// the place in the service's list.
    pub index: u32,
    /// Its name, unique in the service.
    pub name: String,
    /// Its address, if it is known now; one from DNS may come, change and go.
    pub address: Option<Endpoint>,
    /// Its weight, at least 1.
    pub weight: u32,
    /// Its tier: 0 is primary, 1 is backup.
    pub tier: u8,
    /// Whether it is in the zone in which evenkeel runs.
    pub near: bool,
    /// The most requests that it has at once; 0: no bound.
    pub max_requests: u32,
    /// How restart and stop reach it.
    pub managed: ManagedPlan,
}

/// How servers are asked how busy they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadProbePlan {
    /// The path of the request.
    pub path: String,
    /// The `Host` header: the same as that of the service's HTTP probes.
    pub host: String,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// How clients stay with their servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StickyPlan {
    /// The cookie or header field with the client's server.
    pub by: StickyBy,
    /// The file with the key.
    pub key_file: PathBuf,
    /// The key; empty until the file has been read, which is not this crate's work.
    pub key: StickyKey,
}

/// How much a service takes.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitPlan {
    /// How each server's bound is found while it runs, if it is.
    pub adaptive: Option<LimitOptions>,
    /// The queue while all servers are at their limit.
    pub queue: QueueOptions,
    /// The field of requests that says how much they matter, in lower case.
    pub class_header: Option<String>,
    /// How much requests matter that do not say it.
    pub class: Class,
    /// How much of the servers' bounds each class may use.
    pub shares: ShedOptions,
    /// How many requests a second may come.
    pub rate: Option<RateRule>,
    /// When a part of the requests is refused because the servers refuse most.
    pub throttle: Option<SreOptions>,
}

/// How the waits before retries grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackoffGrowth {
    /// Doubled each time.
    Exponential,
    /// By the first one each time.
    Linear,
    /// Not at all.
    Fixed,
}

/// How the waits before retries are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackoffJitter {
    /// Not at all.
    None,
    /// From nothing to the whole wait.
    Full,
    /// From half the wait to the whole.
    Equal,
    /// From the first wait to three times the one before.
    Decorrelated,
}

/// How an adaptive limit is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlgorithmChoice {
    /// By how long answers take, compared with the long run.
    Gradient2,
    /// By how long answers take, compared with the fastest.
    Vegas,
    /// By failures and timeouts.
    Aimd,
}

/// A group of servers that come from DNS: slots in the list of a service's servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoverPlan {
    /// The queried name.
    pub name: String,
    /// The port of all of them; without one, SRV records are queried.
    pub port: Option<u16>,
    /// The name of the servers, with a number appended if there are several.
    pub label: String,
    /// The index of the server in each slot; at least one.
    pub servers: Vec<u32>,
    /// The name servers; those of the machine if empty.
    pub resolver: Vec<SocketAddr>,
    /// Which address records are queried.
    pub family: AddressFamily,
    /// A shorter time to live is taken as this.
    pub least: Duration,
    /// A longer one as this.
    pub most: Duration,
    /// How long an answer that would remove too many must hold.
    pub hold: Duration,
    /// Weight and tier, if they are not the answer's to say: a listed server that follows its name.
    pub fixed: Option<(u32, u8)>,
}

impl DiscoverPlan {
    /// The name as it was written, with its port.
    #[must_use]
    pub fn written(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.name),
            None => self.name.clone(),
        }
    }

    /// The name of the server in a slot.
    #[must_use]
    pub fn slot_name(&self, slot: u32) -> String {
        match self.fixed {
            Some(_) => self.label.clone(),
            None => format!("{}-{}", self.label, slot + 1),
        }
    }
}

/// Kinds of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressFamily {
    /// Both.
    Any,
    /// A records.
    Ipv4,
    /// AAAA records.
    Ipv6,
}

/// How a server is restarted and stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManagedPlan {
    /// evenkeel runs it.
    Child(Box<ChildPlan>),
    /// Commands of the user's.
    Commands {
        /// Restarts it.
        restart: Option<Vec<String>>,
        /// Stops it.
        stop: Option<Vec<String>>,
    },
    /// Not at all.
    Nothing,
}

/// A process that evenkeel starts and supervises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildPlan {
    /// Program and arguments, placeholders already replaced.
    pub command: Vec<String>,
    /// Working directory; evenkeel's own if absent.
    pub directory: Option<PathBuf>,
    /// Added to the environment.
    pub environment: Vec<(String, String)>,
    /// The signal that asks it to stop, by number.
    pub stop_signal: i32,
    /// How long it may take to stop before it is killed.
    pub stop_wait: Duration,
    /// How the service goes back to the version that ran before, if it can.
    pub roll_back: Option<RollBackPlan>,
}

/// How a service goes back to the version that ran before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollBackPlan {
    /// The command that does it; `{service}`, `{server}`, `{address}` and `{previous}` are yet to be replaced. Without one the copy is
    /// started in place of the program.
    pub command: Option<Vec<String>>,
    /// The folder in which a copy of the program that was verified last is kept, if it is.
    pub keep_in: Option<PathBuf>,
}
