//! The plain values that keys take: text, numbers within limits, durations, sizes, lists and named tables.

use std::marker::PhantomData;
use std::time::Duration;

use toml::de::DeValue;

use super::shape::Shape;
use super::{At, Kind, Typed, Value, entries, read_at, want_table, want_text, wrong_type};
use crate::mistake::{Code, Mistake, Mistakes};

/// Any text that is not empty.
#[derive(Debug, Clone, Copy)]
pub struct Text;

/// `true` or `false`.
#[derive(Debug, Clone, Copy)]
pub struct Flag;

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy)]
pub struct Whole<const MIN: u64, const MAX: u64>;

/// A number from `MIN` to `MAX`, both in millionths.
#[derive(Debug, Clone, Copy)]
pub struct Number<const MIN: u64, const MAX: u64>;

/// A share: a number from 0 to 1.
pub type Share = Number<0, 1_000_000>;

/// A duration of at least `MIN` milliseconds and at most a year.
#[derive(Debug, Clone, Copy)]
pub struct Time<const MIN: u64 = 1>;

/// A number of bytes from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy)]
pub struct Size<const MIN: u64, const MAX: u64>;

/// A list of any length.
#[derive(Debug)]
pub struct List<K>(PhantomData<K>);

/// A list with at least one item.
#[derive(Debug)]
pub struct Filled<K>(PhantomData<K>);

/// A table whose keys are any text.
#[derive(Debug)]
pub struct Map<K>(PhantomData<K>);

/// A table whose keys are names, `[a-z0-9-]+`.
#[derive(Debug)]
pub struct Named<K>(PhantomData<K>);

/// `K`, or the word "off".
#[derive(Debug)]
pub struct OrOff<K>(PhantomData<K>);

/// A detector that can be turned off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Switch<T> {
    /// Turned off.
    Off,
    /// Set like this.
    On(T),
}

/// The pattern of names of listeners, services and servers.
pub const NAME_PATTERN: &str = "^[a-z0-9-]{1,63}$";

const LONGEST: Duration = Duration::from_secs(366 * 86_400);
const UNITS: [(&str, u64); 6] = [
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];
const SIZES: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl Kind for Text {
    type Out = String;
    fn shape() -> Shape {
        Shape::Text {
            what: "text",
            pattern: None,
        }
    }
    fn read(value: &Value<'_>, out: &mut Mistakes) -> Option<String> {
        let text = want_text(value, "a string", out)?;
        if text.is_empty() || text.contains('\0') {
            out.push(Mistake::new(
                Code::OutOfRange,
                value.span(),
                "this may not be empty",
                "has no text",
            ));
            return None;
        }
        Some(text.to_owned())
    }
}

impl Kind for Flag {
    type Out = bool;
    fn shape() -> Shape {
        Shape::Flag
    }
    fn read(value: &Value<'_>, out: &mut Mistakes) -> Option<bool> {
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            out.push(wrong_type(value, "true or false"));
        }
        flag
    }
}

impl<const MIN: u64, const MAX: u64> Kind for Whole<MIN, MAX> {
    type Out = u64;
    fn shape() -> Shape {
        Shape::Whole { min: MIN, max: MAX }
    }
    fn read(value: &Value<'_>, out: &mut Mistakes) -> Option<u64> {
        let DeValue::Integer(integer) = value.get_ref() else {
            let unquoted = value
                .get_ref()
                .as_str()
                .filter(|text| text.parse::<u64>().is_ok());
            let help = unquoted.map(|text| format!("without quotes: {text}"));
            out.push(wrong_type(value, "a whole number").maybe_help(help));
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.filter(|number| (MIN..=MAX).contains(number));
        if number.is_none() {
            let message = format!("expected a whole number from {MIN} to {MAX}");
            out.push(Mistake::new(
                Code::OutOfRange,
                value.span(),
                message,
                "outside the limits",
            ));
        }
        number
    }
}

impl<const MIN: u64, const MAX: u64> Kind for Number<MIN, MAX> {
    type Out = f64;
    fn shape() -> Shape {
        Shape::Number {
            min: millionths(MIN),
            max: millionths(MAX),
        }
    }
    fn read(value: &Value<'_>, out: &mut Mistakes) -> Option<f64> {
        let number = match value.get_ref() {
            DeValue::Integer(integer) => integer
                .as_str()
                .parse::<f64>()
                .ok()
                .filter(|_| integer.radix() == 10),
            DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
            _ => {
                out.push(wrong_type(value, "a number"));
                return None;
            }
        };
        let (min, max) = (millionths(MIN), millionths(MAX));
        let number = number.filter(|number| (min..=max).contains(number));
        if number.is_none() {
            let message = format!("expected a number from {min} to {max}");
            out.push(Mistake::new(
                Code::OutOfRange,
                value.span(),
                message,
                "outside the limits",
            ));
        }
        number
    }
}

impl<const MIN: u64> Kind for Time<MIN> {
    type Out = Duration;
    fn shape() -> Shape {
        Shape::Text {
            what: "duration",
            pattern: Some("^([0-9]+(us|ms|s|m|h|d))+$"),
        }
    }
    fn read(value: &Value<'_>, out: &mut Mistakes) -> Option<Duration> {
        let wanted = "a duration like \"250ms\", \"5s\", \"10m\" or \"30d\"";
        if let DeValue::Integer(integer) = value.get_ref() {
            out.push(
                wrong_type(value, wanted)
                    .help(format!("a number alone has no unit: \"{integer}s\"?")),
            );
            return None;
        }
        let text = want_text(value, wanted, out)?;
        let Some(duration) = parse_duration(text) else {
            let help =
                "a whole number and its unit: us, ms, s, m, h or d; also several, as in \"1m30s\"";
            let mistake = Mistake::new(
                Code::BadDuration,
                value.span(),
                format!("expected {wanted}"),
                "not a duration",
            );
            out.push(mistake.help(help));
            return None;
        };
        let least = Duration::from_millis(MIN);
        if !(least..=LONGEST).contains(&duration) {
            let message = format!("expected a duration from {} to 366d", type_duration(least));
            out.push(Mistake::new(
                Code::OutOfRange,
                value.span(),
                message,
                "outside the limits",
            ));
            return None;
        }
        Some(duration)
    }
}

impl<const MIN: u64, const MAX: u64> Kind for Size<MIN, MAX> {
    type Out = usize;
    fn shape() -> Shape {
        Shape::Text {
            what: "size",
            pattern: Some("^[0-9]+(B|KiB|MiB|GiB)$"),
        }
    }
    fn read(value: &Value<'_>, out: &mut Mistakes) -> Option<usize> {
        let wanted = "a size like \"512B\", \"64KiB\" or \"1MiB\"";
        if let DeValue::Integer(integer) = value.get_ref() {
            let help = integer
                .as_str()
                .parse::<u64>()
                .ok()
                .map(|bytes| format!("in bytes that is \"{}\"", type_size(bytes)));
            out.push(wrong_type(value, wanted).maybe_help(help));
            return None;
        }
        let text = want_text(value, wanted, out)?;
        let Some(size) = parse_size(text) else {
            let mistake = Mistake::new(
                Code::BadSize,
                value.span(),
                format!("expected {wanted}"),
                "not a size",
            );
            out.push(mistake.help("a whole number and its unit: B, KiB, MiB or GiB"));
            return None;
        };
        let size = Some(size)
            .filter(|size| (MIN..=MAX).contains(size))
            .and_then(|size| usize::try_from(size).ok());
        if size.is_none() {
            let message = format!(
                "expected a size from {} to {}",
                type_size(MIN),
                type_size(MAX)
            );
            out.push(Mistake::new(
                Code::OutOfRange,
                value.span(),
                message,
                "outside the limits",
            ));
        }
        size
    }
}

impl<K: Kind> Kind for List<K> {
    type Out = Vec<At<K::Out>>;
    fn shape() -> Shape {
        Shape::List {
            item: Box::new(K::shape()),
            filled: false,
        }
    }
    fn read(value: &Value<'_>, out: &mut Mistakes) -> Option<Self::Out> {
        let Some(array) = value.get_ref().as_array() else {
            let help = value
                .get_ref()
                .as_str()
                .map(|text| format!("in brackets: [\"{}\"]", text.escape_debug()));
            out.push(wrong_type(value, "a list").maybe_help(help));
            return None;
        };
        Some(
            array
                .iter()
                .filter_map(|item| read_at::<K>(item.span(), item, out))
                .collect(),
        )
    }
}

impl<K: Kind> Kind for Filled<K> {
    type Out = Vec<At<K::Out>>;
    fn shape() -> Shape {
        Shape::List {
            item: Box::new(K::shape()),
            filled: true,
        }
    }
    fn read(value: &Value<'_>, out: &mut Mistakes) -> Option<Self::Out> {
        let list = List::<K>::read(value, out)?;
        if value
            .get_ref()
            .as_array()
            .is_some_and(|array| array.is_empty())
        {
            out.push(Mistake::new(
                Code::Missing,
                value.span(),
                "this list may not be empty",
                "has no item",
            ));
            return None;
        }
        Some(list)
    }
}

impl<K: Kind> Kind for Map<K> {
    type Out = Vec<(At<String>, At<K::Out>)>;
    fn shape() -> Shape {
        Shape::Map {
            names: None,
            value: Box::new(K::shape()),
        }
    }
    fn read(value: &Value<'_>, out: &mut Mistakes) -> Option<Self::Out> {
        let mut map = Vec::new();
        for (key, value) in entries(want_table(value, out)?) {
            let name = At {
                value: key.get_ref().to_string(),
                span: key.span(),
                key: key.span(),
            };
            if let Some(value) = read_at::<K>(key.span(), value, out) {
                map.push((name, value));
            }
        }
        Some(map)
    }
}

impl<K: Kind> Kind for Named<K> {
    type Out = Vec<(At<String>, At<K::Out>)>;
    fn shape() -> Shape {
        Shape::Map {
            names: Some(NAME_PATTERN),
            value: Box::new(K::shape()),
        }
    }
    fn read(value: &Value<'_>, out: &mut Mistakes) -> Option<Self::Out> {
        for (key, _) in entries(want_table(value, out)?) {
            if !is_name(key.get_ref()) {
                out.push(bad_name(key.get_ref(), key.span()));
            }
        }
        Map::<K>::read(value, out)
    }
}

impl<K: Kind> Kind for OrOff<K> {
    type Out = Switch<K::Out>;
    fn shape() -> Shape {
        Shape::Any(vec![K::shape(), Shape::Choice(vec!["off"])])
    }
    fn read(value: &Value<'_>, out: &mut Mistakes) -> Option<Self::Out> {
        match value.get_ref() {
            DeValue::Table(_) => K::read(value, out).map(Switch::On),
            DeValue::String(text) if text == "off" => Some(Switch::Off),
            _ => {
                out.push(
                    wrong_type(value, "a table, or the word \"off\"")
                        .help("to turn it off, write \"off\""),
                );
                None
            }
        }
    }
}

/// Whether `text` may be the name of a listener, service or server.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// The mistake of a name that may not be one.
#[must_use]
pub fn bad_name(name: &str, span: std::ops::Range<usize>) -> Mistake {
    let better: String = name
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(63)
        .collect();
    let mistake = Mistake::new(
        Code::BadName,
        span,
        format!("`{}` cannot be a name", name.escape_debug()),
        "not a name",
    );
    let rule = "a name is 1 to 63 of: a-z, 0-9 and -";
    mistake.help(if is_name(&better) {
        format!("{rule}; for example `{better}`")
    } else {
        rule.to_owned()
    })
}

/// The duration that `text` stands for: whole numbers, each with its unit.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut nanos = 0_u64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = rest.get(..letters)?;
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        nanos = nanos.saturating_add(number.saturating_mul(*scale));
        rest = rest.get(letters..)?;
    }
    (!text.is_empty()).then(|| Duration::from_nanos(nanos))
}

/// A duration as it would be typed, in the greatest unit that holds it exactly.
#[must_use]
pub fn type_duration(duration: Duration) -> String {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    if nanos == 0 {
        return "0s".to_owned();
    }
    let unit = UNITS.iter().rev().find(|(_, scale)| {
        nanos.is_multiple_of(*scale) && (nanos / scale != 1 || *scale <= 1_000_000_000)
    });
    unit.map_or_else(
        || format!("{}us", nanos / 1_000),
        |(name, scale)| format!("{}{name}", nanos / scale),
    )
}

/// The number of bytes that `text` stands for.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text.get(..digits)?.parse().ok()?;
    let unit = text.get(digits..)?;
    let (_, scale) = SIZES.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*scale)
}

/// A size as it would be typed.
#[must_use]
pub fn type_size(bytes: u64) -> String {
    let unit = SIZES
        .iter()
        .find(|(_, scale)| bytes >= *scale && bytes.is_multiple_of(*scale));
    unit.map_or_else(
        || format!("{bytes}B"),
        |(name, scale)| format!("{}{name}", bytes / scale),
    )
}

fn millionths(number: u64) -> f64 {
    number as f64 / 1e6
}

/// A number of bytes as a default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub usize);

impl Typed for Bytes {
    fn typed(&self) -> serde_json::Value {
        type_size(self.0 as u64).into()
    }
}

impl Typed for Duration {
    fn typed(&self) -> serde_json::Value {
        type_duration(*self).into()
    }
}

impl Typed for u32 {
    fn typed(&self) -> serde_json::Value {
        (*self).into()
    }
}

impl Typed for f64 {
    fn typed(&self) -> serde_json::Value {
        (*self).into()
    }
}

impl Typed for bool {
    fn typed(&self) -> serde_json::Value {
        (*self).into()
    }
}

impl Typed for &str {
    fn typed(&self) -> serde_json::Value {
        (*self).into()
    }
}

impl Typed for &[&str] {
    fn typed(&self) -> serde_json::Value {
        serde_json::json!(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(
            parse_duration("30d"),
            Some(Duration::from_secs(30 * 86_400))
        );
        assert_eq!(parse_duration("0s"), Some(Duration::ZERO));
        for bad in [
            "",
            "5",
            "s",
            "1.5s",
            "-1s",
            "5 s",
            "5S",
            "5min",
            "5sm",
            "99999999999999999999s",
            "٣s",
        ] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
        for text in ["250ms", "1s", "90s", "30d", "10m", "60s", "0s", "5us", "2h"] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(
                parse_duration(&type_duration(duration)),
                Some(duration),
                "{text}"
            );
        }
        assert_eq!(type_duration(Duration::from_secs(60)), "60s");
        assert_eq!(type_duration(Duration::from_secs(600)), "10m");
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("64KiB"), Some(65_536));
        assert_eq!(parse_size("0B"), Some(0));
        for bad in ["", "64", "64KB", "64 KiB", "KiB", "99999999999999GiB"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
        assert_eq!(type_size(65_536), "64KiB");
        assert_eq!(type_size(1_000), "1000B");
    }
}
