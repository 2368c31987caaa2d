//! Durations as people write them in options: "250ms", "1.5s". For `#[serde(with)]`; numbers without a unit are refused, since
//! nobody can tell seconds from milliseconds by looking.

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

pub(crate) fn parse(text: &str) -> Option<Duration> {
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

pub(crate) fn type_out(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    for (unit, scale) in [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)] {
        if nanos.is_multiple_of(scale) {
            return format!("{}{unit}", nanos / scale);
        }
    }
    format!("{nanos}ns")
}

struct Text;

impl Visitor<'_> for Text {
    type Value = Duration;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a duration with its unit, like \"250ms\" or \"1.5s\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

pub(crate) mod duration {
    use super::{Deserializer, Duration, Serializer, Text, type_out};

    pub(crate) fn serialize<S: Serializer>(it: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&type_out(*it))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        from.deserialize_str(Text)
    }
}

/// The same, and nothing.
pub(crate) mod optional {
    use serde::{Deserialize, Serialize};

    use super::{Deserializer, Duration, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Wrapped(#[serde(with = "super::duration")] Duration);

    pub(crate) fn serialize<S: Serializer>(
        it: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        it.map(Wrapped).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Wrapped>::deserialize(from)?.map(|Wrapped(it)| it))
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
            assert_eq!(parse(&type_out(duration)), Some(duration));
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
