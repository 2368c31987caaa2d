//! How far the replacement of a service's processes after a change of their configuration has come.

use evenkeel_core::Instant;

/// The replacement of processes that run by an earlier configuration, one at a time. Which these are, each server knows.
#[derive(Debug)]
pub(super) struct Rollout {
    /// The server that is being replaced or verified now.
    pub(super) current: Option<u32>,
    /// Why it goes no further: a server did not come back.
    pub(super) stopped: Option<String>,
    /// What the next replacement waits for.
    pub(super) waits: Option<String>,
    /// When it is looked at again.
    pub(super) at: Instant,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            current: None,
            stopped: None,
            waits: None,
            at: Instant::NEVER,
        }
    }
}
