//! Event counts over a sliding window, exact to a tenth of the window.

use std::time::Duration;

use crate::Instant;

const SLICES: usize = 10;

/// The counts of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// All.
    pub total: u64,
    /// Those that count.
    pub hits: u64,
}

/// Counts events, and hits among them, over a sliding window of ten slices.
#[derive(Debug, Clone)]
pub struct SlidingWindow {
    /// All, and those that count.
    slices: [(u32, u32); SLICES],
    slice_nanos: u64,
    newest: u64,
    /// When the slice after the newest begins, in nanoseconds.
    next: u64,
}

impl SlidingWindow {
    /// A window over the last `length` (at least 10 ns).
    #[must_use]
    pub fn new(length: Duration) -> Self {
        let nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        Self {
            slices: [(0, 0); SLICES],
            slice_nanos: (nanos / SLICES as u64).max(1),
            newest: 0,
            next: 0,
        }
    }

    /// Counts one event.
    pub fn add(&mut self, at: Instant, hit: bool) {
        let slice = self.advance(at);
        let (total, hits) = &mut self.slices[slice];
        *total = total.saturating_add(1);
        *hits = hits.saturating_add(u32::from(hit));
    }

    /// The counts of the window at `now`.
    pub fn tally(&mut self, now: Instant) -> Tally {
        self.advance(now);
        self.slices
            .iter()
            .fold(Tally::default(), |sum, &(total, hits)| Tally {
                total: sum.total + u64::from(total),
                hits: sum.hits + u64::from(hits),
            })
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.slices = [(0, 0); SLICES];
    }

    fn advance(&mut self, now: Instant) -> usize {
        // Most events belong to the newest slice: no division for them.
        if now.as_nanos() >= self.next {
            let current = now.as_nanos() / self.slice_nanos;
            let stale = (current - self.newest).min(SLICES as u64);
            for step in 0..stale {
                self.slices[((current - step) % SLICES as u64) as usize] = (0, 0);
            }
            self.newest = current;
            self.next = current.saturating_add(1).saturating_mul(self.slice_nanos);
        }
        (self.newest % SLICES as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_events_leave() {
        let mut window = SlidingWindow::new(Duration::from_secs(10));
        window.add(Instant::from_millis(500), true);
        window.add(Instant::from_millis(5_000), false);
        assert_eq!(
            window.tally(Instant::from_millis(9_900)),
            Tally { total: 2, hits: 1 }
        );
        assert_eq!(
            window.tally(Instant::from_millis(10_100)),
            Tally { total: 1, hits: 0 }
        );
        assert_eq!(window.tally(Instant::from_millis(60_000)), Tally::default());
    }
}
