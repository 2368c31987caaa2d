//! Fallbacks, as typed.

use toml::de::DeValue;

use super::quantity::{Size, Time};
use super::shape::Shape;
use super::value::{AnyText, Flag, List, Text, Whole};
use super::{Kind, Value, table, want_text, wrong_type};
use crate::defaults;
use crate::mistake::{Code, Mistake, Mistakes};

table! {
    /// What clients get when no server answers, after all retries: another service's answer, or one that stands here. Without
    /// it they get evenkeel's own, which says why.
    pub struct Fallback {
        /// Keeps old answers and shows them first.
        stale: Stale;
        /// The service that answers instead. It may have a fallback of its own, but not another service.
        service: Text;
        /// The status of the answer that stands here.
        status: Whole<200, 599> = defaults::FALLBACK_STATUS;
        /// Its body, 64 KiB at most.
        body: AnyText;
        /// The type of its body.
        content_type: Text = defaults::FALLBACK_CONTENT_TYPE;
        /// Its `Retry-After`, in whole seconds. Default: none.
        retry_after: Time<1_000>;
        /// Answers of servers that count as none: statuses from 400 to 599 in quotes. They are retried first, if `retry.on` has
        /// them.
        on: List<FallbackStatus>;
    }
    later {}
}

table! {
    /// Old answers of the service's own to GET, for when it has no new one. Servers are asked first, unless `answer_first` says otherwise.
    pub struct Stale {
        /// How much room there is for all of them.
        size: Size<65_536, 1_073_741_824> = defaults::STALE_SIZE;
        /// Larger answers are not kept. Only such of a known length are; they are held back until they are whole.
        object: Size<1, 262_144> = defaults::STALE_OBJECT;
        /// For how long after it has become stale (`max-age` of `Cache-Control`) an answer is shown that does not say it itself by
        /// `stale-if-error`.
        if_error: Time<1_000> = defaults::STALE_IF_ERROR;
        /// Answers what is fresh (`max-age`) without asking a server, and what has become stale but may be shown while it is fetched anew
        /// beside them (`stale-while-revalidate`).
        answer_first: Flag = defaults::STALE_ANSWER_FIRST;
    }
    later {}
}

/// A status of `fallback.on`.
#[derive(Debug, Clone, Copy)]
pub struct FallbackStatus;

impl Kind for FallbackStatus {
    type Out = u16;

    fn shape() -> Shape {
        Shape::Text {
            what: "status",
            pattern: Some("^[45][0-9][0-9]$"),
        }
    }

    fn read(value: &Value<'_>, out: &mut Mistakes) -> Option<u16> {
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
            let mistake = Mistake::new(
                Code::OutOfRange,
                value.span(),
                message,
                "outside the limits",
            );
            out.push(mistake.help("a status from 400 to 599, for example \"503\""));
        }
        status
    }
}
