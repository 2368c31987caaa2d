//! A service, as typed: its servers, balancing, timeouts, retries, objective, and how evenkeel runs it.

use toml::de::DeValue;

use super::address::{Address, ServerAddress};
use super::choice::{BalancePolicy, JitterWord, StopSignalWord, TierWord, unknown_word};
use super::detect::{Detect, Diagnose};
use super::recover::Recover;
use super::shape::Shape;
use super::value::{Filled, List, Map, Number, Share, Size, Text, Time, Whole};
use super::{At, Kind, Value, read_at, table, type_of, wrong_type};
use crate::defaults;
use crate::mistake::{Code, Mistake, Mistakes};

table! {
    /// A service: servers that can answer the same requests, and how they are looked after.
    pub struct Service {
        /// Its servers: addresses, or tables with more about each. A service needs `servers` or `run`.
        servers: List<ServerEntry>;
        /// How its servers are started, if evenkeel runs them itself.
        run: Run;
        /// Which server takes the next attempt.
        balance: Balance;
        /// How long each step of a request may take.
        timeout: Timeout;
        /// When an attempt that ended badly is tried again.
        retry: Retry;
        /// How faults are noticed.
        detect: Detect;
        /// How long a diagnosis may take.
        diagnose: Diagnose;
        /// What is done about a fault.
        recover: Recover;
        /// What the service promises. Without it nothing is promised, and no error budget is kept.
        objective: Objective;
    }
    later { "discover", "hedge", "breaker", "limit", "fallback" }
}

table! {
    /// One server, with more than its address.
    pub struct Server {
        /// Its name, `[a-z0-9-]+`. Default: host and port of its address, with dashes.
        name: Text;
        /// `HOST:PORT`, also with `http://` before it. A name is resolved once, at the start.
        address: ServerAddress [required];
        /// How much it takes beside the others, for policies that weigh.
        weight: Whole<1, 1_000> = defaults::SERVER_WEIGHT;
        /// `backup` servers are used when no primary one can be.
        tier: TierWord = defaults::SERVER_TIER;
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
        /// How long a restored server takes to get back to its full share. `0s` turns it off.
        slow_start: Time<0> = defaults::SLOW_START;
        /// Below this share of healthy servers, all are used but those known to be down. 0 turns it off.
        panic_below: Share = defaults::PANIC_BELOW;
    }
    later { "hash_on", "sticky" }
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
    }
    later {}
}

table! {
    /// When an attempt that ended badly is tried again, on another server if there is one. A connection that could not
    /// be made, and a request that no server can have seen, are tried again without being counted.
    pub struct Retry {
        /// Retries, not attempts. 0 turns counted retries off.
        limit: Whole<0, 10> = defaults::RETRY_LIMIT;
        /// What is retried: `connect`, `reset`, `timeout`, and statuses from 400 to 599 in quotes.
        on: List<RetryWord> = defaults::RETRY_ON;
        /// The methods that may be sent twice.
        methods: List<Method> = defaults::RETRY_METHODS;
        /// How long to wait before a retry: `base`, doubled each time up to `cap`.
        backoff: RetryBackoff;
        /// What pays for retries.
        budget: Budget;
        /// Request bodies up to this size are kept for a retry; larger ones are streamed and not retried once sent.
        body_buffer: Size<0, 1_073_741_824> = defaults::BODY_BUFFER;
    }
    later {}
}

table! {
    /// How long to wait before a retry.
    pub struct RetryBackoff {
        /// Before the first.
        base: Time<0> = defaults::RETRY_BACKOFF_BASE;
        /// At most.
        cap: Time<0> = defaults::RETRY_BACKOFF_CAP;
        /// `full`: anything from nothing to the whole wait; `equal`: from half of it; `none`: all of it.
        jitter: JitterWord = defaults::RETRY_JITTER;
    }
    later {}
}

table! {
    /// What pays for retries: tokens, earned by successes.
    pub struct Budget {
        /// Tokens that each success earns. 0.2 allows one retry for five successes.
        ratio: Number<0, 10_000_000> = defaults::BUDGET_RATIO;
        /// Tokens earned each second in any case.
        floor_per_second: Number<0, 1_000_000_000> = defaults::BUDGET_FLOOR;
        /// Tokens that can be saved up, and that are there at the start.
        burst: Number<1_000_000, 1_000_000_000_000> = defaults::BUDGET_BURST;
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

/// Any text, also none.
#[derive(Debug, Clone, Copy)]
pub struct AnyText;

impl Kind for AnyText {
    type Out = String;
    fn shape() -> Shape {
        Shape::Text {
            what: "text",
            pattern: None,
        }
    }
    fn read(value: &Value<'_>, out: &mut Mistakes) -> Option<String> {
        let text = super::want_text(value, "a string", out)?;
        if text.contains('\0') {
            out.push(Mistake::new(
                Code::OutOfRange,
                value.span(),
                "this may not contain a null byte",
                "has one",
            ));
            return None;
        }
        Some(text.to_owned())
    }
}

/// One condition of `retry.on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryCondition {
    /// No connection could be made.
    Connect,
    /// Closed or reset before a response head.
    Reset,
    /// No response head in time.
    Timeout,
    /// This status.
    Status(u16),
}

/// A word of `retry.on`.
#[derive(Debug, Clone, Copy)]
pub struct RetryWord;

impl Kind for RetryWord {
    type Out = RetryCondition;

    fn shape() -> Shape {
        let status = Shape::Text {
            what: "status",
            pattern: Some("^[45][0-9][0-9]$"),
        };
        Shape::Any(vec![
            Shape::Choice(vec!["connect", "reset", "timeout"]),
            status,
        ])
    }

    fn read(value: &Value<'_>, out: &mut Mistakes) -> Option<RetryCondition> {
        if let DeValue::Integer(integer) = value.get_ref() {
            out.push(
                wrong_type(value, "a word in quotes").help(format!("in quotes: \"{integer}\"")),
            );
            return None;
        }
        let text = super::want_text(value, "a word in quotes", out)?;
        match text {
            "connect" => return Some(RetryCondition::Connect),
            "reset" => return Some(RetryCondition::Reset),
            "timeout" => return Some(RetryCondition::Timeout),
            _ => {}
        }
        let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        if let Some(status) = text
            .parse()
            .ok()
            .filter(|status| digits && (400..=599).contains(status))
        {
            return Some(RetryCondition::Status(status));
        }
        let class = text.to_lowercase();
        if class == "5xx" || class == "4xx" {
            let named = if class == "5xx" {
                "\"502\", \"503\", \"504\""
            } else {
                "\"429\""
            };
            let message =
                format!("\"{text}\" is too much at once: not every such status may be sent again");
            let help = format!("name each status: {named}");
            out.push(
                Mistake::new(
                    Code::UnknownWord,
                    value.span(),
                    message,
                    "a class of statuses",
                )
                .help(help),
            );
            return None;
        }
        if digits {
            let message = format!("status {text} cannot be retried");
            out.push(
                Mistake::new(
                    Code::OutOfRange,
                    value.span(),
                    message,
                    "outside the limits",
                )
                .help("a status from 400 to 599"),
            );
            return None;
        }
        let mut mistake = unknown_word(text, value.span(), &["connect", "reset", "timeout"]);
        mistake.help = mistake
            .help
            .map(|help| format!("{help}, or a status from 400 to 599 in quotes"));
        out.push(mistake);
        None
    }
}

/// A request method.
#[derive(Debug, Clone, Copy)]
pub struct Method;

impl Kind for Method {
    type Out = String;

    fn shape() -> Shape {
        Shape::Text {
            what: "method",
            pattern: Some("^[A-Z][A-Z-]*$"),
        }
    }

    fn read(value: &Value<'_>, out: &mut Mistakes) -> Option<String> {
        let Some(text) = value.get_ref().as_str() else {
            let found = type_of(value.get_ref());
            out.push(Mistake::new(
                Code::WrongType,
                value.span(),
                format!("expected a method, found {found}"),
                "not a method",
            ));
            return None;
        };
        let letters = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_uppercase())
                && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
        };
        if letters(text) && text.len() <= 32 {
            return Some(text.to_owned());
        }
        let upper = text.to_uppercase();
        let help = if letters(&upper) {
            format!("\"{upper}\"")
        } else {
            "a method is written in capitals, like \"GET\"".to_owned()
        };
        let message = format!("\"{}\" is not a method", text.escape_debug());
        out.push(Mistake::new(Code::UnknownWord, value.span(), message, "not a method").help(help));
        None
    }
}
