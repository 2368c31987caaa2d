//! What a user may choose about a breaker.

use std::time::Duration;

use evenkeel_core::Random;
use serde::{Deserialize, Serialize};

use super::window::Tally;
use super::{Why, WindowOptions};

/// When a breaker opens, for how long, and what closes it again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerOptions {
    /// So many bad attempts in a row open it, from 1. Default 5 (Finagle, Envoy). `None`: a row alone never does.
    pub consecutive: Option<u32>,
    /// What the shares are measured over. Default: the last 10 s (Hystrix).
    pub window: WindowOptions,
    /// With fewer attempts in the window no share is judged, from 1. Default 20 (Hystrix). A window of fewer attempts is judged
    /// when it is full.
    pub minimum_attempts: u32,
    /// This share of bad attempts in the window opens it, above 0 to 1. Default 0.5 (Hystrix, resilience4j). `None`: no share does.
    pub failure_ratio: Option<f64>,
    /// A share of slow attempts opens it, too. Default: none does.
    pub slow: Option<SlowOptions>,
    /// How long it stays open.
    pub open: OpenOptions,
    /// What closes it again.
    pub trial: TrialOptions,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            consecutive: Some(5),
            window: WindowOptions::default(),
            minimum_attempts: 20,
            failure_ratio: Some(0.5),
            slow: None,
            open: OpenOptions::default(),
            trial: TrialOptions::default(),
        }
    }
}

/// Which share of which attempts is too slow.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlowOptions {
    /// An attempt that takes longer is slow, however it ends.
    pub after: Duration,
    /// This share of slow attempts opens the breaker, above 0 to 1.
    pub ratio: f64,
}

/// How long a breaker stays open.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpenOptions {
    /// The first time. Default 5 s (Hystrix, Polly).
    pub first: Duration,
    /// Each time that its trial fails, this many times as long as before, from 1. Default 1: always the same.
    pub factor: f64,
    /// Never longer than this before jitter. Default 5 min (Finagle, Envoy).
    pub longest: Duration,
    /// Up to this share longer, at random, so that breakers which opened together do not try together; 0 to 1. Default 0.1.
    pub jitter: f64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(5),
            factor: 1.0,
            longest: Duration::from_secs(300),
            jitter: 0.1,
        }
    }
}

impl OpenOptions {
    /// `min(longest, first × factor^failed) × (1 + U(0, jitter))` after `failed` trials that failed.
    pub(super) fn length(&self, failed: u32, rng: &mut Random) -> Duration {
        let factor = if self.factor >= 1.0 { self.factor } else { 1.0 };
        let grown = self.first.as_secs_f64() * factor.powi(failed.min(1_000) as i32);
        let capped = Duration::try_from_secs_f64(grown)
            .map_or(self.longest, |grown| grown.min(self.longest));
        let jitter = if self.jitter > 0.0 {
            self.jitter.min(1.0)
        } else {
            0.0
        };
        let more = capped.as_secs_f64() * jitter * rng.unit();
        capped.saturating_add(Duration::try_from_secs_f64(more).unwrap_or_default())
    }
}

/// What closes a breaker again: a few attempts, of which enough end well.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrialOptions {
    /// Attempts at once, 1 to 4095. Default 1: a server that is not well yet meets no burst.
    pub permits: u32,
    /// Attempts that are judged, 1 to 4095. Default 1.
    pub attempts: u32,
    /// Share of them that must be good, above 0 to 1. Default 1. It is decided as soon as no further one could change it.
    pub good_ratio: f64,
    /// After this long the trial begins anew: attempts that never came back hold no place for ever. Default 60 s; longer
    /// than any attempt may take.
    pub longest: Duration,
}

impl Default for TrialOptions {
    fn default() -> Self {
        Self {
            permits: 1,
            attempts: 1,
            good_ratio: 1.0,
            longest: Duration::from_secs(60),
        }
    }
}

/// What fits a count of the packed state.
pub(super) const MOST_TRIALS: u32 = 4_095;

impl TrialOptions {
    pub(super) fn attempts(&self) -> u32 {
        self.attempts.clamp(1, MOST_TRIALS)
    }

    pub(super) fn permits(&self) -> u32 {
        self.permits.clamp(1, MOST_TRIALS)
    }

    /// Whether so many good and bad ones decide: `Some(true)` closes, `Some(false)` opens.
    pub(super) fn decided(&self, good: u32, bad: u32) -> Option<bool> {
        let attempts = self.attempts();
        // A hair less, so that 0.7 of 10 is 7 and not 8.
        let needed = (self.good_ratio * f64::from(attempts) - 1e-9).ceil();
        let needed = (needed as u32).clamp(1, attempts);
        if good >= needed {
            Some(true)
        } else {
            (bad > attempts - needed).then_some(false)
        }
    }
}

impl BreakerOptions {
    /// Whether an attempt that took so long is slow.
    pub(super) fn is_slow(&self, took: Duration) -> bool {
        self.slow.is_some_and(|slow| took > slow.after)
    }

    /// What opens a closed breaker after `row` bad attempts in a row, with `tally` in the window.
    pub(super) fn trips(&self, row: u32, tally: Tally) -> Option<Why> {
        if self.consecutive.is_some_and(|most| row >= most.max(1)) {
            return Some(Why::Consecutive);
        }
        let minimum = self.window.most().min(self.minimum_attempts).max(1);
        if tally.total < minimum {
            return None;
        }
        // A ratio of nothing, or none at all, would open it on good attempts alone.
        let over = |count: u32, ratio: f64| {
            count > 0 && f64::from(count) >= ratio * f64::from(tally.total) - 1e-9
        };
        if self
            .failure_ratio
            .is_some_and(|ratio| over(tally.bad, ratio))
        {
            return Some(Why::FailureRatio);
        }
        self.slow
            .is_some_and(|slow| over(tally.slow, slow.ratio))
            .then_some(Why::SlowRatio)
    }
}
