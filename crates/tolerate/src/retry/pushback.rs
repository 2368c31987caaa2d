//! How long a server asks a client to wait before a retry (pushback).
//!
//! Intuition: the server knows how long it will be busy, so its word is worth more than any formula of the client; but it is
//! a peer's word, so it is bounded. An invalid value is ignored, except in gRPC, where it means: do not retry.
//!
//! [`Pushback`] is what the server said, [`PushbackOptions`] what follows from it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use evenkeel_core::Random;
use serde::{Deserialize, Serialize};

/// What a server said about a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Pushback {
    /// Nothing.
    #[default]
    None,
    /// Not before this time has passed.
    After(Duration),
    /// Not at all.
    DoNotRetry,
}

/// Longer numbers of seconds or milliseconds are invalid.
const MOST_DIGITS: usize = 10;

impl Pushback {
    /// `Retry-After` (RFC 9110, section 10.2.3): whole seconds, or a date, compared with `wall`. A date in the past is zero.
    #[must_use]
    pub fn retry_after(value: &[u8], wall: SystemTime) -> Self {
        Self::retry_after_since(value, wall.duration_since(UNIX_EPOCH).ok())
    }

    /// The same, with the response's own `Date` as the present time: then only the server's clock counts. Without `Date`,
    /// which every server with a clock sends, a date is ignored.
    #[must_use]
    pub fn retry_after_of(value: &[u8], date: Option<&[u8]>) -> Self {
        Self::retry_after_since(value, date.and_then(http_date))
    }

    fn retry_after_since(value: &[u8], since_1970: Option<Duration>) -> Self {
        let said = number(value).map(Duration::from_secs);
        let until = || Some(http_date(value)?.saturating_sub(since_1970?));
        said.or_else(until).map_or(Self::None, Self::After)
    }

    /// `x-amz-retry-after`, `retry-after-ms`, and other fields of whole milliseconds.
    #[must_use]
    pub fn milliseconds(value: &[u8]) -> Self {
        number(value).map_or(Self::None, |millis| {
            Self::After(Duration::from_millis(millis))
        })
    }

    /// `grpc-retry-pushback-ms` (gRFC A6), all its values: a negative or invalid one, or more than one, forbids the retry.
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

    /// The time, if there is one.
    #[must_use]
    pub const fn after(self) -> Option<Duration> {
        match self {
            Self::After(after) => Some(after),
            Self::None | Self::DoNotRetry => None,
        }
    }

    /// The label in metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::After(_) => "after",
            Self::DoNotRetry => "do-not-retry",
        }
    }
}

/// How pushback is used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PushbackOptions {
    /// The longest accepted time. Default 5 min (Envoy).
    pub max: Duration,
    /// What becomes of a longer one. Default: clamped to `max`.
    pub over_max: OverMax,
    /// It is clamped to between the back-off's delay and this much more. Default 5 s (AWS 2.1), so that clients that were
    /// all told "at once" do not all return at once. `None`: it replaces the delay.
    pub within: Option<Duration>,
    /// Lengthened at random by up to this share, so that clients that were told the same time do not return at the same
    /// time; 0 to 1 (Envoy: 0.5). Default 0. Not with `within`.
    pub jitter: f64,
}

impl Default for PushbackOptions {
    fn default() -> Self {
        Self {
            max: Duration::from_secs(300),
            ..Self::aws()
        }
    }
}

/// What becomes of a time that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OverMax {
    /// It is clamped.
    Clamp,
    /// It is ignored (Envoy).
    Ignore,
    /// There is no retry: the server would reject it.
    DoNotRetry,
}

impl PushbackOptions {
    /// Those of Envoy: `U(h, 1.5 h)`, ignored above 5 min.
    #[must_use]
    pub const fn envoy() -> Self {
        Self {
            max: Duration::from_secs(300),
            over_max: OverMax::Ignore,
            within: None,
            jitter: 0.5,
        }
    }

    /// Those of gRPC (gRFC A6): as the server said.
    #[must_use]
    pub const fn grpc() -> Self {
        Self {
            max: Duration::MAX,
            over_max: OverMax::Clamp,
            within: None,
            jitter: 0.0,
        }
    }

    /// Those of the AWS retry specification, version 2.1: `max(t, min(h, t + 5 s))` with `t` the back-off's delay.
    #[must_use]
    pub const fn aws() -> Self {
        Self {
            max: Duration::MAX,
            over_max: OverMax::Clamp,
            within: Some(Duration::from_secs(5)),
            jitter: 0.0,
        }
    }

    /// How long to wait where the back-off's delay would be `own`; `None` if there is to be no retry.
    #[must_use]
    pub fn delay(&self, pushback: Pushback, own: Duration, rng: &mut Random) -> Option<Duration> {
        let asked = match pushback {
            Pushback::None => return Some(own),
            Pushback::DoNotRetry => return None,
            Pushback::After(asked) => asked,
        };
        let asked = match self.over_max {
            OverMax::Clamp => asked.min(self.max),
            OverMax::Ignore if asked > self.max => return Some(own),
            OverMax::DoNotRetry if asked > self.max => return None,
            OverMax::Ignore | OverMax::DoNotRetry => asked,
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
        // A time that cannot be lengthened stays as it is.
        Some(Duration::try_from_secs_f64(asked.as_secs_f64() * factor).unwrap_or(asked))
    }
}

/// Digits only, and not too many.
fn number(value: &[u8]) -> Option<u64> {
    let is_number = value.len() <= MOST_DIGITS && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| is_number)?;
    text.parse().ok()
}

/// A date in one of HTTP's three forms (RFC 9110, section 5.6.7), as time since 1970. Two-digit years up to 69 are of this
/// century.
#[must_use]
pub fn http_date(value: &[u8]) -> Option<Duration> {
    let value = std::str::from_utf8(value).ok()?;
    let date = httpdate::parse_http_date(value).ok()?;
    date.duration_since(UNIX_EPOCH).ok()
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
    fn http_dates_are_parsed_in_all_three_formats() {
        for (text, seconds) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 784_111_777),
            ("Sun Nov  6 08:49:37 1994", 784_111_777),
            ("Fri, 31 Dec 1999 23:59:59 GMT", 946_684_799),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Tue, 29 Feb 2000 12:00:00 GMT", 951_825_600),
            ("Fri, 01 Mar 2024 00:00:00 GMT", 1_709_251_200),
            ("Fri, 31 Dec 2027 23:59:59 GMT", 1_830_297_599),
        ] {
            let since_1970 = Some(Duration::from_secs(seconds));
            assert_eq!(http_date(text.as_bytes()), since_1970, "{text}");
        }
        for text in [
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Monday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994 GMT",
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
        let date = b"Sun, 06 Nov 1994 08:49:37 GMT";
        let of = |date| Pushback::retry_after_of(b"Sunday, 06-Nov-94 08:50:00 GMT", date);
        assert_eq!(of(Some(&date[..])), after(23_000));
        assert_eq!(
            of(None),
            Pushback::None,
            "nobody knows what time it is there"
        );
        assert_eq!(of(Some(b"now")), Pushback::None);
        assert_eq!(Pushback::retry_after_of(b"7", None), after(7_000));
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
    fn pushback_changes_the_delay_within_its_options() {
        let own = Duration::from_millis(50);
        let mut rng = Random::seeded(1);
        let mut of = |options: PushbackOptions, pushback| options.delay(pushback, own, &mut rng);
        let aws = PushbackOptions::aws();
        for (asked, delay) in [(1_500, 1_500), (0, 50), (10_000, 5_050)] {
            assert_eq!(of(aws, after(asked)), Some(Duration::from_millis(delay)));
        }
        let default = PushbackOptions::default();
        assert_eq!(of(default, after(0)), Some(own), "not all at once");
        assert_eq!(of(PushbackOptions::grpc(), after(0)), Some(Duration::ZERO));
        for options in [aws, PushbackOptions::envoy(), default] {
            assert_eq!(of(options, Pushback::None), Some(own));
            assert_eq!(of(options, Pushback::DoNotRetry), None);
        }
        assert_eq!(of(PushbackOptions::envoy(), after(300_001)), Some(own));
        for _ in 0..1_000 {
            let delay = of(PushbackOptions::envoy(), after(10_000)).unwrap();
            assert!(delay >= Duration::from_secs(10) && delay <= Duration::from_secs(15));
        }
        let strict = PushbackOptions {
            over_max: OverMax::DoNotRetry,
            ..PushbackOptions::default()
        };
        assert_eq!(of(strict, after(300_001)), None);
        let clamped = PushbackOptions {
            jitter: f64::NAN,
            ..PushbackOptions::envoy()
        };
        assert_eq!(of(clamped, after(u64::MAX)), Some(own), "it is not heard");
        assert_eq!(of(clamped, after(9_000)), Some(Duration::from_secs(9)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(value in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _: Pushback = Pushback::retry_after(&value, wall(0));
            prop_assert!(Pushback::grpc([&value[..]]) != Pushback::None);
        }
    }
}
