//! Durations and sizes, which are numbers with units: `"250ms"`, `"64KiB"`.

use std::time::Duration;

use toml::de::DeValue;

use super::shape::ValueShape;
use super::{FileLiteral, FileValue, Value, want_text, wrong_type};
use crate::diagnostic::{Code, Diagnostic, Diagnostics};

/// A duration of at least `MIN` milliseconds and at most a year.
#[derive(Debug, Clone, Copy)]
pub struct DurationValue<const MIN: u64 = 1>;

/// A number of bytes from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy)]
pub struct Size<const MIN: u64, const MAX: u64>;

/// A number of bytes as a default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteCount(pub usize);

/// The permissions of a file: `"0660"`.
#[derive(Debug, Clone, Copy)]
pub struct FileModeText;

/// The permissions of a file, without its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMode(pub u32);

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

impl FileValue for FileModeText {
    type Out = FileMode;
    fn shape() -> ValueShape {
        ValueShape::Text {
            what: "file mode",
            pattern: Some("^0[0-7]{3}$"),
        }
    }
    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<FileMode> {
        let wanted = "permissions like \"0660\"";
        let text = want_text(value, wanted, out)?;
        let is_octal = text.len() == 4 && text.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
        let mode = u32::from_str_radix(text, 8).ok();
        let mode = mode.filter(|_| is_octal && text.starts_with('0'));
        if mode.is_none() {
            let message = format!("`{}` is not the mode of a file", text.escape_debug());
            let diagnostic = Diagnostic::new(
                Code::OutOfRange,
                value.span(),
                message,
                "expected a zero and three octal digits",
            );
            let help = "\"0660\" for its owner and its group, \"0666\" for everybody";
            out.push(diagnostic.help(help));
        }
        mode.map(FileMode)
    }
}

impl FileLiteral for FileMode {
    fn typed(&self) -> serde_json::Value {
        format!("{:04o}", self.0).into()
    }
}

impl<const MIN: u64> FileValue for DurationValue<MIN> {
    type Out = Duration;
    fn shape() -> ValueShape {
        ValueShape::Text {
            what: "duration",
            pattern: Some("^([0-9]+(us|ms|s|m|h|d))+$"),
        }
    }
    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<Duration> {
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
            let diagnostic = Diagnostic::new(
                Code::BadDuration,
                value.span(),
                format!("expected {wanted}"),
                "not a duration",
            );
            out.push(diagnostic.help(help));
            return None;
        };
        let least = Duration::from_millis(MIN);
        if !(least..=LONGEST).contains(&duration) {
            let message = format!("expected a duration from {} to 366d", type_duration(least));
            out.push(Diagnostic::new(
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

impl<const MIN: u64, const MAX: u64> FileValue for Size<MIN, MAX> {
    type Out = usize;
    fn shape() -> ValueShape {
        ValueShape::Text {
            what: "size",
            pattern: Some("^[0-9]+(B|KiB|MiB|GiB)$"),
        }
    }
    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<usize> {
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
            let diagnostic = Diagnostic::new(
                Code::BadSize,
                value.span(),
                format!("expected {wanted}"),
                "not a size",
            );
            out.push(diagnostic.help("a whole number and its unit: B, KiB, MiB or GiB"));
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
            out.push(Diagnostic::new(
                Code::OutOfRange,
                value.span(),
                message,
                "outside the limits",
            ));
        }
        size
    }
}

impl FileLiteral for ByteCount {
    fn typed(&self) -> serde_json::Value {
        type_size(self.0 as u64).into()
    }
}

impl FileLiteral for Duration {
    fn typed(&self) -> serde_json::Value {
        type_duration(*self).into()
    }
}

/// Parses a duration: whole numbers, each with its unit.
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

/// Parses a size in bytes.
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
    fn sizes_are_parsed_and_written() {
        assert_eq!(parse_size("64KiB"), Some(65_536));
        assert_eq!(parse_size("0B"), Some(0));
        for bad in ["", "64", "64KB", "64 KiB", "KiB", "99999999999999GiB"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
        assert_eq!(type_size(65_536), "64KiB");
        assert_eq!(type_size(1_000), "1000B");
    }
}
