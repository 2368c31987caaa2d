//! Resolves circuit breakers: typed values, and defaults for the rest.

use evenkeel_tolerate::BreakerOptions;
use evenkeel_tolerate::breaker::{SlowCallOptions, WindowKind};

use super::typed::{pick, pick_whole, section};
use crate::defaults;
use crate::file::breaker::BreakerConfig;

pub(crate) fn resolve_breaker(typed: &BreakerConfig) -> BreakerOptions {
    let consecutive = pick_whole(
        typed.consecutive_failures.as_ref(),
        defaults::BREAKER_CONSECUTIVE,
    );
    let slow = section(typed.slow.as_ref());
    let open_for = pick(typed.open_for.as_ref(), defaults::BREAKER_OPEN_FOR);
    BreakerOptions {
        consecutive: (consecutive > 0).then_some(consecutive),
        failure_ratio: Some(pick(typed.failure_ratio.as_ref(), defaults::BREAKER_RATIO)),
        slow: slow.after.map(|after| SlowCallOptions {
            after: after.value,
            ratio: pick(slow.ratio.as_ref(), defaults::BREAKER_SLOW_RATIO),
        }),
        window: WindowKind::Time(pick(typed.window.as_ref(), defaults::BREAKER_WINDOW)),
        minimum_attempts: pick_whole(typed.minimum_attempts.as_ref(), defaults::BREAKER_MINIMUM),
        open_for,
        open_most: pick(typed.open_most.as_ref(), defaults::BREAKER_OPEN_MOST).max(open_for),
        trials: pick_whole(typed.trials.as_ref(), defaults::BREAKER_TRIALS),
        good_trials: pick_whole(typed.good_trials.as_ref(), defaults::BREAKER_GOOD_TRIALS),
        ..BreakerOptions::default()
    }
}
