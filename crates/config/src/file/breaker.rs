//! Circuit breaking, as typed.

use super::quantity::Time;
use super::table;
use super::value::{Number, Whole};
use crate::defaults;

table! {
    /// Whether a server that has failed lately is asked at all: a breaker for each server, beside what detection does. Off without
    /// this table.
    pub struct Breaker {
        /// It opens after so many failures in a row. 0: never because of that.
        consecutive_failures: Whole<0, 10_000> = defaults::BREAKER_CONSECUTIVE;
        /// It opens when at least this share of the window failed.
        failure_ratio: Number<1_000, 1_000_000> = defaults::BREAKER_RATIO;
        /// What the shares are of: the attempts that ended in the last so much time.
        window: Time<10> = defaults::BREAKER_WINDOW;
        /// With fewer attempts in the window than this, shares say nothing.
        minimum_attempts: Whole<1, 1_000_000> = defaults::BREAKER_MINIMUM;
        /// When attempts are too slow.
        slow: BreakerSlow;
        /// How long it stays open; twice as long each time that a trial fails.
        open_for: Time<10> = defaults::BREAKER_OPEN_FOR;
        /// Never longer.
        open_most: Time<10> = defaults::BREAKER_OPEN_MOST;
        /// How many attempts it lets through at once to see whether the server is well again.
        trials: Whole<1, 1_000> = defaults::BREAKER_TRIALS;
        /// So many good ones close it.
        good_trials: Whole<1, 1_000> = defaults::BREAKER_GOOD_TRIALS;
    }
    later {}
}

table! {
    /// When attempts are too slow for a breaker, though they are well.
    pub struct BreakerSlow {
        /// An attempt is slow that takes longer until the answer's head.
        after: Time<1> [required];
        /// It opens when at least this share of the window was slow.
        ratio: Number<1_000, 1_000_000> = defaults::BREAKER_SLOW_RATIO;
    }
    later {}
}
