//! Hedging, as typed.

use evenkeel_tolerate::HedgeAfter;
use toml::de::DeValue;

use super::quantity::DurationValue;
use super::shape::ValueShape;
use super::value::Integer;
use super::{FileLiteral, FileValue, Value, table, want_text};
use crate::defaults;
use crate::diagnostic::{Code, Diagnostic, Diagnostics};

table! {
    /// Hedging: a second attempt on another server while the first one is late, for requests that may be sent twice.
    /// The first response is passed on. Hedged attempts are paid for by the retry budget.
    pub struct HedgeConfig {
        /// The delay before a hedged attempt: a duration, or a quantile of the latest response times, from `p50` to
        /// `p99.9`.
        after: HedgeAfterKind = defaults::HEDGE_AFTER;
        /// The maximum number of hedged attempts per request.
        limit: Integer<1, 4> = defaults::HEDGE_LIMIT;
        /// The shortest delay.
        floor: DurationValue = defaults::HEDGE_FLOOR;
        /// The quantile is used only with at least this many response times in half a minute; with fewer, nothing is
        /// hedged.
        minimum_attempts: Integer<1, 1_000_000> = defaults::HEDGE_MINIMUM;
    }
    later {}
}

/// The delay before a hedged attempt: a duration or a quantile.
#[derive(Debug, Clone, Copy)]
pub struct HedgeAfterKind;

/// The supported quantiles.
const QUANTILES: std::ops::RangeInclusive<f64> = 50.0..=99.9;

impl FileValue for HedgeAfterKind {
    type Out = HedgeAfter;

    fn shape() -> ValueShape {
        let quantile = ValueShape::Text {
            what: "quantile",
            pattern: Some("^p[5-9][0-9](\\.[0-9])?$"),
        };
        ValueShape::Any(vec![quantile, DurationValue::<1>::shape()])
    }

    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<HedgeAfter> {
        if let DeValue::String(text) = value.get_ref()
            && let Some(number) = text.strip_prefix('p')
        {
            let digits = number
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.');
            let percent = number.parse().ok().filter(|_| digits);
            let percent = percent.filter(|percent| QUANTILES.contains(percent));
            if percent.is_none() {
                let message = format!("\"{}\" is not such a quantile", text.escape_debug());
                let diagnostic = Diagnostic::new(
                    Code::OutOfRange,
                    value.span(),
                    message,
                    "outside the limits",
                );
                out.push(diagnostic.help("from \"p50\" to \"p99.9\", for example \"p95\""));
            }
            return percent.map(|percent| HedgeAfter::Quantile(percent / 100.0));
        }
        want_text(
            value,
            "a duration or a quantile in quotes, for example \"p95\"",
            out,
        )?;
        DurationValue::<1>::read(value, out).map(HedgeAfter::Delay)
    }
}

impl FileLiteral for HedgeAfter {
    fn typed(&self) -> serde_json::Value {
        match self {
            Self::Delay(delay) => delay.typed(),
            Self::Quantile(quantile) => {
                let percent = (quantile * 1_000.0).round() / 10.0;
                format!("p{percent}").into()
            }
        }
    }
}
