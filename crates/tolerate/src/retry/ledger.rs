//! The retries that one request has used.

use std::time::Duration;

/// Free retries of a request, at most: one for each of as many servers.
const MOST_FREE: usize = 8;

/// The retries of one request so far, counted and free. Small, inline, owned by the request.
#[derive(Debug, Clone, Default)]
pub struct RetryLedger {
    counted: u32,
    after_timeouts: u32,
    free: u8,
    free_on: [u32; MOST_FREE],
    death: bool,
    delay: Option<Duration>,
}

impl RetryLedger {
    /// None used.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Retries that counted against the limit and were paid from the budget.
    #[must_use]
    pub const fn counted(&self) -> u32 {
        self.counted
    }

    /// Counted retries after a timeout.
    #[must_use]
    pub const fn after_timeouts(&self) -> u32 {
        self.after_timeouts
    }

    /// Free retries.
    #[must_use]
    pub fn free(&self) -> u32 {
        u32::from(self.free)
    }

    /// Whether an attempt that broke off after something was sent has been retried: it may have crashed its server.
    #[must_use]
    pub const fn retried_a_death(&self) -> bool {
        self.death
    }

    /// Whether `server` has its free retry left, and the request any.
    pub(crate) fn has_free(&self, server: u32) -> bool {
        let used = self.free_on.iter().take(usize::from(self.free));
        usize::from(self.free) < MOST_FREE && !used.into_iter().any(|&other| other == server)
    }

    /// Notes a free retry after an attempt on `server`.
    pub(crate) fn note_free(&mut self, server: u32) {
        if let Some(slot) = self.free_on.get_mut(usize::from(self.free)) {
            *slot = server;
            self.free += 1;
        }
    }

    /// The back-off's delay before the last counted retry.
    pub(crate) const fn delay(&self) -> Option<Duration> {
        self.delay
    }

    /// Notes a counted retry with this delay of the back-off.
    pub(crate) const fn note_counted(&mut self, delay: Duration) {
        self.counted = self.counted.saturating_add(1);
        self.delay = Some(delay);
    }

    /// Notes that it followed a timeout.
    pub(crate) fn note_timeout(&mut self) {
        self.after_timeouts = self.after_timeouts.saturating_add(1);
    }

    /// Notes that an attempt which may have crashed its server is retried.
    pub(crate) fn note_death(&mut self) {
        self.death = true;
    }
}
