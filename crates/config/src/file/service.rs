//! A service, as typed: its servers, balancing, timeouts, objective, and how evenkeel runs it.

use toml::de::DeValue;

use super::address::{Address, ServerAddress};
use super::ask::Ask;
use super::breaker::Breaker;
use super::choice::{BalancePolicy, StopSignalWord};
use super::detect::{Detect, Diagnose};
use super::discover::Discover;
use super::fallback::Fallback;
use super::hash::HashOnText;
use super::headers::Headers;
use super::hedge::Hedge;
use super::inject::Inject;
use super::limit::Limit;
use super::mirror::Mirror;
use super::quantity::{Size, Time};
use super::recover::Recover;
use super::retry::Retry;
use super::shape::Shape;
use super::spread::{Sticky, Subset, TierKind};
use super::value::{AnyText, Filled, Flag, List, Map, Number, Share, Text, Whole};
use super::{At, Kind, Value, read_at, table, wrong_type};
use crate::defaults;
use crate::mistake::Mistakes;

table! {
    /// A service: servers that can answer the same requests, and how they are looked after.
    pub struct Service {
        /// Its servers: addresses, or tables with more about each. A service needs `servers`, `run` or `discover`.
        servers: List<ServerEntry>;
        /// How its servers are started, if evenkeel runs them itself.
        run: Run;
        /// Where in DNS its servers are found.
        discover: Discover;
        /// Which server takes the next attempt.
        balance: Balance;
        /// How long each step of a request may take.
        timeout: Timeout;
        /// When an attempt that ended badly is tried again.
        retry: Retry;
        /// Whether a second attempt is made while the first one is late. Off without this table.
        hedge: Hedge;
        /// Whether a server that has failed lately is asked at all. Off without this table.
        breaker: Breaker;
        /// Changes of the header of every request, as servers get it.
        request_headers: Headers;
        /// Changes of the header of every response, as the client gets it. Answers that evenkeel makes itself stay as they are.
        response_headers: Headers;
        /// Which requests are sent to another service as well.
        mirror: Mirror;
        /// What clients get when no server answers.
        fallback: Fallback;
        /// Faults on purpose. Off without this table.
        inject: Inject;
        /// How faults are noticed.
        detect: Detect;
        /// How long a diagnosis may take.
        diagnose: Diagnose;
        /// What is done about a fault.
        recover: Recover;
        /// How many requests the servers get at once, and who waits.
        limit: Limit;
        /// Which requests wait for the first server that comes back, while none is left and at least one is being repaired. Off without this
        /// table.
        hold_requests: HoldRequests;
        /// What the service promises. Without it nothing is promised, and no error budget is kept.
        objective: Objective;
    }
    later {}
}

table! {
    /// Requests that wait for a server to come back. What finds no room fails at once, as without this table.
    pub struct HoldRequests {
        /// How long each may wait, in all; never longer than `timeout.total`.
        up_to: Time = defaults::HOLD_UP_TO;
        /// How many may wait at a time.
        requests: Whole<1, 1_000_000> = defaults::HOLD_REQUESTS;
        /// How many bytes they may take at a time, with what has come of their bodies.
        bytes: Size<1_024, 1_099_511_627_776> = defaults::HOLD_BYTES;
    }
    later {}
}

table! {
    /// One server, with more than its address.
    pub struct Server {
        /// Its name, `[a-z0-9-]+`. Default: host and port of its address, with dashes.
        name: Text;
        /// `HOST:PORT`, also with `http://` before it. The server follows the first address of a name.
        address: ServerAddress [required];
        /// How much it takes beside the others, for policies that weigh.
        weight: Whole<1, 1_000> = defaults::SERVER_WEIGHT;
        /// `primary` (0) is used first; what a tier cannot carry goes to the next one: `backup` (1), 2, 3, …
        tier: TierKind = defaults::SERVER_TIER;
        /// The zone that it is in. Servers in evenkeel's own `zone` are used before others of their tier.
        zone: Text;
        /// The most requests that it has at once. Default: `limit.concurrency`, or no bound.
        max_requests: Whole<1, 1_000_000>;
        /// How restart and stop reach it. Without it, only traffic can be moved away from it.
        managed_by: ManagedBy;
    }
    later {}
}

table! {
    /// How restart and stop reach a server.
    pub struct ManagedBy {
        /// By commands of yours.
        exec: ManagedExec;
    }
    later { "systemd", "docker", "kubernetes" }
}

table! {
    /// Commands that restart and stop a server: program and arguments, without a shell. `{service}`, `{server}` and
    /// `{address}` are replaced.
    pub struct ManagedExec {
        /// Restarts it.
        restart: Filled<Text>;
        /// Stops it.
        stop: Filled<Text>;
    }
    later {}
}

table! {
    /// How evenkeel starts and supervises the servers itself. They are named after the service: `shop-1`, `shop-2`, …
    pub struct Run {
        /// Program and arguments, without a shell. `{port}` and `{name}` are replaced.
        command: Filled<Text> [required];
        /// One process is started for each; it must listen on 127.0.0.1 at that port.
        ports: Filled<Whole<1, 65_535>> [required];
        /// The working directory, relative to the folder of this file. Default: evenkeel's own.
        directory: Text;
        /// Added to the environment. `{port}` and `{name}` are replaced in the values.
        environment: Map<AnyText>;
        /// How a process is asked to stop.
        stop: Stop;
        /// Goes back to the version that ran before, when a new one cannot start: program and arguments, without a shell.
        /// `{service}`, `{server}`, `{address}` and `{previous}` are replaced; the last is a copy of the program that was verified
        /// last. It is run once in an incident, then the processes are started as before.
        roll_back: Filled<Text>;
        /// Keeps a copy of the program whenever a server was verified with it, and starts that in place of a new one that cannot
        /// start, until the program's file is changed again. The program is the first word of the command if there is a slash in
        /// it, else the first argument that is a file, as of a script. 1 GiB at most.
        keep_previous: Flag = defaults::KEEP_PREVIOUS;
    }
    later {}
}

table! {
    /// How a process is asked to stop.
    pub struct Stop {
        /// The signal.
        signal: StopSignalWord = defaults::STOP_SIGNAL;
        /// How long it may take before it is killed.
        wait: Time<0> = defaults::STOP_WAIT;
    }
    later {}
}

table! {
    /// Which server takes the next attempt.
    pub struct Balance {
        /// The policy.
        policy: BalancePolicy = defaults::POLICY;
        /// What `ring-hash` and `maglev` hash: `source-ip`, `host`, `path`, `query:NAME`, `header:NAME` or `cookie:NAME`.
        /// `source-ip/24/56` takes the first 24 bits of IPv4 addresses and the first 56 of IPv6. A request that has
        /// nothing of the kind goes to any server.
        hash_on: HashOnText = defaults::HASH_ON;
        /// For `ring-hash`: a server that would have more attempts in flight than this many times its fair part of all is
        /// passed over for the next one on the ring. 1.25 is usual; without it a popular key can overrun its server.
        bounded_load: Number<1_000_000, 100_000_000>;
        /// For `maglev`: places in its table, a prime number of at least a hundred times as many as there are servers.
        maglev_table: Whole<2, 5_000_011> = defaults::MAGLEV_TABLE;
        /// How long a restored server takes to get back to its full share. `0s` turns it off.
        slow_start: Time<0> = defaults::SLOW_START;
        /// Below this share of healthy servers, all are used but those known to be down. 0 turns it off.
        panic_below: Share = defaults::PANIC_BELOW;
        /// A tier carries all of its traffic until less than 1 / this of its servers are healthy; what it cannot carry goes to
        /// the next tier in proportion, and from servers in evenkeel's own zone to others in the same way.
        overprovisioning: Number<1_000_000, 10_000_000> = defaults::OVERPROVISIONING;
        /// A client stays with the server that it was sent to first.
        sticky: Sticky;
        /// Of very many servers only some are used.
        subset: Subset;
        /// A field of responses in which servers say how busy they are: `endpoint-load-metrics` with an ORCA report (`TEXT` or
        /// `JSON`), or any other with a number from 0 to 1 or a percentage. Clients do not get it.
        load_header: Text;
        /// Servers are asked how busy they are, for the policy `prequal`.
        prequal: Ask;
    }
    later {}
}

table! {
    /// How long each step of a request may take.
    pub struct Timeout {
        /// Until a connection to a server is established.
        connect: Time = defaults::TIMEOUT_CONNECT;
        /// From the request fully written to the response's head.
        attempt: Time = defaults::TIMEOUT_ATTEMPT;
        /// The request with all its retries, until a response's head is committed.
        total: Time = defaults::TIMEOUT_TOTAL;
        /// Without a byte in either direction; bodies and tunnels obey this one only.
        idle: Time = defaults::TIMEOUT_IDLE;
        /// A field of requests in which clients say how long they wait, and in which servers are told how much of that, or of `total`, is
        /// left: `grpc-timeout`, or any other with whole milliseconds. It shortens `total`, and never lengthens it.
        deadline_header: Text;
    }
    later {}
}

table! {
    /// What the service promises.
    pub struct Objective {
        /// The share of requests that succeed.
        availability: Number<0, 999_999> [required];
        /// A quantile of the response time, and what it stays under.
        latency: Latency;
        /// The period over which it is promised.
        window: Time<60_000> = defaults::OBJECTIVE_WINDOW;
    }
    later {}
}

table! {
    /// A promise about the response time.
    pub struct Latency {
        /// The quantile: 0.99 is the time that 99 of 100 requests stay under.
        quantile: Number<1, 999_999> [required];
        /// What it stays under.
        under: Time [required];
    }
    later {}
}

/// A server: an address, or a table.
#[derive(Debug, Clone, Copy)]
pub struct ServerEntry;

impl Kind for ServerEntry {
    type Out = Server;

    fn shape() -> Shape {
        Shape::Any(vec![ServerAddress::shape(), Server::shape()])
    }

    fn read(value: &Value<'_>, out: &mut Mistakes) -> Option<Server> {
        match value.get_ref() {
            DeValue::Table(_) => Server::read(value, out),
            DeValue::String(_) => {
                let address: At<Address> = read_at::<ServerAddress>(value.span(), value, out)?;
                Some(Server {
                    address: Some(address),
                    ..Server::default()
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
