//! How much one poll of a connection may move before the worker's other connections have their turn.
//!
//! A fast peer can keep a socket readable for as long as it likes. Without a bound, one poll would pass on a whole large body
//! while everything else on the worker waits.

use std::future::Future;
use std::pin::pin;
use std::task::Context;

/// Bytes of one poll: two large buffers, so that most bodies need one poll, and a turn takes well below a millisecond.
pub(crate) const POLL_BYTES: usize = 1024 * 1024;

/// What one poll may still move.
#[derive(Debug)]
pub(crate) struct PollBudget {
    left: usize,
}

impl PollBudget {
    pub(crate) const fn new() -> Self {
        Self { left: POLL_BYTES }
    }

    /// `n` bytes were moved.
    pub(crate) const fn spend(&mut self, n: usize) {
        self.left = self.left.saturating_sub(n);
    }

    /// Whether the poll must end. The task is then woken again after the worker has looked at its sockets.
    pub(crate) fn is_spent(&self, cx: &mut Context<'_>) -> bool {
        if self.left > 0 {
            return false;
        }
        // Waking the task at once would put it before events that are not yet read; this waker waits for those.
        let yielded = pin!(tokio::task::yield_now());
        yielded.poll(cx).is_pending()
    }
}
