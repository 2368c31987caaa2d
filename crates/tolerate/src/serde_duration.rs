//! Durations as text with a unit, for `#[serde(with)]`: "250ms", "1.5s". Numbers without a unit are rejected, since they could be
//! seconds or milliseconds.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

/// Units with their nanoseconds, longest first; `ms` stands before `m` for parsing.
const UNITS: [(&str, u64); 6] = [
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
];
/// No duration is longer than this many seconds: 100 years.
const MOST_SECONDS: f64 = 3.2e9;

fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (number, scale) = UNITS
        .iter()
        .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?.trim_end(), *scale)))?;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(scale).map(Duration::from_nanos);
    }
    let is_plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let seconds = number.parse::<f64>().ok().filter(|_| is_plain)? * scale as f64 / 1e9;
    (seconds < MOST_SECONDS).then(|| Duration::from_secs_f64(seconds))
}

fn to_text(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    for (unit, scale) in [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)] {
        if nanos.is_multiple_of(scale) {
            return format!("{}{unit}", nanos / scale);
        }
    }
    format!("{nanos}ns")
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a duration with its unit, like \"250ms\" or \"1.5s\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

pub(crate) fn serialize<S: Serializer>(it: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&to_text(*it))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    from.deserialize_str(DurationVisitor)
}

/// The same for an `Option`.
pub(crate) mod optional {
    use serde::{Deserialize, Serialize};

    use super::{Deserializer, Duration, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Nested(#[serde(with = "super")] Duration);

    pub(crate) fn serialize<S: Serializer>(
        it: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        it.map(Nested).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Nested>::deserialize(from)?.map(|Nested(it)| it))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        let millis = Duration::from_millis;
        for (text, duration) in [
            ("250ms", millis(250)),
            ("1.5s", millis(1_500)),
            ("2m", millis(120_000)),
            ("0s", Duration::ZERO),
            (" 1 h ", millis(3_600_000)),
            ("7us", Duration::from_micros(7)),
        ] {
            assert_eq!(parse(text), Some(duration), "{text}");
            assert_eq!(parse(&to_text(duration)), Some(duration));
        }
        for wrong in [
            "",
            "5",
            "ms",
            "-1s",
            "1e9s",
            "infs",
            "nans",
            "1.2.3s",
            "99999999999h",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
