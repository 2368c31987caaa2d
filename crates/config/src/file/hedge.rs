//! Hedging, as typed.

use evenkeel_tolerate::HedgeAfter;
use toml::de::DeValue;

use super::quantity::Time;
use super::shape::Shape;
use super::value::Whole;
use super::{Kind, Typed, Value, table, want_text};
use crate::defaults;
use crate::mistake::{Code, Mistake, Mistakes};

table! {
    /// A second attempt on another server while the first one is late, for requests that may be sent twice. The answer of
    /// whoever is first is passed on. It is paid for by the retry budget.
    pub struct Hedge {
        /// After what time: a duration, or a quantile of the latest response times, from `p50` to `p99.9`.
        after: HedgeAfterKind = defaults::HEDGE_AFTER;
        /// How many such attempts a request may have.
        limit: Whole<1, 4> = defaults::HEDGE_LIMIT;
        /// Never earlier than this.
        floor: Time = defaults::HEDGE_FLOOR;
        /// With fewer response times than this in half a minute, a quantile says nothing and nothing is hedged.
        minimum_attempts: Whole<1, 1_000_000> = defaults::HEDGE_MINIMUM;
    }
    later {}
}

/// After what time: a duration or a quantile.
#[derive(Debug, Clone, Copy)]
pub struct HedgeAfterKind;

/// The quantiles that can be asked for.
const QUANTILES: std::ops::RangeInclusive<f64> = 50.0..=99.9;

impl Kind for HedgeAfterKind {
    type Out = HedgeAfter;

    fn shape() -> Shape {
        let quantile = Shape::Text {
            what: "quantile",
            pattern: Some("^p[5-9][0-9](\\.[0-9])?$"),
        };
        Shape::Any(vec![quantile, Time::<1>::shape()])
    }

    fn read(value: &Value<'_>, out: &mut Mistakes) -> Option<HedgeAfter> {
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
                let mistake = Mistake::new(
                    Code::OutOfRange,
                    value.span(),
                    message,
                    "outside the limits",
                );
                out.push(mistake.help("from \"p50\" to \"p99.9\", for example \"p95\""));
            }
            return percent.map(|percent| HedgeAfter::Quantile(percent / 100.0));
        }
        want_text(
            value,
            "a duration or a quantile in quotes, for example \"p95\"",
            out,
        )?;
        Time::<1>::read(value, out).map(HedgeAfter::Delay)
    }
}

impl Typed for HedgeAfter {
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
