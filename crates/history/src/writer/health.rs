//! How the store is, and what is left when its thread is lost.

use super::{Shared, WriterHandle};
use crate::error::StoreError;

/// How the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreHealth {
    /// The last try to write succeeded, and what is written outlives the program.
    pub ok: bool,
    /// Why it did not, or does not.
    pub last_error: Option<String>,
    /// Things that were lost because too much waited.
    pub dropped: u64,
    /// Tries to write that failed.
    pub failures: u64,
    /// Times that the file was removed or replaced, and made again.
    pub made_again: u64,
    /// The thread that writes it has ended by a mistake of evenkeel's own.
    pub lost: bool,
}

impl WriterHandle {
    /// How the store is.
    #[must_use]
    pub fn health(&self) -> StoreHealth {
        let state = self.lock();
        StoreHealth {
            ok: state.last_error.is_none() && state.not_kept.is_none(),
            last_error: state.last_error.clone().or_else(|| state.not_kept.clone()),
            dropped: state.dropped,
            failures: state.failures,
            made_again: state.made_again,
            lost: state.lost,
        }
    }
}

impl Shared {
    /// The thread has panicked where that is not contained: nobody waits for it any more.
    pub(super) fn mark_lost(&self) {
        let mut state = self.lock();
        state.last_error = Some(StoreError::Panicked.to_string());
        (state.ended, state.lost) = (true, true);
        // Whoever asked is told by this that there is no answer.
        state.questions.clear();
        drop(state);
        self.done.notify_all();
        tracing::error!(
            "the thread of the incident store is lost: what happens from now on is not kept; traffic and recovery go on"
        );
    }
}
