//! The options of a circuit breaker, with the origin of their defaults.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The options of a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct BreakerOptions {
    /// Opens after this many consecutive failures, from 1; `None`: never for this reason. Default 5 (Envoy, Finagle).
    pub consecutive: Option<u32>,
    /// Opens when at least this share of the window has failed, above 0 to 1; `None`: never for this reason. Default 0.5
    /// (resilience4j, Hystrix).
    pub failure_ratio: Option<f64>,
    /// Opens when too many attempts of the window were slow. Default none.
    pub slow: Option<SlowCallOptions>,
    /// The window of the ratios. Default the last 10 s (Hystrix).
    pub window: WindowKind,
    /// With fewer attempts in the window than this, ratios are ignored. Default 20 (Hystrix).
    pub minimum_attempts: u32,
    /// How long it stays open. Default 5 s (Hystrix, Polly).
    #[serde(with = "crate::serde_duration")]
    pub open_for: Duration,
    /// Each time that it opens again from half-open it stays open this many times longer, from 1. Default 2 (Finagle's grows
    /// from 5 s to 300 s).
    pub growth: f64,
    /// … up to this. Default 5 min (Envoy, Finagle).
    #[serde(with = "crate::serde_duration")]
    pub open_most: Duration,
    /// Up to this share of the open time is added at random, 0 to 1, so that breakers that opened together do not ask
    /// together. Default 0.1.
    pub jitter: f64,
    /// Concurrent trials when it is half-open, from 1. Default 1 (Hystrix, Polly).
    pub trials: u32,
    /// Successful trials that close it, from 1. Default 1.
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

/// When attempts count as slow.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlowCallOptions {
    /// An attempt that takes longer is slow.
    #[serde(with = "crate::serde_duration")]
    pub after: Duration,
    /// Opens when at least this share of the window was slow, above 0 to 1.
    pub ratio: f64,
}

/// The window of the ratios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WindowKind {
    /// The attempts that ended within this time, to a tenth of it.
    Time(#[serde(with = "crate::serde_duration")] Duration),
    /// This many latest attempts, 1 to 65,536.
    Count(u32),
}
