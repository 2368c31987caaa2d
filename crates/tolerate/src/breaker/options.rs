//! What can be chosen of a breaker, with its defaults and where they come from.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct BreakerOptions {
    /// It opens after so many failures in a row, from 1; `None` for never because of that. Default 5 (Envoy, Finagle).
    pub consecutive: Option<u32>,
    /// It opens when at least this share of the window failed, above 0 to 1; `None` for never. Default 0.5 (resilience4j, Hystrix).
    pub failure_ratio: Option<f64>,
    /// It opens when too many attempts of the window were slow. Default none.
    pub slow: Option<SlowOptions>,
    /// What the shares are of. Default the last 10 s (Hystrix).
    pub window: WindowKind,
    /// With fewer attempts in the window than this, shares say nothing. Default 20 (Hystrix).
    pub minimum_attempts: u32,
    /// How long it stays open. Default 5 s (Hystrix, Polly).
    #[serde(with = "crate::serde_duration")]
    pub open_for: Duration,
    /// Each time that it opens anew from half-open it stays open so many times longer, from 1. Default 2 (Finagle's grow from 5 s to 300 s).
    pub growth: f64,
    /// …up to this. Default 5 min (Envoy, Finagle).
    #[serde(with = "crate::serde_duration")]
    pub open_most: Duration,
    /// A part of the time, drawn anew each time, is added, 0 to 1: breakers that opened together do not ask together. Default 0.1.
    pub jitter: f64,
    /// How many may be asked at once when it is half-open, from 1. Default 1 (Hystrix, Polly).
    pub trials: u32,
    /// So many good ones close it, from 1. Default 1.
    pub good_trials: u32,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            consecutive: Some(5),
            failure_ratio: Some(0.5),
            slow: None,
            window: WindowKind::Time(Duration::from_secs(10)),
            minimum_attempts: 20,
            open_for: Duration::from_secs(5),
            growth: 2.0,
            open_most: Duration::from_secs(300),
            jitter: 0.1,
            trials: 1,
            good_trials: 1,
        }
    }
}

/// When attempts are too slow.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlowOptions {
    /// An attempt that takes longer was slow.
    #[serde(with = "crate::serde_duration")]
    pub after: Duration,
    /// It opens when at least this share of the window was slow, above 0 to 1.
    pub ratio: f64,
}

/// What the shares are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WindowKind {
    /// The attempts that ended in the last so much time, to a tenth of it.
    Time(#[serde(with = "crate::serde_duration")] Duration),
    /// The last so many attempts, 1 to 65,536.
    Count(u32),
}
