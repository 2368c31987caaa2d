//! Fallbacks, as typed.

use toml::de::DeValue;

use super::quantity::{DurationValue, Size};
use super::shape::ValueShape;
use super::value::{AnyText, Boolean, Integer, List, NonEmptyText};
use super::{FileValue, Value, table, want_text, wrong_type};
use crate::defaults;
use crate::diagnostic::{Code, Diagnostic, Diagnostics};

table! {
    /// The response that clients get when no server answers, after all retries: another service's, or a fixed one.
    /// Without it they get evenkeel's own error response, which names the cause.
    pub struct FallbackConfig {
        /// Stores responses, and serves them before any other fallback.
        stale: StaleConfig [off];
        /// The service that answers instead. It may have a fixed response as its own fallback, but not another service.
        service: NonEmptyText;
        /// The status of the fixed response.
        status: Integer<200, 599> = defaults::FALLBACK_STATUS;
        /// Its body, 64 KiB at most.
        body: AnyText;
        /// The type of its body.
        content_type: NonEmptyText = defaults::FALLBACK_CONTENT_TYPE;
        /// Its `Retry-After`, in whole seconds. Default: none.
        retry_after: DurationValue<1_000>;
        /// Statuses of servers' responses that are replaced by the fallback: 400 to 599 in quotes. They are retried
        /// first, if `retry.on` lists them.
        on: List<FallbackStatus>;
    }
    later {}
}

table! {
    /// Stale responses to GET, for when no server answers. Servers are asked first, unless `answer_first` is set.
    pub struct StaleConfig {
        /// The total size of all stored responses.
        size: Size<65_536, 1_073_741_824> = defaults::STALE_SIZE;
        /// The largest response body that is stored.
        object: Size<1, 262_144> = defaults::STALE_OBJECT;
        /// How long a response is served after it has become stale (`max-age` of `Cache-Control`), unless it has a
        /// `stale-if-error` of its own.
        if_error: DurationValue<1_000> = defaults::STALE_IF_ERROR;
        /// Serves fresh responses (`max-age`) without asking a server, and stale ones while they are revalidated in the
        /// background (`stale-while-revalidate`).
        answer_first: Boolean = defaults::STALE_ANSWER_FIRST;
    }
    later {}
}

/// A status of `fallback.on`.
#[derive(Debug, Clone, Copy)]
pub struct FallbackStatus;

impl FileValue for FallbackStatus {
    type Out = u16;

    fn shape() -> ValueShape {
        ValueShape::Text {
            what: "status",
            pattern: Some("^[45][0-9][0-9]$"),
        }
    }

    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<u16> {
        if let DeValue::Integer(integer) = value.get_ref() {
            let help = format!("in quotes: \"{integer}\"");
            out.push(wrong_type(value, "a status in quotes").help(help));
            return None;
        }
        let text = want_text(value, "a status in quotes", out)?;
        let status = text.parse().ok().filter(|_| text.len() == 3);
        let status = status.filter(|status| (400..=599).contains(status));
        if status.is_none() {
            let message = format!(
                "\"{}\" is not a status that can be replaced",
                text.escape_debug()
            );
            let diagnostic = Diagnostic::new(
                Code::OutOfRange,
                value.span(),
                message,
                "outside the limits",
            );
            out.push(diagnostic.help("a status from 400 to 599, for example \"503\""));
        }
        status
    }
}
