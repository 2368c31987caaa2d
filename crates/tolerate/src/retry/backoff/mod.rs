//! How long to wait before a retry.
//!
//! Clients that failed together come back together, so the delay not only grows but gets jitter. Full jitter is the default
//! because of a measurement: with 100 competing clients it needs less than half the calls of plain exponential back-off and
//! a thirteenth of the time; equal jitter needs the same calls but about 40 % more time.
//!
//! [`BackoffOptions`] covers the algorithms in common use: how a delay grows, its jitter, and whether the cap applies before
//! or after jitter. [`Backoff`] is the sequence of delays of one request.

use std::time::Duration;

use evenkeel_core::{Random, duration_from_seconds};
use serde::{Deserialize, Serialize};

use crate::serde_duration;

/// The delays before retries: growth, jitter and cap.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BackoffOptions {
    /// The delay before the first retry, before jitter. Default 25 ms.
    #[serde(with = "serde_duration")]
    pub base: Duration,
    /// The cap. Default 250 ms, ten times the base (Envoy).
    #[serde(with = "serde_duration")]
    pub cap: Duration,
    /// The jitter. Default: full.
    pub jitter: Jitter,
    /// The growth. Default: doubled each time.
    #[serde(default)]
    pub growth: Growth,
    /// What the cap applies to. Default: the delay before jitter, so that clients that reached it do not all wait equally
    /// long.
    #[serde(default)]
    pub capped: Capped,
}

impl Default for BackoffOptions {
    fn default() -> Self {
        let millis = Duration::from_millis;
        Self::exponential(millis(25), millis(250), Jitter::Full)
    }
}

/// The growth of the delay before retry `n` (from 0).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Growth {
    /// `base`.
    Fixed,
    /// `base × (n + 1)`.
    Linear,
    /// `base × factor^n`; a factor from 1.
    Exponential(f64),
    /// `base × (2^(n + 1) − 1)`, as in Envoy.
    Envoy,
}

impl Default for Growth {
    fn default() -> Self {
        Self::Exponential(2.0)
    }
}

/// The jitter of a delay `d`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Jitter {
    /// None: `d`.
    None,
    /// `U(0, d)` (AWS "full jitter").
    Full,
    /// `d/2 + U(0, d/2)` (AWS "equal jitter").
    Equal,
    /// `d × U(1 − part, 1 + part)`: gRPC has 0.2, Polly 0.25, resilience4j 0.5.
    Proportional(f64),
    /// `U(base, 3 × the previous delay)`, whatever the growth, with `base` as the delay before the first. It needs a
    /// [`Backoff`], which remembers; without one the grown delay takes its place. Never longer than the cap.
    Decorrelated,
}

/// What a cap applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capped {
    #[default]
    /// The delay before jitter: with [`Jitter::Proportional`] the result may exceed the cap.
    BeforeSpread,
    /// The delay after jitter: never longer than the cap, but many are exactly that.
    AfterSpread,
}

impl BackoffOptions {
    /// Doubled each time up to `cap`, then jitter.
    #[must_use]
    pub const fn exponential(base: Duration, cap: Duration, jitter: Jitter) -> Self {
        Self {
            base,
            cap,
            jitter,
            growth: Growth::Exponential(2.0),
            capped: Capped::BeforeSpread,
        }
    }

    /// How long to wait before retry `n` (from 0).
    #[must_use]
    pub fn delay(&self, n: u32, rng: &mut Random) -> Duration {
        self.delay_after(n, self.grown(n.saturating_sub(1)), rng)
    }

    /// The delay before retry `n` (from 0) before jitter, capped.
    #[must_use]
    pub fn grown(&self, n: u32) -> Duration {
        self.uncapped(n).min(self.cap)
    }

    /// The longest possible delay before retry `n` (from 0).
    #[must_use]
    pub fn longest(&self, n: u32) -> Duration {
        match self.jitter {
            Jitter::None | Jitter::Full | Jitter::Equal => self.grown(n),
            Jitter::Proportional(part) => match self.capped {
                Capped::BeforeSpread => around(self.grown(n), part, 1.0),
                Capped::AfterSpread => around(self.uncapped(n), part, 1.0).min(self.cap),
            },
            Jitter::Decorrelated => {
                let power = 3_u64.checked_pow(n.saturating_add(1)).unwrap_or(u64::MAX);
                times(self.base, power).min(self.cap)
            }
        }
    }

    /// How long to wait before retry `n` (from 0) after a delay of `previous`.
    pub(crate) fn delay_after(&self, n: u32, previous: Duration, rng: &mut Random) -> Duration {
        let delay = match self.capped {
            Capped::BeforeSpread => self.grown(n),
            Capped::AfterSpread => self.uncapped(n),
        };
        let spread = self.spread(delay, previous, rng);
        match (self.capped, self.jitter) {
            (Capped::AfterSpread, _) | (_, Jitter::Decorrelated) => spread.min(self.cap),
            (Capped::BeforeSpread, _) => spread,
        }
    }

    fn uncapped(&self, n: u32) -> Duration {
        match self.growth {
            Growth::Fixed => self.base,
            Growth::Linear => self.base.saturating_mul(n.saturating_add(1)),
            Growth::Exponential(2.0) => times(self.base, 1 << n.min(63)),
            Growth::Envoy => times(self.base, (1 << n.saturating_add(1).min(63)) - 1),
            Growth::Exponential(factor) => {
                let factor = if factor >= 1.0 { factor } else { 1.0 };
                let power = factor.powi(i32::try_from(n).unwrap_or(i32::MAX));
                scaled(self.base, power)
            }
        }
    }

    fn spread(&self, delay: Duration, previous: Duration, rng: &mut Random) -> Duration {
        match self.jitter {
            Jitter::None => delay,
            Jitter::Full => up_to(delay, rng),
            Jitter::Equal => {
                let half = delay / 2;
                half.saturating_add(up_to(delay - half, rng))
            }
            Jitter::Proportional(part) => around(delay, part, rng.unit()),
            Jitter::Decorrelated => {
                let longest = previous.saturating_mul(3);
                self.base
                    .saturating_add(up_to(longest.saturating_sub(self.base), rng))
            }
        }
    }
}

/// `delay × (1 − part)` for a random number of 0, `delay × (1 + part)` for 1.
fn around(delay: Duration, part: f64, draw: f64) -> Duration {
    // NaN is zero.
    let part = if part > 0.0 { part.min(1.0) } else { 0.0 };
    scaled(delay, 1.0 + part * (2.0 * draw - 1.0))
}

/// Uniform from `[0, longest]`, for any `longest`.
fn up_to(longest: Duration, rng: &mut Random) -> Duration {
    scaled(longest, rng.unit())
}

/// `duration × factor`, saturating; NaN is zero.
fn scaled(duration: Duration, factor: f64) -> Duration {
    if duration.is_zero() || factor.is_nan() {
        return Duration::ZERO;
    }
    let seconds = duration.as_secs_f64() * factor;
    duration_from_seconds(seconds)
}

/// The same exactly, for an integer factor.
fn times(duration: Duration, factor: u64) -> Duration {
    let nanos = duration.as_nanos().saturating_mul(u128::from(factor));
    u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos)
}

/// The sequence of delays of one request.
#[derive(Debug, Clone)]
pub struct Backoff {
    options: BackoffOptions,
    n: u32,
    previous: Duration,
}

impl Backoff {
    /// Before the first retry.
    #[must_use]
    pub const fn new(options: BackoffOptions) -> Self {
        Self {
            options,
            n: 0,
            previous: options.base,
        }
    }

    /// How long to wait before the next retry.
    pub fn next_delay(&mut self, rng: &mut Random) -> Duration {
        let delay = self.options.delay_after(self.n, self.previous, rng);
        self.n = self.n.saturating_add(1);
        self.previous = delay;
        delay
    }

    /// The number of delays so far.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.n
    }
}

#[cfg(test)]
mod tests;
