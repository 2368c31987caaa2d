//! The loop's heartbeat: updated after each turn, and read on other threads to detect a stalled loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use evenkeel_core::Instant;

/// When the loop last came to the end of a turn. Copies show the same.
#[derive(Debug, Clone, Default)]
pub struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    /// The loop has turned.
    pub(crate) fn beat(&self, now: Instant) {
        let millis = now.since(Instant::ZERO).as_millis();
        self.0
            .store(u64::try_from(millis).unwrap_or(u64::MAX), Relaxed);
    }

    /// How long ago the loop has turned; since the start, if it never has.
    #[must_use]
    pub fn silent_for(&self, now: Instant) -> Duration {
        now.since(Instant::from_millis(self.0.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_counted_from_the_last_turn() {
        let heartbeat = Heartbeat::default();
        assert_eq!(
            heartbeat.silent_for(Instant::from_millis(700)).as_millis(),
            700
        );
        heartbeat.beat(Instant::from_millis(1_000));
        assert_eq!(
            heartbeat
                .silent_for(Instant::from_millis(1_250))
                .as_millis(),
            250
        );
        assert_eq!(
            heartbeat.silent_for(Instant::from_millis(900)),
            Duration::ZERO
        );
    }
}
