//! State shared by the writer thread and its handles, and the health of the store.

use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::StoreError;
use crate::pending::PendingWrites;
use crate::store::Store;

pub(super) type StoreQuery = Box<dyn FnOnce(&Store) + Send>;

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
    pub recreated: u64,
    /// The thread that writes it has died because of a bug in evenkeel.
    pub lost: bool,
}

#[derive(Debug, Default)]
pub(super) struct WriterShared {
    pub(super) state: Mutex<WriterState>,
    /// Something is there for the writer.
    pub(super) work: Condvar,
    /// The writer has done something.
    pub(super) done: Condvar,
}

#[derive(Default)]
pub(super) struct WriterState {
    pub(super) pending: PendingWrites,
    pub(super) questions: Vec<StoreQuery>,
    /// How many things were handed in, and how many of these are written or dropped.
    pub(super) handed: u64,
    pub(super) settled: u64,
    pub(super) hurry: bool,
    pub(super) stop: bool,
    pub(super) ended: bool,
    pub(super) last_error: Option<String>,
    /// Why what is written does not outlive the program.
    pub(super) not_kept: Option<String>,
    pub(super) dropped: u64,
    pub(super) failures: u64,
    pub(super) recreated: u64,
    pub(super) lost: bool,
    /// The thread is to panic.
    #[cfg(test)]
    pub(super) fault: bool,
}

impl WriterShared {
    pub(super) fn lock(&self) -> MutexGuard<'_, WriterState> {
        // Whoever panicked with the lock left whole numbers and whole incidents behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn health(&self) -> StoreHealth {
        let state = self.lock();
        StoreHealth {
            ok: state.last_error.is_none() && state.not_kept.is_none(),
            last_error: state.last_error.clone().or_else(|| state.not_kept.clone()),
            dropped: state.dropped,
            failures: state.failures,
            recreated: state.recreated,
            lost: state.lost,
        }
    }

    /// The thread has panicked where that is not contained: it is no longer awaited.
    pub(super) fn mark_lost(&self) {
        let mut state = self.lock();
        state.last_error = Some(StoreError::Panicked.to_string());
        (state.ended, state.lost) = (true, true);
        // This tells the caller that there is no answer.
        state.questions.clear();
        drop(state);
        self.done.notify_all();
        tracing::error!(
            "the incident store thread has died: incidents are no longer stored; traffic and recovery continue"
        );
    }
}

impl WriterState {
    pub(super) fn drop_some(&mut self, dropped: u64) {
        self.dropped += dropped;
    }
}

impl fmt::Debug for WriterState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let questions = self.questions.len();
        formatter
            .debug_struct("State")
            .field("pending", &self.pending)
            .field("questions", &questions)
            .finish_non_exhaustive()
    }
}
