//! Deadlines in headers: how much time the next hop has.
//!
//! Intuition: work for a client that has given up is the most useless work there is, and only the client knows when it gives
//! up. The *remaining* time is sent, not a point in time: the clocks of two machines differ, and the network takes little.
//! The value is rounded down, and a peer's value never extends one's own deadline, so along a chain a deadline only gets
//! closer.
//!
//! Two forms: gRPC's `grpc-timeout`, and milliseconds in a header of any name.

use std::time::Duration;

use evenkeel_core::Instant;

use crate::Deadline;

/// Units of `grpc-timeout`, smallest first, with their nanoseconds.
const UNITS: [(u8, u64); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];
/// The gRPC specification allows eight digits.
const MOST_DIGITS: usize = 8;
const MOST: u64 = 99_999_999;
/// Digits of milliseconds that are accepted: 31 years.
const MOST_MILLIS_DIGITS: usize = 12;

/// The remaining time of a deadline as a header's value, without an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodedTimeout {
    text: [u8; 20],
    length: u8,
}

impl EncodedTimeout {
    /// For `grpc-timeout`: in the finest unit that eight digits can hold, rounded down. `None` if no time is left, so that
    /// nothing should be sent, or if there is no deadline.
    #[must_use]
    pub fn grpc(deadline: Deadline, now: Instant) -> Option<Self> {
        let left = left(deadline, now)?;
        let (unit, nanos) = UNITS.into_iter().find(|(_, nanos)| left / nanos <= MOST)?;
        let mut value = Self::number(left / nanos);
        value.push(unit);
        Some(value)
    }

    /// For a header of whole milliseconds, rounded down. `None` if less than one is left, or if there is no deadline.
    #[must_use]
    pub fn milliseconds(deadline: Deadline, now: Instant) -> Option<Self> {
        let millis = left(deadline, now)? / 1_000_000;
        (millis > 0).then(|| Self::number(millis))
    }

    /// The header's value.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..usize::from(self.length)]
    }

    fn number(number: u64) -> Self {
        let mut value = Self {
            text: [0; 20],
            length: 0,
        };
        let mut power = 1;
        while number / power >= 10 {
            power *= 10;
        }
        while power > 0 {
            value.push(b'0' + (number / power % 10) as u8);
            power /= 10;
        }
        value
    }

    /// A number has at most 19 digits here, since the nanoseconds fit in 64 bits; a unit is the twentieth byte.
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.text.get_mut(usize::from(self.length)) {
            *place = byte;
            self.length += 1;
        }
    }
}

/// The remaining nanoseconds, if any are left and there is a deadline.
fn left(deadline: Deadline, now: Instant) -> Option<u64> {
    if deadline == Deadline::never() {
        return None;
    }
    let left = u64::try_from(deadline.remaining(now).as_nanos()).ok()?;
    (left > 0).then_some(left)
}

/// Parses a `grpc-timeout`: one to eight digits and a unit, nothing else.
#[must_use]
pub fn parse_grpc(value: &[u8]) -> Option<Duration> {
    let (&unit, digits) = value.split_last()?;
    let nanos = UNITS.into_iter().find(|(letter, _)| *letter == unit)?.1;
    let number = number(digits, MOST_DIGITS)?;
    // At most 99,999,999 hours, 3.6e20 ns: the seconds fit in 64 bits, the nanoseconds do not.
    let nanos = u128::from(number) * u128::from(nanos);
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    Some(Duration::new(seconds, (nanos % 1_000_000_000) as u32))
}

/// Parses a header of milliseconds: one to twelve digits, nothing else.
#[must_use]
pub fn parse_milliseconds(value: &[u8]) -> Option<Duration> {
    number(value, MOST_MILLIS_DIGITS).map(Duration::from_millis)
}

fn number(digits: &[u8], most: usize) -> Option<u64> {
    let is_number = (1..=most).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| {
        digits
            .iter()
            .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grpc(nanos: u64) -> Option<String> {
        let deadline = Deadline::new(Instant::ZERO, Duration::from_nanos(nanos));
        let value = EncodedTimeout::grpc(deadline, Instant::ZERO)?;
        Some(String::from_utf8(value.as_bytes().to_vec()).unwrap())
    }

    #[test]
    fn the_finest_unit_that_fits() {
        for (nanos, text) in [
            (1, "1n"),
            (99_999_999, "99999999n"),
            (100_000_000, "100000u"),
            (1_500_000_000, "1500000u"),
            (99_999_999_999, "99999999u"),
            (100_000_000_000, "100000m"),
            (u64::MAX - 1, "307445734M"),
        ] {
            let wanted = if text.ends_with('M') {
                "5124095H"
            } else {
                text
            };
            assert_eq!(grpc(nanos).as_deref(), Some(wanted));
        }
        assert_eq!(grpc(0), None);
        assert_eq!(EncodedTimeout::grpc(Deadline::never(), Instant::ZERO), None);
    }

    #[test]
    fn milliseconds_are_rounded_down() {
        let of = |nanos| {
            let deadline = Deadline::new(Instant::ZERO, Duration::from_nanos(nanos));
            EncodedTimeout::milliseconds(deadline, Instant::ZERO)
                .map(|value| value.as_bytes().to_vec())
        };
        assert_eq!(of(2_999_999), Some(b"2".to_vec()));
        assert_eq!(of(15_000_000_000), Some(b"15000".to_vec()));
        assert_eq!(of(999_999), None);
    }

    #[test]
    fn grpc_timeouts_are_parsed_strictly() {
        for (text, nanos) in [
            ("1n", 1),
            ("0m", 0),
            ("00000020m", 20_000_000),
            ("2S", 2_000_000_000),
            ("1M", 60_000_000_000),
        ] {
            assert_eq!(
                parse_grpc(text.as_bytes()),
                Some(Duration::from_nanos(nanos)),
                "{text}"
            );
        }
        let most = Duration::from_secs(99_999_999 * 3_600);
        assert_eq!(parse_grpc(b"99999999H"), Some(most));
        for text in [
            "",
            "S",
            "1",
            "123456789n",
            "-1S",
            "+1S",
            "1.5S",
            " 1S",
            "1S ",
            "1s",
            "1ms",
            "1 S",
        ] {
            assert_eq!(parse_grpc(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_milliseconds(b"250"), Some(Duration::from_millis(250)));
        for text in ["", "1.5", "-1", "1234567890123", "250ms"] {
            assert_eq!(parse_milliseconds(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_was_sent_is_read_as_no_more_than_was_left(left in 1_u64..u64::MAX) {
            let deadline = Deadline::new(Instant::ZERO, Duration::from_nanos(left));
            let value = EncodedTimeout::grpc(deadline, Instant::ZERO).unwrap();
            let read = parse_grpc(value.as_bytes()).unwrap();
            prop_assert!(read <= Duration::from_nanos(left));
            // Eight digits: at most a part in a million less, but for hours.
            prop_assert!(read.as_nanos() as f64 >= left as f64 * 0.999_998);
            if let Some(value) = EncodedTimeout::milliseconds(deadline, Instant::ZERO) {
                let read = parse_milliseconds(value.as_bytes());
                prop_assert!(read.is_none() || read == Some(Duration::from_millis(left / 1_000_000)));
            }
        }

        #[test]
        fn any_bytes_are_survived(value in proptest::collection::vec(any::<u8>(), 0..12)) {
            let _: Option<Duration> = parse_grpc(&value);
            let _: Option<Duration> = parse_milliseconds(&value);
        }
    }
}
