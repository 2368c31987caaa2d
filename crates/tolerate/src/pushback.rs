//! What a server asks its client to wait before the next attempt, and how far the client heeds it.
//!
//! Intuition: the server knows best when it is well again, but it does not know the client's deadline, and it can be wrong by
//! hours. So what it asks is read strictly, bounded, and spread: it says the same to all its clients, who would otherwise all
//! come back at once.
//!
//! Apart from [`Backoff`](crate::Backoff), which knows only of the client's own delays.

use std::time::{Duration, SystemTime};

use evenkeel_core::Random;
use serde::{Deserialize, Serialize};

use crate::date;
use crate::propagate::digits;

/// How far a server is heeded. Default: for 300 s at most, half as long again at random, and never for less than one's own
/// delay. See also [`PushbackOptions::envoy`] and [`PushbackOptions::grpc`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PushbackOptions {
    /// The most that is heeded. Default 300 s (Envoy).
    pub max: Duration,
    /// What is done when it asks for more. Default [`Over::Clamp`].
    pub over: Over,
    /// What it asks is made longer by a random part of this share, 0 to 10. Default 0.5 (Envoy).
    pub spread: f64,
    /// Whether one's own delay is kept if it is longer. Default yes: `Retry-After: 0` does not mean a storm.
    pub at_least_own: bool,
}

/// What is done when a server asks for more than the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Over {
    /// As if it had asked nothing (Envoy).
    Ignore,
    /// The most is waited. The default: who asks for an hour does not want a retry at once.
    #[default]
    Clamp,
}

impl Default for PushbackOptions {
    fn default() -> Self {
        Self {
            over: Over::Clamp,
            at_least_own: true,
            ..Self::envoy()
        }
    }
}

impl PushbackOptions {
    /// As Envoy does with headers of rate limits: ignored above 300 s, otherwise `U(h, 1.5 h)` in place of one's own delay.
    #[must_use]
    pub const fn envoy() -> Self {
        Self {
            max: Duration::from_secs(300),
            over: Over::Ignore,
            spread: 0.5,
            at_least_own: false,
        }
    }

    /// As gRPC does (gRFC A6): exactly what the server asks.
    #[must_use]
    pub const fn grpc() -> Self {
        Self {
            max: Duration::MAX,
            over: Over::Clamp,
            spread: 0.0,
            at_least_own: false,
        }
    }

    /// How long to wait, where the client on its `own` would wait so long. `None`: do not retry.
    pub fn wait(&self, asked: Pushback, own: Duration, rng: &mut Random) -> Option<Duration> {
        let asked = match asked {
            Pushback::DoNotRetry => return None,
            Pushback::None => return Some(own),
            Pushback::After(asked) if asked <= self.max => asked,
            Pushback::After(_) => match self.over {
                Over::Ignore => return Some(own),
                Over::Clamp => self.max,
            },
        };
        let wait = longer(asked, self.spread, rng);
        Some(if self.at_least_own {
            wait.max(own)
        } else {
            wait
        })
    }
}

/// `asked` and a uniform part of `share` of it.
fn longer(asked: Duration, share: f64, rng: &mut Random) -> Duration {
    // What is not a number adds nothing.
    let share = if share > 0.0 { share.min(10.0) } else { 0.0 };
    let more = asked.as_secs_f64() * share * rng.unit();
    asked.saturating_add(Duration::try_from_secs_f64(more).unwrap_or(Duration::MAX))
}

/// How much longer than its own delay a client of AWS waits at most.
const AWS_MORE: Duration = Duration::from_secs(5);

/// What a server asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pushback {
    /// Nothing, or nothing that was understood.
    #[default]
    None,
    /// To wait so long.
    After(Duration),
    /// Not to try again.
    DoNotRetry,
}

impl Pushback {
    /// `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date that is compared with the calendar's `now`. A date that has
    /// passed is no wait. Dates depend on two clocks; see [`Pushback::seconds`] for the form that does not.
    #[must_use]
    pub fn retry_after(value: &[u8], now: SystemTime) -> Self {
        let value = value.trim_ascii();
        match Self::seconds(value) {
            Self::None => date::parse(value, now).map_or(Self::None, |date| {
                Self::After(date.duration_since(now).unwrap_or_default())
            }),
            asked => asked,
        }
    }

    /// `Retry-After` as 1 to 10 digits, in seconds; other forms say nothing.
    #[must_use]
    pub fn seconds(value: &[u8]) -> Self {
        digits(value, 10).map_or(Self::None, |seconds| {
            Self::After(Duration::from_secs(seconds))
        })
    }

    /// `grpc-retry-pushback-ms` (gRFC A6), all its values: milliseconds as a signed number of 32 bits. What is negative, not
    /// such a number, or there more than once means not to retry.
    #[must_use]
    pub fn grpc<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut values = values.into_iter();
        let Some(value) = values.next() else {
            return Self::None;
        };
        let millis = digits(value, 10).and_then(|millis| i32::try_from(millis).ok());
        match (millis, values.next()) {
            (Some(millis), None) => {
                Self::After(Duration::from_millis(u64::from(millis.unsigned_abs())))
            }
            _ => Self::DoNotRetry,
        }
    }

    /// `x-amz-retry-after`: milliseconds in 1 to 15 digits. What is negative or something else says nothing.
    #[must_use]
    pub fn aws(value: &[u8]) -> Self {
        digits(value, 15).map_or(Self::None, |millis| {
            Self::After(Duration::from_millis(millis))
        })
    }

    /// How long to wait by the retry specification 2.1 of AWS, where the client on its `own` would wait so long: what the
    /// server asks, but never less than that and never more than 5 s more. `None`: do not retry.
    #[must_use]
    pub fn aws_wait(self, own: Duration) -> Option<Duration> {
        match self {
            Self::None => Some(own),
            Self::After(asked) => Some(asked.min(own.saturating_add(AWS_MORE)).max(own)),
            Self::DoNotRetry => None,
        }
    }

    /// A label for metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::After(_) => "after",
            Self::DoNotRetry => "do-not-retry",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn after(seconds: u64) -> Pushback {
        Pushback::After(Duration::from_secs(seconds))
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        // 30 s before the date of RFC 9110.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_747);
        for (text, expected) in [
            ("120", after(120)),
            (" 0 ", after(0)),
            ("9999999999", after(9_999_999_999)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", after(30)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", after(30)),
            ("Sun Nov  6 08:49:37 1994", after(30)),
            ("Sun, 06 Nov 1994 08:49:06 GMT", after(0)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", after(0)),
            ("", Pushback::None),
            ("-1", Pushback::None),
            ("1.5", Pushback::None),
            ("12345678901", Pushback::None),
            ("soon", Pushback::None),
        ] {
            assert_eq!(
                Pushback::retry_after(text.as_bytes(), now),
                expected,
                "{text}"
            );
        }
        assert_eq!(
            Pushback::seconds(b"Sun Nov  6 08:49:37 1994"),
            Pushback::None
        );
    }

    /// The named cases of gRPC's streaming tests.
    #[test]
    fn what_grpc_pushes_back() {
        let of = |values: &[&str]| Pushback::grpc(values.iter().map(|value| value.as_bytes()));
        assert_eq!(of(&[]), Pushback::None);
        assert_eq!(of(&["1000"]), after(1));
        assert_eq!(of(&["0"]), after(0));
        assert_eq!(of(&["2147483647"]), Pushback::After(millis(2_147_483_647)));
        for no in ["-1", "", "string", "1s", "2147483648", " 5", "99999999999"] {
            assert_eq!(of(&[no]), Pushback::DoNotRetry, "{no}");
        }
        assert_eq!(of(&["1000", "1000"]), Pushback::DoNotRetry);
        let mut rng = Random::seeded(1);
        let mut wait = |asked| PushbackOptions::grpc().wait(asked, millis(70), &mut rng);
        assert_eq!(wait(after(1)), Some(millis(1_000)));
        assert_eq!(wait(after(0)), Some(Duration::ZERO));
        assert_eq!(wait(after(90_000)), Some(Duration::from_secs(90_000)));
        assert_eq!(wait(Pushback::None), Some(millis(70)));
        assert_eq!(wait(Pushback::DoNotRetry), None);
    }

    /// The published cases of the AWS retry specification 2.1: its own delay is 50 ms.
    #[test]
    fn what_aws_asks_is_clamped() {
        for (text, expected) in [
            ("1500", 1_500),
            ("0", 50),
            ("10000", 5_050),
            ("invalid", 50),
            ("-1", 50),
            ("", 50),
        ] {
            let wait = Pushback::aws(text.as_bytes()).aws_wait(millis(50));
            assert_eq!(wait, Some(millis(expected)), "{text}");
        }
        assert_eq!(after(1).aws_wait(Duration::MAX), Some(Duration::MAX));
    }

    #[test]
    fn envoy_spreads_up_to_half_as_long_again_and_ignores_the_rest() {
        let mut rng = Random::seeded(7);
        let options = PushbackOptions::envoy();
        let waits: Vec<_> = (0..20_000)
            .filter_map(|_| options.wait(after(100), millis(25), &mut rng))
            .map(|wait| wait.as_secs_f64())
            .collect();
        assert!(waits.iter().all(|wait| (100.0..150.0).contains(wait)));
        let mean = waits.iter().sum::<f64>() / waits.len() as f64;
        assert!((mean - 125.0).abs() < 0.6, "{mean}");
        let most = options.wait(after(300), millis(25), &mut rng);
        assert!(most.is_some_and(|wait| wait >= Duration::from_secs(300)));
        let over = options.wait(Pushback::After(millis(300_001)), millis(25), &mut rng);
        assert_eq!(over, Some(millis(25)));
    }

    #[test]
    fn by_default_nobody_is_heeded_for_long_and_nobody_makes_a_storm() {
        let mut rng = Random::seeded(7);
        let options = PushbackOptions {
            spread: 0.0,
            ..PushbackOptions::default()
        };
        let mut wait = |asked| options.wait(asked, millis(80), &mut rng);
        assert_eq!(wait(after(0)), Some(millis(80)));
        assert_eq!(wait(after(2)), Some(millis(2_000)));
        assert_eq!(wait(after(9_999_999_999)), Some(Duration::from_secs(300)));
        assert_eq!(wait(Pushback::None), Some(millis(80)));
        assert_eq!(wait(Pushback::DoNotRetry), None);
    }

    proptest! {
        #[test]
        fn within_bounds_whatever_is_asked(asked: u64, own in 0_u64..1 << 40, max in 0_u64..1 << 40, spread: f64, ignore: bool, seed: u64) {
            let (asked, own, max) = (Duration::from_nanos(asked), Duration::from_nanos(own), Duration::from_nanos(max));
            let over = if ignore { Over::Ignore } else { Over::Clamp };
            let options = PushbackOptions { max, over, spread, at_least_own: true };
            let mut rng = Random::seeded(seed);
            let wait = options.wait(Pushback::After(asked), own, &mut rng).expect("it may retry");
            prop_assert!(wait >= own);
            let plain = PushbackOptions { spread: 0.5, ..options };
            let wait = plain.wait(Pushback::After(asked), own, &mut rng).expect("it may retry");
            prop_assert!(wait <= own.max(max + max / 2 + Duration::from_nanos(1)));
        }

        #[test]
        fn bytes_of_any_kind(value: Vec<u8>) {
            let now = SystemTime::UNIX_EPOCH;
            prop_assert_ne!(Pushback::retry_after(&value, now), Pushback::DoNotRetry);
            prop_assert_ne!(Pushback::aws(&value), Pushback::DoNotRetry);
            prop_assert_ne!(Pushback::grpc([value.as_slice()]), Pushback::None);
        }
    }
}
