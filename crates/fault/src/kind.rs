//! The fixed list of fault kinds.

use serde::{Deserialize, Serialize};

/// The kind of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The process ended, by an exit status or a signal.
    ProcessCrashed,
    /// The process ends again and again soon after its start.
    CrashLoop,
    /// The kernel killed the process for want of memory.
    OutOfMemory,
    /// The process lives and its socket takes connections, but it never answers.
    ProcessHung,
    /// A process that is none of the server's own listens on its port.
    PortTaken,
    /// The process lives (or its machine does), but nothing listens at the address.
    NotListening,
    /// The process cannot be started, or ends before it was ever ready.
    CannotStart,
    /// The address cannot be reached.
    Unreachable,
    /// Its name does not resolve.
    DnsFailure,
    /// The TLS handshake fails.
    TlsFailure,
    /// It answers, too often with errors.
    ErrorBurst,
    /// A change of version or configuration came just before.
    BadDeploy,
    /// A certain request crashes servers.
    PoisonRequest,
    /// Something that all servers depend on fails.
    DependencyFailure,
    /// More work than capacity.
    Overload,
    /// It answers, much slower than its peers.
    SlowServer,
    /// Its memory grows without end.
    MemoryLeak,
    /// It runs out of file descriptors.
    DescriptorExhaustion,
    /// No space left on its disk.
    DiskFull,
    /// Only this balancer cannot reach it.
    PartitionedBalancer,
    /// It changes between well and ill too often.
    Flapping,
    /// Its probe is wrong: probes fail while requests succeed.
    BadProbe,
    /// Requests of a route fail on all servers, and all others succeed.
    BrokenRoute,
    /// The machine's calendar clock was set, or is not that of others.
    ClockSkew,
    /// None of the above is supported by the evidence.
    Unknown,
}

impl FaultKind {
    /// All kinds, in the order of the documentation.
    pub const ALL: [Self; 25] = [
        Self::ProcessCrashed,
        Self::CrashLoop,
        Self::OutOfMemory,
        Self::ProcessHung,
        Self::PortTaken,
        Self::NotListening,
        Self::CannotStart,
        Self::Unreachable,
        Self::DnsFailure,
        Self::TlsFailure,
        Self::ErrorBurst,
        Self::BadDeploy,
        Self::PoisonRequest,
        Self::DependencyFailure,
        Self::Overload,
        Self::SlowServer,
        Self::MemoryLeak,
        Self::DescriptorExhaustion,
        Self::DiskFull,
        Self::PartitionedBalancer,
        Self::Flapping,
        Self::BadProbe,
        Self::BrokenRoute,
        Self::ClockSkew,
        Self::Unknown,
    ];

    /// Its name in configuration, incidents and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::ProcessCrashed => "process-crashed",
            Self::CrashLoop => "crash-loop",
            Self::OutOfMemory => "out-of-memory",
            Self::ProcessHung => "process-hung",
            Self::PortTaken => "port-taken",
            Self::NotListening => "not-listening",
            Self::CannotStart => "cannot-start",
            Self::Unreachable => "unreachable",
            Self::DnsFailure => "dns-failure",
            Self::TlsFailure => "tls-failure",
            Self::ErrorBurst => "error-burst",
            Self::BadDeploy => "bad-deploy",
            Self::PoisonRequest => "poison-request",
            Self::DependencyFailure => "dependency-failure",
            Self::Overload => "overload",
            Self::SlowServer => "slow-server",
            Self::MemoryLeak => "memory-leak",
            Self::DescriptorExhaustion => "descriptor-exhaustion",
            Self::DiskFull => "disk-full",
            Self::PartitionedBalancer => "partitioned-balancer",
            Self::Flapping => "flapping",
            Self::BadProbe => "bad-probe",
            Self::BrokenRoute => "broken-route",
            Self::ClockSkew => "clock-skew",
            Self::Unknown => "unknown",
        }
    }

    /// Whether this version ever diagnoses it of a server or a service; a playbook may name the others, too. Of evenkeel itself some
    /// of those are diagnosed, and no playbook applies.
    #[must_use]
    pub const fn is_diagnosed(self) -> bool {
        !matches!(
            self,
            Self::OutOfMemory
                | Self::DnsFailure
                | Self::TlsFailure
                | Self::MemoryLeak
                | Self::DiskFull
                | Self::PartitionedBalancer
                | Self::ClockSkew
                | Self::Flapping
        )
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

impl std::fmt::Display for FaultKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.word())
    }
}
