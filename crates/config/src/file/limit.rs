//! How much a service takes, as typed: requests at once, who waits, which class goes first, how many a second.

use toml::de::DeValue;

use super::choice::{AlgorithmWord, ClassWord};
use super::hash::HashOnText;
use super::quantity::Time;
use super::shape::Shape;
use super::value::{Number, Share, Text, Whole};
use super::{Kind, Typed, Value, table, wrong_type};
use crate::defaults;
use crate::mistake::{Code, Mistake, Mistakes};

table! {
    /// How many requests the servers get at once, who waits when they have as many, and how many a second may come at all.
    pub struct Limit {
        /// The most requests that each server has at once: a number, or `adaptive`, found for each server while it runs by how long it
        /// takes. `max_requests` of a server goes before it, and bounds what is found.
        concurrency: Concurrency;
        /// How `concurrency = "adaptive"` finds its number.
        adaptive: Adaptive;
        /// Requests that wait while all servers have as many as they may.
        queue: Queue;
        /// How much a request matters when there is not enough for all. Without this table all are `critical`.
        class: RequestClass;
        /// How much of the servers' bounds, all together, requests of a class may use. What is left is for the classes above.
        shares: Shares;
        /// How many requests a second may come. What comes beyond is answered 429.
        rate: Rate;
        /// Refuses a part of the requests at once while the servers refuse most of what they get.
        throttle: Throttle;
    }
    later {}
}

table! {
    /// How an adaptive bound is found.
    pub struct Adaptive {
        /// `gradient2` compares how long answers take with how long they took in the long run, `vegas` with the fastest, and
        /// `aimd` looks at failures and timeouts only.
        algorithm: AlgorithmWord = defaults::ADAPTIVE_ALGORITHM;
        /// The bound of a new server.
        initial: Whole<1, 100_000> = defaults::ADAPTIVE_INITIAL;
        /// Never fewer.
        min: Whole<1, 100_000> = defaults::ADAPTIVE_MIN;
        /// Never more.
        max: Whole<1, 100_000> = defaults::ADAPTIVE_MAX;
    }
    later {}
}

table! {
    /// Requests that wait while all servers have as many as they may. What finds no place, or waits too long, gets 503.
    pub struct Queue {
        /// How many may wait. 0: none.
        length: Whole<0, 1_000_000> = defaults::QUEUE_LENGTH;
        /// How long each may wait; never longer than half of what `timeout.total` leaves.
        wait: Time = defaults::QUEUE_WAIT;
        /// While nothing has waited less than this for as long as `wait`, what waited twice as long is refused when its turn comes
        /// (CoDel). Default: a fifth of `wait`.
        target: Time<1>;
    }
    later {}
}

table! {
    /// How much a request matters. A route's `class` goes before it.
    pub struct RequestClass {
        /// The name of a field of the request's header that says it: `critical-plus`, `critical`, `sheddable-plus` or `sheddable`. A client
        /// can write there what it likes; let something before evenkeel set it.
        header: Text;
        /// Of requests that do not say it.
        default: ClassWord = defaults::CLASS;
    }
    later {}
}

table! {
    /// How much of the servers' bounds the classes may use, each a share of all.
    pub struct Shares {
        /// What must not fail.
        critical_plus: Share = defaults::SHARE_CRITICAL_PLUS;
        /// What people wait for.
        critical: Share = defaults::SHARE_CRITICAL;
        /// What can be had later.
        sheddable_plus: Share = defaults::SHARE_SHEDDABLE_PLUS;
        /// What nobody misses soon.
        sheddable: Share = defaults::SHARE_SHEDDABLE;
    }
    later {}
}

table! {
    /// How many requests a second may come: a token bucket, for all together or by what they have in common.
    pub struct Rate {
        /// So many each second.
        per_second: Number<1_000, 1_000_000_000_000> [required];
        /// So many at once after a pause. Default: as many as come in a second, at least 1.
        burst: Whole<1, 1_000_000>;
        /// Each with the same `source-ip`, `host`, `path`, `query:NAME`, `header:NAME` or `cookie:NAME` gets so many. Those that have no such thing
        /// are one. Default: all together.
        by: HashOnText;
    }
    later {}
}

table! {
    /// The client throttling of Google's SRE book: evenkeel sends at most `k` times as many requests as the servers accept.
    pub struct Throttle {
        /// Requests for each that is accepted.
        k: Number<1_000_000, 100_000_000> = defaults::THROTTLE_K;
        /// What is counted.
        window: Time<1_000> = defaults::THROTTLE_WINDOW;
        /// Nothing is held back before so many requests have ended in the window.
        minimum_attempts: Whole<1, 1_000_000> = defaults::THROTTLE_MINIMUM;
        /// The largest part of the requests that is held back, up to 1: one request a second goes through all the same.
        max: Number<1_000, 1_000_000> = defaults::THROTTLE_MAX;
    }
    later {}
}

/// The most requests that a server has at once.
#[derive(Debug, Clone, Copy)]
pub struct Concurrency;

/// A number, or one that is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// So many.
    Fixed(u64),
    /// Found while it runs.
    Adaptive,
}

type FixedBound = Whole<1, 1_000_000>;

impl Kind for Concurrency {
    type Out = Bound;

    fn shape() -> Shape {
        Shape::Any(vec![FixedBound::shape(), Shape::Choice(vec!["adaptive"])])
    }

    fn read(value: &Value<'_>, out: &mut Mistakes) -> Option<Bound> {
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

impl Typed for Bound {
    fn typed(&self) -> serde_json::Value {
        match self {
            Self::Fixed(number) => (*number).into(),
            Self::Adaptive => "adaptive".into(),
        }
    }
}

/// The smallest bound above the largest makes no sense.
pub(crate) fn check_order(typed: &Adaptive, (min, max): (u32, u32), out: &mut Mistakes) {
    if min <= max {
        return;
    }
    let span = typed.min.as_ref().or(typed.max.as_ref());
    let span = span.map_or(0..0, |at| at.span.clone());
    let message = format!("`min` is {min} and `max` is {max}");
    let mistake = Mistake::new(Code::Contradiction, span, message, "more than `max`");
    out.push(mistake.help("give both, the smaller one as `min`"));
}
