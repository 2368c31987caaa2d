//! What a server asks a client to wait before it tries again.
//!
//! Intuition: the server knows how long it will be busy, so its word is worth more than any formula of the client; but it is a
//! peer's word, so it is bounded. What cannot be read counts as not said, except in gRPC, where it means: do not retry.
//!
//! Parsing and using are apart: [`Pushback`] is what was said, [`PushbackOptions`] what is made of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use evenkeel_core::Random;
use serde::{Deserialize, Serialize};

/// What a server said about trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Pushback {
    /// Nothing.
    #[default]
    None,
    /// Not before this has passed.
    After(Duration),
    /// Not at all.
    DoNotRetry,
}

/// More digits than this are no number of seconds or milliseconds that anyone means.
const MOST_DIGITS: usize = 10;

impl Pushback {
    /// `Retry-After` (RFC 9110, section 10.2.3): whole seconds, or a date, against `wall`. A date that has passed is zero.
    #[must_use]
    pub fn retry_after(value: &[u8], wall: SystemTime) -> Self {
        let since_1970 = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::retry_after_seconds(value).or_else(|| {
            let until = http_date(value).map(Duration::from_secs);
            until.map_or(Self::None, |until| {
                Self::After(until.saturating_sub(since_1970))
            })
        })
    }

    /// `Retry-After` in whole seconds only: for who does not trust two clocks to agree.
    #[must_use]
    pub fn retry_after_seconds(value: &[u8]) -> Self {
        number(value).map_or(Self::None, |seconds| {
            Self::After(Duration::from_secs(seconds))
        })
    }

    /// `x-amz-retry-after`, `retry-after-ms`, and whatever else is whole milliseconds.
    #[must_use]
    pub fn milliseconds(value: &[u8]) -> Self {
        number(value).map_or(Self::None, |millis| {
            Self::After(Duration::from_millis(millis))
        })
    }

    /// `grpc-retry-pushback-ms` (gRFC A6), all its values: one that is negative or no number, or more than one, means that there
    /// is to be no retry.
    #[must_use]
    pub fn grpc<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Self {
        let mut values = values.into_iter();
        match (values.next(), values.next()) {
            (None, _) => Self::None,
            (Some(value), None) => number(value)
                // The specification's number has 32 bits.
                .filter(|&millis| i32::try_from(millis).is_ok())
                .map_or(Self::DoNotRetry, |millis| {
                    Self::After(Duration::from_millis(millis))
                }),
            (Some(_), Some(_)) => Self::DoNotRetry,
        }
    }

    /// How long, if it is a time.
    #[must_use]
    pub const fn after(self) -> Option<Duration> {
        match self {
            Self::After(after) => Some(after),
            Self::None | Self::DoNotRetry => None,
        }
    }

    /// The word for metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::After(_) => "after",
            Self::DoNotRetry => "do-not-retry",
        }
    }

    fn or_else(self, other: impl FnOnce() -> Self) -> Self {
        if self == Self::None { other() } else { self }
    }
}

/// What is made of a server's word.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PushbackOptions {
    /// The longest time that counts. Default 5 min (Envoy).
    pub max: Duration,
    /// What becomes of a longer one. Default: it counts as `max`.
    pub beyond: Beyond,
    /// It is kept within the own delay and this much more (AWS 2.1: 5 s). Default: it stands alone.
    pub within: Option<Duration>,
    /// Up to this part longer, at random, so that those who were told the same time do not come back at the same time; 0 to 1 (Envoy:
    /// 0.5). Default 0.1. Not with `within`.
    pub jitter: f64,
}

impl Default for PushbackOptions {
    fn default() -> Self {
        Self {
            max: Duration::from_secs(300),
            beyond: Beyond::Clamp,
            within: None,
            jitter: 0.1,
        }
    }
}

/// What becomes of a time that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Beyond {
    /// It counts as the longest that does.
    Clamp,
    /// It counts as not said (Envoy).
    Ignore,
    /// There is no retry: the server would refuse it.
    DoNotRetry,
}

impl PushbackOptions {
    /// Envoy's: `U(h, 1.5 h)`, ignored above 5 min.
    #[must_use]
    pub const fn envoy() -> Self {
        Self {
            max: Duration::from_secs(300),
            beyond: Beyond::Ignore,
            within: None,
            jitter: 0.5,
        }
    }

    /// The AWS retry specification's, version 2.1: `max(t, min(h, t + 5 s))` with `t` the own delay.
    #[must_use]
    pub const fn aws() -> Self {
        Self {
            max: Duration::MAX,
            beyond: Beyond::Clamp,
            within: Some(Duration::from_secs(5)),
            jitter: 0.0,
        }
    }

    /// How long to wait where the own delay would be `own`; `None` if there is to be no retry.
    #[must_use]
    pub fn delay(&self, pushback: Pushback, own: Duration, rng: &mut Random) -> Option<Duration> {
        let asked = match pushback {
            Pushback::None => return Some(own),
            Pushback::DoNotRetry => return None,
            Pushback::After(asked) => asked,
        };
        let asked = match self.beyond {
            Beyond::Clamp => asked.min(self.max),
            Beyond::Ignore if asked > self.max => return Some(own),
            Beyond::DoNotRetry if asked > self.max => return None,
            Beyond::Ignore | Beyond::DoNotRetry => asked,
        };
        if let Some(more) = self.within {
            return Some(asked.min(own.saturating_add(more)).max(own));
        }
        let jitter = if self.jitter > 0.0 {
            self.jitter.min(1.0)
        } else {
            0.0
        };
        let factor = 1.0 + jitter * rng.unit();
        // Of a time that cannot be made longer no more is asked.
        Some(Duration::try_from_secs_f64(asked.as_secs_f64() * factor).unwrap_or(asked))
    }
}

/// Digits alone, and not too many.
fn number(value: &[u8]) -> Option<u64> {
    let is_number =
        (1..=MOST_DIGITS).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    is_number.then(|| digits(value))
}

fn digits(value: &[u8]) -> u64 {
    value.iter().fold(0, |sum: u64, digit| {
        sum.saturating_mul(10) + u64::from(digit.wrapping_sub(b'0'))
    })
}

const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
const DAYS: &[u8; 21] = b"MonTueWedThuFriSatSun";

/// Seconds since 1970 of a date as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT`. The two obsolete forms, which nobody may
/// send, are refused; so is a day of the week that is not that day's.
#[must_use]
pub fn http_date(value: &[u8]) -> Option<u64> {
    let value: &[u8; 29] = value.try_into().ok()?;
    for (at, mark) in [
        (3, b','),
        (4, b' '),
        (7, b' '),
        (11, b' '),
        (16, b' '),
        (19, b':'),
        (22, b':'),
        (25, b' '),
    ] {
        if value[at] != mark {
            return None;
        }
    }
    if &value[26..] != b"GMT" {
        return None;
    }
    let weekday = DAYS.chunks(3).position(|day| day == &value[..3])? as u64;
    let month = MONTHS.chunks(3).position(|month| month == &value[8..11])? as u64 + 1;
    let (day, year) = (number(&value[5..7])?, number(&value[12..16])?);
    let (hour, minute, second) = (
        number(&value[17..19])?,
        number(&value[20..22])?,
        number(&value[23..25])?,
    );
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + u64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    // A leap second counts as the first of the next minute.
    if year < 1970 || !(1..=length).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days_since_1970(year, month, day);
    // 1970 began on a Thursday.
    ((days + 3) % 7 == weekday).then_some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// Years are counted from March, so that the leap day is the last of its year.
const fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let from_march = (month + 9) % 12;
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    // 719,468 days lie between the 1st of March of the year 0 and 1970.
    year * 365 + year / 4 - year / 100 + year / 400 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn after(millis: u64) -> Pushback {
        Pushback::After(Duration::from_millis(millis))
    }

    fn wall(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// RFC 9110's own examples, and what lies at the edges of calendars.
    #[test]
    fn dates() {
        for (text, seconds) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Fri, 31 Dec 1999 23:59:59 GMT", 946_684_799),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Tue, 29 Feb 2000 12:00:00 GMT", 951_825_600),
            ("Fri, 01 Mar 2024 00:00:00 GMT", 1_709_251_200),
            ("Fri, 31 Dec 2027 23:59:59 GMT", 1_830_297_599),
        ] {
            assert_eq!(http_date(text.as_bytes()), Some(seconds), "{text}");
        }
        for text in [
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Wed, 29 Feb 2023 12:00:00 GMT",
            "Thu, 01 Jan 1970 24:00:00 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "",
        ] {
            assert_eq!(http_date(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn retry_after_in_both_forms() {
        let now = wall(784_111_770);
        let of = |text: &str| Pushback::retry_after(text.as_bytes(), now);
        assert_eq!(of("120"), after(120_000));
        assert_eq!(of("0"), after(0));
        assert_eq!(of("Sun, 06 Nov 1994 08:49:37 GMT"), after(7_000));
        assert_eq!(
            of("Sat, 05 Nov 1994 08:49:37 GMT"),
            after(0),
            "it has passed"
        );
        for text in [
            "",
            "-1",
            "+1",
            "1.5",
            " 1",
            "1 ",
            "12345678901",
            "1s",
            "soon",
        ] {
            assert_eq!(of(text), Pushback::None, "{text}");
        }
        assert_eq!(
            Pushback::retry_after_seconds(b"Sun, 06 Nov 1994 08:49:37 GMT"),
            Pushback::None
        );
        assert_eq!(Pushback::milliseconds(b"1500"), after(1_500));
        assert_eq!(Pushback::milliseconds(b"invalid"), Pushback::None);
    }

    /// gRFC A6, and the cases of grpc-go's TestRetryStreaming: a time, negative, no number, more than one.
    #[test]
    fn grpc_pushback() {
        let of = |values: &[&str]| Pushback::grpc(values.iter().map(|value| value.as_bytes()));
        assert_eq!(of(&[]), Pushback::None);
        assert_eq!(of(&["1000"]), after(1_000));
        assert_eq!(of(&["0"]), after(0));
        for values in [
            &["-1"][..],
            &["bad"],
            &[""],
            &["1.5"],
            &["2147483648"],
            &["10", "10"],
        ] {
            assert_eq!(of(values), Pushback::DoNotRetry, "{values:?}");
        }
    }

    #[test]
    fn what_is_made_of_it() {
        let own = Duration::from_millis(50);
        let mut rng = Random::seeded(1);
        let mut of = |options: PushbackOptions, pushback| options.delay(pushback, own, &mut rng);
        let aws = PushbackOptions::aws();
        for (asked, delay) in [(1_500, 1_500), (0, 50), (10_000, 5_050)] {
            assert_eq!(of(aws, after(asked)), Some(Duration::from_millis(delay)));
        }
        for options in [aws, PushbackOptions::envoy(), PushbackOptions::default()] {
            assert_eq!(of(options, Pushback::None), Some(own));
            assert_eq!(of(options, Pushback::DoNotRetry), None);
        }
        assert_eq!(of(PushbackOptions::envoy(), after(300_001)), Some(own));
        for _ in 0..1_000 {
            let delay = of(PushbackOptions::envoy(), after(10_000)).unwrap();
            assert!(delay >= Duration::from_secs(10) && delay <= Duration::from_secs(15));
        }
        let strict = PushbackOptions {
            beyond: Beyond::DoNotRetry,
            ..PushbackOptions::default()
        };
        assert_eq!(of(strict, after(300_001)), None);
        let clamped = PushbackOptions {
            jitter: f64::NAN,
            ..PushbackOptions::default()
        };
        assert_eq!(of(clamped, after(u64::MAX)), Some(Duration::from_secs(300)));
    }

    proptest! {
        #[test]
        fn dates_follow_the_calendar(days in 0_u64..2_000_000) {
            // By counting, not by formula.
            let (mut year, mut rest) = (1970, days);
            loop {
                let length = 365 + u64::from(year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
                if rest < length {
                    break;
                }
                rest -= length;
                year += 1;
            }
            prop_assert_eq!(days_since_1970(year, 1, 1) + rest, days);
        }

        #[test]
        fn any_bytes_are_survived(value in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _: Pushback = Pushback::retry_after(&value, wall(0));
            prop_assert!(Pushback::grpc([&value[..]]) != Pushback::None);
        }
    }
}
