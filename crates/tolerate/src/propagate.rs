//! A deadline on the wire: how long the other side may take, in a header.
//!
//! Intuition: a server that does not know when its client gives up works for nobody, most of all when everything is slow.
//! Clocks differ between machines, so what is sent is the time that is left and not a moment. It is rounded down, and what comes
//! in can only make one's own deadline earlier: no hop ever works longer than the one before it waits, and no client can make a
//! server work longer than the server wants.
//!
//! Apart from [`Deadline`], which knows nothing of bytes.

use std::fmt;
use std::time::Duration;

use evenkeel_core::Instant;
use serde::{Deserialize, Serialize};

use crate::Deadline;

/// How a deadline is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeadlineFormat {
    /// As in `grpc-timeout`: 1 to 8 digits and a unit: `H`, `M`, `S`, `m`, `u` or `n`. The default.
    #[default]
    Grpc,
    /// Whole milliseconds: only digits.
    Millis,
}

/// The header that gRPC has for this.
pub const GRPC_TIMEOUT: &str = "grpc-timeout";
/// More digits than this are no number of milliseconds: 10¹⁵ of them are 31,000 years.
const MOST_DIGITS: usize = 15;
const MOST: u128 = 99_999_999;
/// Units of gRPC with their nanoseconds, from fine to coarse.
const UNITS: [(u8, u64); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];

impl DeadlineFormat {
    /// How long a header gives. Strict: no sign, no space, no fraction, no other unit. What it does not understand says nothing.
    #[must_use]
    pub fn parse(self, value: &[u8]) -> Option<Duration> {
        match self {
            Self::Millis => digits(value, MOST_DIGITS).map(Duration::from_millis),
            Self::Grpc => {
                let (unit, number) = value.split_last()?;
                let (_, nanos) = UNITS.iter().find(|(letter, _)| letter == unit)?;
                let nanos = u128::from(digits(number, 8)?) * u128::from(*nanos);
                Some(from_nanos(nanos))
            }
        }
    }

    /// What is `left`, rounded down, in the finest unit in which it has no more than eight digits.
    #[must_use]
    pub fn render(self, left: Duration) -> WireTimeout {
        match self {
            Self::Millis => WireTimeout::new(left.as_millis().min(MOST), None),
            Self::Grpc => {
                let in_unit = |nanos: u64| left.as_nanos() / u128::from(nanos);
                let fits = |unit: &&(u8, u64)| in_unit(unit.1) <= MOST;
                let (unit, nanos) = UNITS.iter().find(fits).unwrap_or(&UNITS[5]);
                WireTimeout::new(in_unit(*nanos).min(MOST), Some(*unit))
            }
        }
    }
}

/// What is `left` for `grpc-timeout` in always nine bytes, `00000250m`, so that a prepared head can be changed in place. Rounded
/// down to milliseconds; 27 hours at most.
#[must_use]
pub fn fixed_grpc(left: Duration) -> [u8; 9] {
    let mut out = [b'm'; 9];
    out[..8].copy_from_slice(&fixed_millis(left));
    out
}

/// What is `left` in milliseconds in always eight bytes, `00000250`. Rounded down; 27 hours at most.
#[must_use]
pub fn fixed_millis(left: Duration) -> [u8; 8] {
    let mut rest = left.as_millis().min(MOST);
    let mut out = [b'0'; 8];
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out
}

/// One's own deadline, or what the client gives from `now` on if that is earlier. `None`: the client said nothing that was
/// understood.
#[must_use]
pub fn tighten(own: Deadline, now: Instant, wire: Option<Duration>) -> Deadline {
    match wire.map(|left| Deadline::new(now, left)) {
        Some(wire) if wire.end() < own.end() => wire,
        _ => own,
    }
}

/// A rendered timeout, at most nine bytes, on the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireTimeout {
    bytes: [u8; 9],
    begin: u8,
}

impl WireTimeout {
    /// `number` has at most eight digits.
    fn new(mut number: u128, unit: Option<u8>) -> Self {
        let mut bytes = [b'0'; 9];
        let mut begin = 9;
        if let Some(unit) = unit {
            begin -= 1;
            bytes[begin] = unit;
        }
        loop {
            begin -= 1;
            bytes[begin] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 || begin == 0 {
                break;
            }
        }
        Self {
            bytes,
            begin: begin as u8,
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.begin)..]
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl fmt::Display for WireTimeout {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.as_str())
    }
}

/// 1 to `most` digits and nothing else. `most` fits a `u64`.
pub(crate) fn digits(value: &[u8], most: usize) -> Option<u64> {
    if value.is_empty() || value.len() > most || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |number: u64, digit: &u8| number * 10 + u64::from(digit - b'0');
    Some(value.iter().fold(0, add))
}

fn from_nanos(nanos: u128) -> Duration {
    u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn grpc(left: Duration) -> String {
        DeadlineFormat::Grpc.render(left).to_string()
    }

    #[test]
    fn what_grpc_says_is_understood() {
        for (text, expected) in [
            ("1n", Duration::from_nanos(1)),
            ("99999999n", Duration::from_nanos(99_999_999)),
            ("7u", Duration::from_micros(7)),
            ("250m", millis(250)),
            ("00000250m", millis(250)),
            ("0S", Duration::ZERO),
            ("30S", Duration::from_secs(30)),
            ("2M", Duration::from_secs(120)),
            ("1H", Duration::from_secs(3_600)),
            ("5000000H", Duration::from_secs(18_000_000_000)),
            ("99999999H", Duration::MAX),
        ] {
            assert_eq!(
                DeadlineFormat::Grpc.parse(text.as_bytes()),
                Some(expected),
                "{text}"
            );
        }
        for text in [
            "",
            "m",
            "5",
            "100000000m",
            "-1m",
            "+1m",
            " 1m",
            "1 m",
            "1.5S",
            "1s",
            "1h",
            "1mm",
            "1m ",
            "0x1m",
            "٣m",
        ] {
            assert_eq!(DeadlineFormat::Grpc.parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn milliseconds_are_digits() {
        let parse = |text: &str| DeadlineFormat::Millis.parse(text.as_bytes());
        assert_eq!(parse("1500"), Some(millis(1_500)));
        assert_eq!(parse("00000000"), Some(Duration::ZERO));
        assert_eq!(parse("999999999999999"), Some(millis(999_999_999_999_999)));
        for text in ["", "1000000000000000", "-1", "1.5", "1e3", "5m", " 5", "5 "] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_left_is_rounded_down_into_eight_digits() {
        assert_eq!(grpc(Duration::ZERO), "0n");
        assert_eq!(grpc(Duration::from_nanos(99_999_999)), "99999999n");
        assert_eq!(grpc(millis(100)), "100000u");
        assert_eq!(grpc(Duration::from_nanos(100_000_999)), "100000u");
        assert_eq!(grpc(Duration::from_secs(15)), "15000000u");
        assert_eq!(grpc(Duration::from_secs(100)), "100000m");
        assert_eq!(grpc(Duration::from_secs(99_999)), "99999000m");
        assert_eq!(grpc(Duration::from_secs(100_000)), "100000S");
        assert_eq!(grpc(Duration::from_secs(100_000_059)), "1666667M");
        assert_eq!(grpc(Duration::MAX), "99999999H");
        let shown = DeadlineFormat::Millis.render(Duration::from_micros(250_999));
        assert_eq!(shown.as_str(), "250");
        let shown = DeadlineFormat::Millis.render(Duration::MAX);
        assert_eq!(shown.as_bytes(), b"99999999");
    }

    #[test]
    fn a_prepared_head_is_changed_in_place() {
        assert_eq!(&fixed_grpc(millis(250)), b"00000250m");
        assert_eq!(&fixed_grpc(Duration::MAX), b"99999999m");
        assert_eq!(&fixed_millis(Duration::from_micros(999)), b"00000000");
        assert_eq!(&fixed_millis(millis(12_345_678)), b"12345678");
    }

    #[test]
    fn a_client_makes_the_deadline_earlier_and_never_later() {
        let now = Instant::from_millis(1_000);
        let own = Deadline::new(Instant::from_millis(500), millis(2_000));
        let end = |wire| tighten(own, now, wire).end();
        assert_eq!(end(None), Instant::from_millis(2_500));
        assert_eq!(end(Some(millis(100))), Instant::from_millis(1_100));
        assert_eq!(end(Some(Duration::ZERO)), now, "it has passed");
        assert_eq!(end(Some(millis(9_000))), Instant::from_millis(2_500));
        assert_eq!(end(Some(Duration::MAX)), Instant::from_millis(2_500));
        let endless = tighten(Deadline::never(), now, Some(millis(7)));
        assert_eq!(endless.end(), Instant::from_millis(1_007));
    }

    proptest! {
        #[test]
        fn the_other_side_never_gets_more_than_is_left(nanos: u64, shift in 0_u32..64) {
            let left = Duration::from_nanos(nanos >> shift);
            for format in [DeadlineFormat::Grpc, DeadlineFormat::Millis] {
                let shown = format.render(left);
                let read = format.parse(shown.as_bytes()).expect("it reads what it writes");
                prop_assert!(read <= left);
                if matches!(format, DeadlineFormat::Grpc) {
                    // Units are a thousand apart at most: five digits at least are kept.
                    prop_assert!((left - read).as_nanos() <= left.as_nanos() / 99_999);
                }
            }
            let fixed = DeadlineFormat::Grpc.parse(&fixed_grpc(left)).expect("nine bytes");
            prop_assert_eq!(Some(fixed), DeadlineFormat::Millis.parse(&fixed_millis(left)));
            prop_assert!(fixed <= left);
        }

        #[test]
        fn bytes_of_any_kind(value: Vec<u8>, now: u64, end: u64) {
            let own = Deadline::new(Instant::ZERO, Duration::from_nanos(end));
            for format in [DeadlineFormat::Grpc, DeadlineFormat::Millis] {
                let tightened = tighten(own, Instant::from_nanos(now), format.parse(&value));
                prop_assert!(tightened.end() <= own.end());
            }
        }
    }
}
