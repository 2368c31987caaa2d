//! Retries, as typed.

use toml::de::DeValue;

use super::choice::{GrowthWord, JitterWord, unknown_word};
use super::quantity::{DurationValue, Size};
use super::shape::ValueShape;
use super::value::{Integer, List, Number};
use super::{FileValue, Value, table, type_of, want_text, wrong_type};
use crate::defaults;
use crate::diagnostic::{Code, Diagnostic, Diagnostics};

table! {
    /// When a failed attempt is retried, on another server if there is one. Attempts that no server can have seen, such
    /// as refused connections, are retried without being counted.
    pub struct RetryConfig {
        /// The maximum number of retries. 0 turns counted retries off.
        limit: Integer<0, 10> = defaults::RETRY_LIMIT;
        /// How many of these may follow an attempt that timed out. The server may still be working on it, so each such
        /// retry can double the load. Default: `limit`.
        timeout_limit: Integer<0, 10>;
        /// What is retried: `connect`, `reset`, `timeout`, and statuses from 400 to 599 in quotes.
        on: List<RetryWord> = defaults::RETRY_ON;
        /// The methods that may be sent twice.
        methods: List<RetryMethod> = defaults::RETRY_METHODS;
        /// The back-off before a retry: `base`, growing up to `cap`.
        backoff: RetryBackoffConfig;
        /// The retry budget.
        budget: BudgetConfig;
        /// Request bodies up to this size are buffered for a retry; larger ones are streamed, and cannot be retried
        /// once sent.
        body_buffer: Size<0, 1_073_741_824> = defaults::BODY_BUFFER;
        /// Responses of a known length up to this size are buffered until they are complete, so that a truncated
        /// response is retried instead of passed on.
        response_buffer: Size<0, 262_144> = defaults::RESPONSE_BUFFER;
    }
    later {}
}

table! {
    /// The back-off before a retry.
    pub struct RetryBackoffConfig {
        /// The back-off before the first retry.
        base: DurationValue<0> = defaults::RETRY_BACKOFF_BASE;
        /// The longest back-off.
        cap: DurationValue<0> = defaults::RETRY_BACKOFF_CAP;
        /// `exponential`: doubled each time; `linear`: `base` longer each time; `fixed`: always `base`.
        growth: GrowthWord = defaults::RETRY_GROWTH;
        /// `full`: random between zero and the whole delay; `equal`: between half and the whole; `none`: the whole;
        /// `decorrelated`: between `base` and three times the previous delay, whatever the growth.
        jitter: JitterWord = defaults::RETRY_JITTER;
    }
    later {}
}

table! {
    /// The retry budget: each retry costs a token, and successes earn tokens.
    pub struct BudgetConfig {
        /// Tokens earned per success; 0.2 allows one retry per five successes.
        ratio: Number<0, 10_000_000> = defaults::BUDGET_RATIO;
        /// Tokens earned per second regardless of successes.
        floor_per_second: Number<0, 1_000_000_000> = defaults::BUDGET_FLOOR;
        /// The maximum number of tokens, and the initial number.
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

impl FileValue for RetryWord {
    type Out = RetryCondition;

    fn shape() -> ValueShape {
        let status = ValueShape::Text {
            what: "status",
            pattern: Some("^[45][0-9][0-9]$"),
        };
        ValueShape::Any(vec![
            ValueShape::Choice(vec!["connect", "reset", "timeout"]),
            status,
        ])
    }

    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<RetryCondition> {
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
                Diagnostic::new(
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
                Diagnostic::new(
                    Code::OutOfRange,
                    value.span(),
                    message,
                    "outside the limits",
                )
                .help("a status from 400 to 599"),
            );
            return None;
        }
        let mut diagnostic = unknown_word(text, value.span(), &["connect", "reset", "timeout"]);
        diagnostic.help = diagnostic
            .help
            .map(|help| format!("{help}, or a status from 400 to 599 in quotes"));
        out.push(diagnostic);
        None
    }
}

/// A request method.
#[derive(Debug, Clone, Copy)]
pub struct RetryMethod;

impl FileValue for RetryMethod {
    type Out = String;

    fn shape() -> ValueShape {
        ValueShape::Text {
            what: "method",
            pattern: Some("^[A-Z][A-Z-]*$"),
        }
    }

    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<String> {
        let Some(text) = value.get_ref().as_str() else {
            let found = type_of(value.get_ref());
            out.push(Diagnostic::new(
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
            "methods are in upper case, such as \"GET\"".to_owned()
        };
        let message = format!("\"{}\" is not a method", text.escape_debug());
        out.push(
            Diagnostic::new(Code::UnknownWord, value.span(), message, "not a method").help(help),
        );
        None
    }
}
