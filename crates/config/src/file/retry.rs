//! Retries, as typed.

use toml::de::DeValue;

use super::choice::{GrowthWord, JitterWord, unknown_word};
use super::quantity::{Size, Time};
use super::shape::Shape;
use super::value::{List, Number, Whole};
use super::{Kind, Value, table, type_of, want_text, wrong_type};
use crate::defaults;
use crate::mistake::{Code, Mistake, Mistakes};

table! {
    /// When an attempt that ended badly is tried again, on another server if there is one. A connection that could not
    /// be made, and a request that no server can have seen, are tried again without being counted.
    pub struct Retry {
        /// Retries, not attempts. 0 turns counted retries off.
        limit: Whole<0, 10> = defaults::RETRY_LIMIT;
        /// Of these, how many may follow an attempt that timed out: it may still be worked on, so each one can double what servers do.
        /// Default: as `limit`.
        timeout_limit: Whole<0, 10>;
        /// What is retried: `connect`, `reset`, `timeout`, and statuses from 400 to 599 in quotes.
        on: List<RetryWord> = defaults::RETRY_ON;
        /// The methods that may be sent twice.
        methods: List<Method> = defaults::RETRY_METHODS;
        /// How long to wait before a retry: `base`, and longer each time up to `cap`.
        backoff: RetryBackoff;
        /// What pays for retries.
        budget: Budget;
        /// Request bodies up to this size are kept for a retry; larger ones are streamed and not retried once sent.
        body_buffer: Size<0, 1_073_741_824> = defaults::BODY_BUFFER;
        /// Responses of a known length up to this size are held back until they are whole, so that one which breaks off is retried
        /// and not passed on broken.
        response_buffer: Size<0, 262_144> = defaults::RESPONSE_BUFFER;
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
        /// `exponential`: doubled each time; `linear`: once more `base` each time; `fixed`: always `base`.
        growth: GrowthWord = defaults::RETRY_GROWTH;
        /// `full`: anything from nothing to the whole wait; `equal`: from half of it; `none`: all of it; `decorrelated`: from `base` to
        /// three times the wait before, whatever the growth.
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
        let text = want_text(value, "a word in quotes", out)?;
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
