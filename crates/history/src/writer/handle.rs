//! The handle to the writer thread. Callers pass it data and queries, and never wait for the disk unless they give a
//! timeout.

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use evenkeel_fault::{Incident, Maintenance};

use super::shared::{StoreHealth, WriterShared, WriterState};
use crate::store::Store;

/// Questions that may wait.
const MOST_QUESTIONS: usize = 64;

/// A handle to the [`Writer`](super::Writer). Clones refer to the same one; it ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct WriterHandle(pub(super) Arc<ThreadOwner>);

#[derive(Debug)]
pub(super) struct ThreadOwner(pub(super) Arc<WriterShared>);

impl WriterHandle {
    pub(super) fn new(shared: Arc<WriterShared>) -> Self {
        Self(Arc::new(ThreadOwner(shared)))
    }

    /// Keeps the incident as it is now. Never waits for the disk.
    pub fn save(&self, incident: Incident) {
        let mut state = self.lock();
        let dropped = state.pending.save(incident);
        state.handed += 1;
        state.drop_some(dropped);
        drop(state);
        self.0.0.work.notify_one();
    }

    /// Keeps a maintenance by its names, or forgets it if it is over. Never waits for the disk.
    pub fn set_maintenance(
        &self,
        service: &str,
        server: Option<&str>,
        maintenance: Option<Maintenance>,
    ) {
        let key = (service.to_owned(), server.map(str::to_owned));
        let mut state = self.lock();
        let dropped = state.pending.set_maintenance(key, maintenance);
        state.handed += 1;
        state.drop_some(dropped);
        drop(state);
        self.0.0.work.notify_one();
    }

    /// Keeps the changes of the configuration that were made at run time and are to hold after a restart, as text. Never waits for the
    /// disk.
    pub fn set_runtime_changes(&self, body: String) {
        let mut state = self.lock();
        state.pending.set_runtime_changes(body);
        state.handed += 1;
        drop(state);
        self.0.0.work.notify_one();
    }

    /// Adds to the requests of a service in a minute (minutes since 1970-01-01 UTC). Never waits for the disk.
    pub fn add_traffic(&self, service: &str, minute: i64, requests: u64, failed: u64) {
        let mut state = self.lock();
        let dropped = state.pending.add_traffic(service, minute, requests, failed);
        state.handed += 1;
        state.drop_some(dropped);
        drop(state);
        self.0.0.work.notify_one();
    }

    /// Waits until all that was handed in before is written. `false` if that did not happen within `timeout`.
    #[must_use]
    pub fn flush(&self, timeout: Duration) -> bool {
        let mut state = self.lock();
        let target = state.handed;
        state.hurry = true;
        self.0.0.work.notify_one();
        let missing = |state: &mut WriterState| state.settled < target && !state.ended;
        let waited = self.0.0.done.wait_timeout_while(state, timeout, missing);
        waited.unwrap_or_else(PoisonError::into_inner).0.settled >= target
    }

    /// Asks the store something, on the writer's thread. `None` if no answer came within `timeout`, or too many ask.
    /// What waits to be written is not seen; [`WriterHandle::flush`] first if it must be.
    pub fn ask<T: Send + 'static>(
        &self,
        timeout: Duration,
        question: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answers) = sync_channel(1);
        let mut state = self.lock();
        if state.ended || state.questions.len() >= MOST_QUESTIONS {
            return None;
        }
        state.questions.push(Box::new(move |store| {
            // Whoever asked may have given up.
            answer.try_send(question(store)).ok();
        }));
        drop(state);
        self.0.0.work.notify_one();
        answers.recv_timeout(timeout).ok()
    }

    /// How the store is.
    #[must_use]
    pub fn health(&self) -> StoreHealth {
        self.0.0.health()
    }

    /// The incidents that wait to be written.
    pub(crate) fn waiting(&self) -> Vec<Incident> {
        self.lock().pending.incidents().cloned().collect()
    }

    /// Writes what waits, closes the store and ends the thread, however many copies of this there are. `false` if that
    /// was not done within `timeout`, or something could not be written.
    #[must_use]
    pub fn stop(&self, timeout: Duration) -> bool {
        let mut state = self.lock();
        state.stop = true;
        self.0.0.work.notify_one();
        let waited = self
            .0
            .0
            .done
            .wait_timeout_while(state, timeout, |state| !state.ended);
        let state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.ended && state.pending.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, WriterState> {
        self.0.0.lock()
    }
}

impl Drop for ThreadOwner {
    fn drop(&mut self) {
        self.0.lock().stop = true;
        self.0.work.notify_one();
    }
}
