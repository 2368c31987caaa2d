//! The user's options for detection, diagnosis and recovery. Defaults belong to `config`.

use std::time::Duration;

use crate::kind::FaultKind;

/// All options of one service for the fault path.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultOptions {
    /// How faults are noticed.
    pub detect: DetectOptions,
    /// How long the discriminating probes of a diagnosis may take together.
    pub diagnose_timeout: Duration,
    /// Recovery options.
    pub recover: RecoverOptions,
    /// The service level objective.
    pub objective: Option<Objective>,
}

/// How faults are noticed.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectOptions {
    /// The active probe.
    pub probe: ProbeOptions,
    /// This many failed attempts in a row. 0 turns it off.
    pub consecutive_failures: u32,
    /// Too many failed attempts among the recent ones.
    pub failure_ratio: Option<RatioOptions>,
    /// Much slower than its peers.
    pub slow: Option<SlowServerOptions>,
}

/// The request of a probe, and the expected response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeKind {
    /// A connection is enough.
    Tcp,
    /// `GET path`, answered with a status within `expect`.
    Http {
        /// The path, with a leading slash.
        path: String,
        /// The `Host` header; [`ProbeKind::DEFAULT_HOST`] if absent.
        host: Option<String>,
        /// The lowest and the highest status that pass.
        expect: (u16, u16),
    },
}

impl ProbeKind {
    /// The `Host` of requests that nothing names one for: what applications that check it accept.
    pub const DEFAULT_HOST: &'static str = "localhost";
}

/// The active probe of a service's servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeOptions {
    /// The request, and the expected response.
    pub kind: ProbeKind,
    /// Between the starts of two probes of one server.
    pub every: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// This many failures in a row are a detection.
    pub fall: u32,
    /// This many passes in a row end it.
    pub rise: u32,
    /// Between two probes while the server's state is in doubt.
    pub fast: Duration,
}

/// Failures among the recent attempts: detected when the lower bound of the 95 % interval of the ratio is above `above`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RatioOptions {
    /// The ratio, 0 to 1.
    pub above: f64,
    /// How far back.
    pub window: Duration,
    /// Fewer attempts in the window say nothing.
    pub minimum_attempts: u32,
}

/// Slow compared with peers: detected when the median latency in the window is above `times_peers` × the peers' median.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlowServerOptions {
    /// How many times slower than the median of its peers.
    pub times_peers: f64,
    /// How far back.
    pub window: Duration,
    /// Fewer latencies in the window say nothing.
    pub minimum_attempts: u32,
    /// Each server gets requests of its own (hashing, sticky clients): their latencies differ by workload, and only
    /// those of probes are compared.
    pub mixes_differ: bool,
}

/// Who decides about costly actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// evenkeel acts.
    Automatic,
    /// evenkeel proposes, an operator approves.
    Ask,
    /// evenkeel writes down what it would do.
    DryRun,
    /// evenkeel only detects, diagnoses and records.
    Off,
}

/// Options for recovery.
#[derive(Debug, Clone, PartialEq)]
pub struct RecoverOptions {
    /// The mode.
    pub mode: Mode,
    /// Never act on more servers than leave this share in service.
    pub keep_serving: f64,
    /// So many running servers of a service may be under a costly action (restart, stop, exec) at a time.
    pub at_once: u32,
    /// How long a server that takes connections and answers nothing stays out of rotation before it is restarted, until it is
    /// known how long its pauses last.
    pub hang_wait: Duration,
    /// Actions that change a server (restart, stop, roll-back, exec), per server.
    pub limit: ActionLimit,
    /// Between restarts of one server; the first is immediate.
    pub backoff: RestartBackoff,
    /// How a repair is verified.
    pub verify: VerifyOptions,
    /// The user's playbooks, which come before the built-in ones.
    pub playbooks: Vec<Playbook>,
}

/// At most `actions` within `within`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActionLimit {
    /// How many.
    pub actions: u32,
    /// How far back.
    pub within: Duration,
}

/// The delay before restart n (from 0): none, then `base × 2^(n-1)` up to `cap`; n starts again after `reset_after` without a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartBackoff {
    /// Before the second restart.
    pub base: Duration,
    /// At most.
    pub cap: Duration,
    /// Quiet time that forgives.
    pub reset_after: Duration,
}

/// Verification: a number of consecutive probes pass, then a trickle of real requests succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyOptions {
    /// Probes in a row that must pass.
    pub probes: u32,
    /// Between two of them.
    pub every: Duration,
    /// All of it must be done within this time.
    pub within: Duration,
}

/// Which actions for which faults, in which order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Playbook {
    /// The faults it is for.
    pub when: Vec<FaultKind>,
    /// The actions, in order.
    pub actions: Vec<Action>,
}

/// One thing that recovery does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The server takes no new attempts.
    Eject,
    /// The same, and attempts in flight may finish first.
    Drain,
    /// The server takes attempts again.
    Restore,
    /// Its process is replaced.
    Restart,
    /// Its process is stopped.
    Stop,
    /// The service goes back to the version that ran before.
    RollBack,
    /// The servers behind take over: of a service whose first tier fails, or of this server alone.
    FailOver,
    /// More than servers can work on is answered 503, what matters least first.
    Shed,
    /// Requests are answered for while servers fail, by the service's fallback or else with 503, but for trials.
    FallBack,
    /// A command is run; `{service}`, `{server}`, `{address}`, `{fault}` and `{incident}` are replaced in its arguments.
    Exec(Vec<String>),
    /// Nothing, for a while.
    Wait(Duration),
    /// It is escalated to an operator, and the incident says so.
    Escalate,
}

impl Action {
    /// Its name in configuration, incidents and metrics.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Eject => "eject",
            Self::Drain => "drain",
            Self::Restore => "restore",
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::RollBack => "roll-back",
            Self::FailOver => "fail-over",
            Self::Shed => "shed",
            Self::FallBack => "fall-back",
            Self::Exec(_) => "exec",
            Self::Wait(_) => "wait",
            Self::Escalate => "escalate",
        }
    }
}

/// A service level objective.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// Share of requests that succeed, 0 to 1.
    pub availability: f64,
    /// A quantile of the response time and what it stays under.
    pub latency: Option<(f64, Duration)>,
    /// The period over which it is promised.
    pub window: Duration,
}
