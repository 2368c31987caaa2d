//! Limits of a service, as typed: concurrency, queue, request classes, rate, throttling.

use toml::de::DeValue;

use super::choice::{AlgorithmWord, ClassWord};
use super::hash::HashOnText;
use super::quantity::DurationValue;
use super::shape::ValueShape;
use super::value::{Integer, NonEmptyText, Number, Share};
use super::{FileLiteral, FileValue, Value, table, wrong_type};
use crate::defaults;
use crate::diagnostic::{Code, Diagnostic, Diagnostics};

table! {
    /// Limits: concurrent requests per server, a queue for the excess, request classes, and requests per second.
    pub struct LimitConfig {
        /// The maximum number of concurrent requests per server: a number, or `adaptive`, which derives it for each
        /// server from response times. `max_requests` of a server takes precedence, and is the upper bound of an
        /// adaptive limit.
        concurrency: Concurrency;
        /// Options of `concurrency = "adaptive"`.
        adaptive: AdaptiveConfig [off];
        /// The queue for requests while all servers are at their limit.
        queue: QueueConfig;
        /// The class of a request, which decides what is shed first when capacity is short. Without this table all are
        /// `critical`.
        class: RequestClassConfig;
        /// The share of the servers' total concurrency that requests of each class may use. The rest is reserved for
        /// the classes above.
        shares: SharesConfig;
        /// A rate limit. Requests above it are answered 429.
        rate: RateConfig;
        /// Rejects a part of the requests at once while the servers reject most of them.
        throttle: ThrottleConfig [off];
    }
    later {}
}

table! {
    /// How an adaptive limit is found.
    pub struct AdaptiveConfig {
        /// `gradient2` compares response times with their long-term average, `vegas` with the fastest ones, and `aimd`
        /// uses failures and timeouts only.
        algorithm: AlgorithmWord = defaults::ADAPTIVE_ALGORITHM;
        /// The initial limit of a server.
        initial: Integer<1, 100_000> = defaults::ADAPTIVE_INITIAL;
        /// The lowest limit.
        min: Integer<1, 100_000> = defaults::ADAPTIVE_MIN;
        /// The highest limit.
        max: Integer<1, 100_000> = defaults::ADAPTIVE_MAX;
    }
    later {}
}

table! {
    /// The queue for requests while all servers are at their limit. Requests that find it full or wait too long get
    /// 503.
    pub struct QueueConfig {
        /// The maximum number of waiting requests. 0 turns the queue off.
        length: Integer<0, 1_000_000> = defaults::QUEUE_LENGTH;
        /// How long a request may wait; never longer than half of the remaining `timeout.total`.
        wait: DurationValue = defaults::QUEUE_WAIT;
        /// CoDel: if no request has waited less than this during an interval of `wait`, requests that have waited more
        /// than twice as long are rejected when their turn comes. Default: a fifth of `wait`.
        target: DurationValue<1>;
    }
    later {}
}

table! {
    /// The class of a request. A route's `class` takes precedence.
    pub struct RequestClassConfig {
        /// The request header field with the class: `critical-plus`, `critical`, `sheddable-plus` or `sheddable`.
        /// Clients can send any value; have a proxy in front of evenkeel set it.
        header: NonEmptyText;
        /// The class of requests without the field.
        default: ClassWord = defaults::CLASS;
    }
    later {}
}

table! {
    /// The share of the servers' total concurrency that each class may use.
    pub struct SharesConfig {
        /// Requests that must not fail.
        critical_plus: Share = defaults::SHARE_CRITICAL_PLUS;
        /// Requests that users wait for.
        critical: Share = defaults::SHARE_CRITICAL;
        /// Requests that can be repeated later.
        sheddable_plus: Share = defaults::SHARE_SHEDDABLE_PLUS;
        /// Requests that are not missed soon.
        sheddable: Share = defaults::SHARE_SHEDDABLE;
    }
    later {}
}

table! {
    /// A rate limit: a token bucket, for all requests together or per key.
    pub struct RateConfig {
        /// Tokens per second.
        per_second: Number<1_000, 1_000_000_000_000> [required];
        /// The capacity of the bucket. Default: the tokens of one second, at least 1.
        burst: Integer<1, 1_000_000>;
        /// The key: requests with the same `source-ip`, `host`, `path`, `query:NAME`, `header:NAME` or `cookie:NAME`
        /// share a bucket. Requests without the key share one. Default: one bucket for all.
        by: HashOnText;
    }
    later {}
}

table! {
    /// The client throttling of Google's SRE book: evenkeel sends at most `k` times as many requests as the servers accept.
    pub struct ThrottleConfig {
        /// Requests sent per accepted request.
        k: Number<1_000_000, 100_000_000> = defaults::THROTTLE_K;
        /// The length of the window.
        window: DurationValue<1_000> = defaults::THROTTLE_WINDOW;
        /// Nothing is throttled with fewer completed requests in the window.
        minimum_attempts: Integer<1, 1_000_000> = defaults::THROTTLE_MINIMUM;
        /// The largest share of requests that is throttled, up to 1; one request per second always passes.
        max: Number<1_000, 1_000_000> = defaults::THROTTLE_MAX;
    }
    later {}
}

/// The maximum number of concurrent requests of a server.
#[derive(Debug, Clone, Copy)]
pub struct Concurrency;

/// A fixed or an adaptive limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// A fixed limit.
    Fixed(u64),
    /// Adaptive.
    Adaptive,
}

type FixedBound = Integer<1, 1_000_000>;

impl FileValue for Concurrency {
    type Out = Bound;

    fn shape() -> ValueShape {
        ValueShape::Any(vec![
            FixedBound::shape(),
            ValueShape::Choice(vec!["adaptive"]),
        ])
    }

    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<Bound> {
        match value.get_ref() {
            DeValue::String(word) if word == "adaptive" => Some(Bound::Adaptive),
            DeValue::String(word) => {
                out.push(super::choice::unknown_word(
                    word,
                    value.span(),
                    &["adaptive"],
                ));
                None
            }
            DeValue::Integer(_) => FixedBound::read(value, out).map(Bound::Fixed),
            _ => {
                let help = "a number, or \"adaptive\"";
                out.push(wrong_type(value, "a bound").help(help));
                None
            }
        }
    }
}

impl FileLiteral for Bound {
    fn typed(&self) -> serde_json::Value {
        match self {
            Self::Fixed(number) => (*number).into(),
            Self::Adaptive => "adaptive".into(),
        }
    }
}

/// Rejects a lowest limit above the highest.
pub(crate) fn check_order(typed: &AdaptiveConfig, (min, max): (u32, u32), out: &mut Diagnostics) {
    if min <= max {
        return;
    }
    let span = typed.min.as_ref().or(typed.max.as_ref());
    let span = span.map_or(0..0, |at| at.span.clone());
    let message = format!("`min` is {min} and `max` is {max}");
    let diagnostic = Diagnostic::new(Code::Contradiction, span, message, "more than `max`");
    out.push(diagnostic.help("give both, the smaller one as `min`"));
}
