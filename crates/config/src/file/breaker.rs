//! Circuit breaking, as typed.

use super::quantity::DurationValue;
use super::table;
use super::value::{Integer, Number};
use crate::defaults;

table! {
    /// A circuit breaker for each server, in addition to detection: a server that has failed recently gets no requests.
    /// Off without this table.
    pub struct BreakerConfig {
        /// Opens after this many consecutive failures. 0 turns this condition off.
        consecutive_failures: Integer<0, 10_000> = defaults::BREAKER_CONSECUTIVE;
        /// Opens when at least this share of the attempts in the window failed.
        failure_ratio: Number<1_000, 1_000_000> = defaults::BREAKER_RATIO;
        /// The length of the sliding window for the ratios.
        window: DurationValue<10> = defaults::BREAKER_WINDOW;
        /// The ratios are evaluated only with at least this many attempts in the window.
        minimum_attempts: Integer<1, 1_000_000> = defaults::BREAKER_MINIMUM;
        /// When slow attempts open the breaker.
        slow: BreakerSlowConfig;
        /// How long the breaker stays open; doubled after each failed trial.
        open_for: DurationValue<10> = defaults::BREAKER_OPEN_FOR;
        /// The longest time that it stays open.
        open_most: DurationValue<10> = defaults::BREAKER_OPEN_MOST;
        /// How many concurrent trial attempts are let through once that time is over.
        trials: Integer<1, 1_000> = defaults::BREAKER_TRIALS;
        /// How many successful trials close the breaker.
        good_trials: Integer<1, 1_000> = defaults::BREAKER_GOOD_TRIALS;
    }
    later {}
}

table! {
    /// When slow attempts open the breaker, even if they succeed.
    pub struct BreakerSlowConfig {
        /// An attempt is slow if its response head takes longer than this.
        after: DurationValue<1> [required];
        /// Opens when at least this share of the attempts in the window were slow.
        ratio: Number<1_000, 1_000_000> = defaults::BREAKER_SLOW_RATIO;
    }
    later {}
}
