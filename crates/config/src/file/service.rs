//! A service, as typed: its servers, balancing, timeouts, objective, and how evenkeel runs it.

use toml::de::DeValue;

use super::address::{Address, ServerAddress};
use super::ask::LoadProbeConfig;
use super::breaker::BreakerConfig;
use super::choice::{BalancePolicy, StopSignalWord};
use super::detect::{DetectConfig, DiagnoseConfig};
use super::discover::DiscoverConfig;
use super::fallback::FallbackConfig;
use super::hash::HashOnText;
use super::headers::HeadersConfig;
use super::hedge::HedgeConfig;
use super::inject::InjectConfig;
use super::limit::LimitConfig;
use super::mirror::MirrorConfig;
use super::quantity::{DurationValue, Size};
use super::recover::RecoverConfig;
use super::retry::RetryConfig;
use super::shape::ValueShape;
use super::spread::{StickyConfig, SubsetConfig, TierKind};
use super::value::{
    AnyText, Boolean, Integer, List, Map, NonEmptyList, NonEmptyText, Number, Share,
};
use super::{FileValue, Located, Value, read_at, table, wrong_type};
use crate::defaults;
use crate::diagnostic::Diagnostics;

table! {
    /// A service: a group of equivalent servers, and how they are balanced, monitored and repaired.
    pub struct ServiceConfig {
        /// Its servers: addresses, or tables with more settings. A service needs `servers`, `run` or `discover`.
        servers: List<ServerEntry>;
        /// How its servers are started, if evenkeel runs them itself.
        run: RunConfig;
        /// Discovers its servers through DNS.
        discover: DiscoverConfig;
        /// Which server takes the next attempt.
        balance: BalanceConfig;
        /// Timeouts of each step of a request.
        timeout: TimeoutConfig;
        /// When a failed attempt is retried.
        retry: RetryConfig;
        /// Hedging: a second attempt while the first one is late. Off without this table.
        hedge: HedgeConfig [off];
        /// Circuit breakers for servers that have failed recently. Off without this table.
        breaker: BreakerConfig [off];
        /// Changes of the request header sent to servers.
        request_headers: HeadersConfig;
        /// Changes of the response header sent to clients. evenkeel's own responses are not changed.
        response_headers: HeadersConfig;
        /// Mirroring of requests to another service.
        mirror: MirrorConfig;
        /// The response that clients get when no server answers.
        fallback: FallbackConfig [off];
        /// Fault injection. Off without this table.
        inject: InjectConfig [off];
        /// How faults are detected.
        detect: DetectConfig;
        /// How long a diagnosis may take.
        diagnose: DiagnoseConfig;
        /// How faults are repaired.
        recover: RecoverConfig;
        /// Limits and queueing of requests.
        limit: LimitConfig;
        /// Holds requests while no server is left and at least one is being repaired, until the first one returns. Off
        /// without this table.
        hold_requests: HoldRequestsConfig [off];
        /// The service level objective. Without it, there is no error budget.
        objective: ObjectiveConfig;
    }
    later {}
}

table! {
    /// Requests that wait for a server to return. Requests above the limits fail at once, as without this table.
    pub struct HoldRequestsConfig {
        /// How long a request may wait in total; never longer than `timeout.total`.
        up_to: DurationValue = defaults::HOLD_UP_TO;
        /// The maximum number of waiting requests.
        requests: Integer<1, 1_000_000> = defaults::HOLD_REQUESTS;
        /// The maximum size of all waiting requests, including the body data that has arrived.
        bytes: Size<1_024, 1_099_511_627_776> = defaults::HOLD_BYTES;
    }
    later {}
}

table! {
    /// One server, with further settings.
    pub struct ServerConfig {
        /// Its name, `[a-z0-9-]+`. Default: host and port of its address, with dashes.
        name: NonEmptyText;
        /// `HOST:PORT`, optionally with `http://`. The server follows the first address of a name.
        address: ServerAddress [required];
        /// Its weight relative to the others, for weighted policies.
        weight: Integer<1, 1_000> = defaults::SERVER_WEIGHT;
        /// `primary` (0) is used first; traffic that a tier cannot carry goes to the next one: `backup` (1), 2, 3, …
        tier: TierKind = defaults::SERVER_TIER;
        /// Its zone. Servers in evenkeel's own `zone` are preferred within their tier.
        zone: NonEmptyText;
        /// The maximum number of its concurrent requests. Default: `limit.concurrency`, or no limit.
        max_requests: Integer<1, 1_000_000>;
        /// How it is restarted and stopped. Without it, evenkeel can only move traffic away from it.
        managed_by: ManagedByConfig;
    }
    later {}
}

table! {
    /// How a server is restarted and stopped.
    pub struct ManagedByConfig {
        /// By your commands.
        exec: ManagedExecConfig;
    }
    later { "systemd", "docker", "kubernetes" }
}

table! {
    /// Commands that restart and stop a server: program and arguments, without a shell. `{service}`, `{server}` and
    /// `{address}` are replaced.
    pub struct ManagedExecConfig {
        /// Restarts it.
        restart: NonEmptyList<NonEmptyText>;
        /// Stops it.
        stop: NonEmptyList<NonEmptyText>;
    }
    later {}
}

table! {
    /// How evenkeel starts and supervises the servers itself. They are named after the service: `shop-1`, `shop-2`, …
    pub struct RunConfig {
        /// Program and arguments, without a shell. `{port}` and `{name}` are replaced.
        command: NonEmptyList<NonEmptyText> [required];
        /// One process is started per port; it must listen on that port of 127.0.0.1.
        ports: NonEmptyList<Integer<1, 65_535>> [required];
        /// The working directory, relative to the directory of this file. Default: evenkeel's own.
        directory: NonEmptyText;
        /// Added to the environment. `{port}` and `{name}` are replaced in the values.
        environment: Map<AnyText>;
        /// How a process is stopped.
        stop: StopConfig;
        /// The command that rolls back to the previous version when a new one cannot start: program and arguments,
        /// without a shell. `{service}`, `{server}`, `{address}` and `{previous}` are replaced; the last one is a copy
        /// of the program that was verified last. It is run once per incident, then the processes are started as usual.
        roll_back: NonEmptyList<NonEmptyText>;
        /// Copies the program whenever a server was verified with it, and starts the copy in place of a new version
        /// that cannot start, until the program's file is changed again. The program is the first word of the command
        /// if it contains a slash, else the first argument that is a file, such as a script. At most 1 GiB.
        keep_previous: Boolean = defaults::KEEP_PREVIOUS;
    }
    later {}
}

table! {
    /// How a process is stopped.
    pub struct StopConfig {
        /// The signal.
        signal: StopSignalWord = defaults::STOP_SIGNAL;
        /// How long to wait before it is killed.
        wait: DurationValue<0> = defaults::STOP_WAIT;
    }
    later {}
}

table! {
    /// Which server takes the next attempt.
    pub struct BalanceConfig {
        /// The policy.
        policy: BalancePolicy = defaults::POLICY;
        /// What `ring-hash` and `maglev` hash: `source-ip`, `host`, `path`, `query:NAME`, `header:NAME` or
        /// `cookie:NAME`. `source-ip/24/56` takes the first 24 bits of IPv4 addresses and the first 56 of IPv6. A
        /// request without the key goes to any server.
        hash_on: HashOnText = defaults::HASH_ON;
        /// For `ring-hash`: bounded loads. A server that would have more than this many times its fair share of the
        /// attempts in flight is skipped for the next one on the ring. 1.25 is usual; without it a popular key can
        /// overload its server.
        bounded_load: Number<1_000_000, 100_000_000>;
        /// For `maglev`: the size of its table, a prime number at least a hundred times the number of servers.
        maglev_table: Integer<2, 5_000_011> = defaults::MAGLEV_TABLE;
        /// How long a restored server takes to reach its full share. `0s` turns slow start off.
        slow_start: DurationValue<0> = defaults::SLOW_START;
        /// The panic threshold: below this share of healthy servers, all are used except those known to be down. 0
        /// turns panic off.
        panic_below: Share = defaults::PANIC_BELOW;
        /// The overprovisioning factor: a tier carries all of its traffic until less than 1 / this of its servers are
        /// healthy; then the excess goes to the next tier in proportion, and likewise from servers in evenkeel's own
        /// zone to others.
        overprovisioning: Number<1_000_000, 10_000_000> = defaults::OVERPROVISIONING;
        /// Sticky sessions: a client stays with the server that it was sent to first.
        sticky: StickyConfig [off];
        /// Uses only a part of a large number of servers.
        subset: SubsetConfig;
        /// The response header field with which servers report their load: `endpoint-load-metrics` with an ORCA report
        /// (`TEXT` or `JSON`), or any other field with a number from 0 to 1 or a percentage. It is not passed to
        /// clients.
        load_header: NonEmptyText;
        /// Load probes for the policy `prequal`.
        prequal: LoadProbeConfig;
    }
    later {}
}

table! {
    /// Timeouts of each step of a request.
    pub struct TimeoutConfig {
        /// Establishing a connection to a server.
        connect: DurationValue = defaults::TIMEOUT_CONNECT;
        /// From the end of the request to the response head.
        attempt: DurationValue = defaults::TIMEOUT_ATTEMPT;
        /// The request including all retries, until a response head is committed.
        total: DurationValue = defaults::TIMEOUT_TOTAL;
        /// The idle timeout: no byte in either direction. The only timeout for bodies and tunnels.
        idle: DurationValue = defaults::TIMEOUT_IDLE;
        /// The request header field for deadlines: clients say how long they wait, and servers get what is left of that
        /// or of `total`. `grpc-timeout`, or any other field with whole milliseconds. It can shorten `total`, never
        /// extend it.
        deadline_header: NonEmptyText;
    }
    later {}
}

table! {
    /// The service level objective.
    pub struct ObjectiveConfig {
        /// The share of requests that succeed.
        availability: Number<0, 999_999> [required];
        /// A target for a quantile of the response time.
        latency: LatencyConfig;
        /// The period of the objective.
        window: DurationValue<60_000> = defaults::OBJECTIVE_WINDOW;
    }
    later {}
}

table! {
    /// A target for the response time.
    pub struct LatencyConfig {
        /// The quantile; 0.99 concerns 99 of 100 requests.
        quantile: Number<1, 999_999> [required];
        /// The upper bound of the quantile.
        under: DurationValue [required];
    }
    later {}
}

/// A server: an address, or a table.
#[derive(Debug, Clone, Copy)]
pub struct ServerEntry;

impl FileValue for ServerEntry {
    type Out = ServerConfig;

    fn shape() -> ValueShape {
        ValueShape::Any(vec![ServerAddress::shape(), ServerConfig::shape()])
    }

    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<ServerConfig> {
        match value.get_ref() {
            DeValue::Table(_) => ServerConfig::read(value, out),
            DeValue::String(_) => {
                let address: Located<Address> = read_at::<ServerAddress>(value.span(), value, out)?;
                Some(ServerConfig {
                    address: Some(address),
                    ..ServerConfig::default()
                })
            }
            _ => {
                let help = "for example \"127.0.0.1:9001\" or { name = \"one\", address = \"127.0.0.1:9001\" }";
                out.push(wrong_type(value, "an address or a table").help(help));
                None
            }
        }
    }
}
