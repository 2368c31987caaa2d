//! The thread that writes the store. Callers that pass it data never wait for the disk.
//!
//! Not a channel of messages: a slow or full disk would fill it with outdated states of the same incident. Pending
//! writes are kept by id instead ([`PendingWrites`]), so that the newest state is always the one that is retried until
//! it is written.

mod handle;
mod shared;

use std::io;
use std::mem::take;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_runtime::Clock;

use crate::error::StoreError;
use crate::file::calendar_now;
use crate::open::OpenedStore;
use crate::pending::PendingWrites;
use crate::store::Store;

pub use handle::WriterHandle;
pub use shared::StoreHealth;
use shared::{StoreQuery, WriterShared, WriterState};

/// Between two tries to write, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// Between two log lines that say the same.
const SAY_AGAIN: Duration = Duration::from_secs(60);
/// How often what is too old is removed.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// How often it is seen to that the file still has its name, also when nothing is to be written.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long records are kept.
const KEEP_DAYS: u32 = 400;
const KEEP_INCIDENTS: u32 = 100_000;

/// The thread that writes the store.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<WriterShared>,
    store: Option<Store>,
    clock: Clock,
    said: Option<Instant>,
    /// When it was last said that the file is gone.
    said_gone: Option<Instant>,
    pruned: Option<Instant>,
    wait: Duration,
}

impl Writer {
    /// Starts the thread, which owns the store from now on.
    ///
    /// # Errors
    /// If the system has no thread for it.
    pub fn start(store: Store) -> io::Result<WriterHandle> {
        let shared = Arc::new(WriterShared::default());
        shared.lock().not_kept.clone_from(&store.only_memory);
        let writer = Self {
            shared: Arc::clone(&shared),
            store: Some(store),
            clock: Clock::start(),
            said: None,
            said_gone: None,
            pruned: None,
            wait: RETRY.0,
        };
        std::thread::Builder::new()
            .name("keel-history".to_owned())
            .spawn(move || {
                let shared = Arc::clone(&writer.shared);
                if catch_unwind(AssertUnwindSafe(|| writer.run())).is_err() {
                    shared.mark_lost();
                }
            })?;
        Ok(WriterHandle::new(shared))
    }

    fn run(mut self) {
        loop {
            let (batch, questions, handed, stop) = self.next();
            self.keep_file();
            let failed = !batch.is_empty() && self.write(batch, handed);
            if !failed {
                self.settle(handed);
            }
            // After writing: what came before a question is then stored, or waits again for all to see.
            self.answer(questions);
            if stop {
                break;
            }
            if failed {
                self.rest();
            } else {
                self.prune();
            }
        }
        // Closing merges the write-ahead log into the file, which is part of an orderly end.
        drop(self.store.take());
        self.shared.lock().ended = true;
        self.shared.done.notify_all();
    }

    /// Waits for something to do.
    fn next(&self) -> (PendingWrites, Vec<StoreQuery>, u64, bool) {
        #[cfg(test)]
        assert!(!self.shared.lock().fault, "injected by a test");
        let idle = |state: &mut WriterState| {
            !state.stop && state.pending.is_empty() && state.questions.is_empty()
        };
        let waited = self
            .shared
            .work
            .wait_timeout_while(self.shared.lock(), LOOK_EVERY, idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        (
            take(&mut state.pending),
            take(&mut state.questions),
            state.handed,
            state.stop,
        )
    }

    /// Recreates the file if it was removed or replaced. Until that works the old one, which no longer has a name,
    /// keeps everything; it is copied as a whole.
    fn keep_file(&mut self) {
        let Some(store) = &self.store else { return };
        let Err(gone) = store.check_file() else {
            if self.said_gone.take().is_some() {
                self.shared.lock().not_kept = None;
                tracing::info!("the incident store is back at its path");
            }
            return;
        };
        match store.recreated() {
            Ok(OpenedStore { store, .. }) => {
                self.store = Some(store);
                self.said_gone = None;
                let mut state = self.shared.lock();
                state.not_kept = None;
                state.recreated += 1;
                drop(state);
                tracing::warn!("{gone}; it was recreated with its whole content");
            }
            Err(error) => {
                self.shared.lock().not_kept = Some(format!("{gone}; {error}"));
                let now = self.clock.now();
                if self.said_gone.is_none_or(|said| now - said >= SAY_AGAIN) {
                    self.said_gone = Some(now);
                    tracing::error!(%error, "{gone}, and cannot be recreated; its content is kept in memory until evenkeel ends");
                }
            }
        }
    }

    fn answer(&self, questions: Vec<StoreQuery>) {
        let Some(store) = &self.store else { return };
        for question in questions {
            // Whoever asked gets no answer.
            let answered = contained(|| {
                question(store);
                Ok(())
            });
            answered.ok();
        }
    }

    /// Writes all as one, or puts all of it back. Says whether it failed.
    fn write(&mut self, batch: PendingWrites, handed: u64) -> bool {
        let Some(store) = &self.store else {
            return true;
        };
        let all = contained(|| {
            store.together(|store| {
                batch
                    .incidents()
                    .try_for_each(|incident| store.save(incident))?;
                batch
                    .maintenance()
                    .try_for_each(|((service, server), state)| {
                        store.set_maintenance(service, server.as_deref(), state)
                    })?;
                if let Some(body) = batch.runtime_changes() {
                    store.set_runtime_changes(body)?;
                }
                add_traffic(store, &batch)
            })
        });
        let Err(error) = all else {
            self.succeeded();
            return false;
        };
        let mut state = self.shared.lock();
        let dropped = state.pending.put_back(batch);
        state.drop_some(dropped);
        drop(state);
        self.failed(&error, handed);
        if error.is_corruption() {
            self.start_over();
        }
        true
    }

    fn settle(&self, handed: u64) {
        let mut state = self.shared.lock();
        state.settled = state.settled.max(handed);
        state.hurry = false;
        drop(state);
        self.shared.done.notify_all();
    }

    fn succeeded(&mut self) {
        self.wait = RETRY.0;
        if self.shared.lock().last_error.take().is_some() {
            self.said = None;
            tracing::info!("the incident store can be written again; nothing was lost");
        }
    }

    fn failed(&mut self, error: &StoreError, handed: u64) {
        let mut state = self.shared.lock();
        state.last_error = Some(error.to_string());
        state.failures += 1;
        state.hurry = false;
        let waiting = state.pending.incidents().count();
        drop(state);
        tracing::debug!(handed, %error, "writing failed");
        let now = self.clock.now();
        if self.said.is_none_or(|said| now - said >= SAY_AGAIN) {
            self.said = Some(now);
            tracing::error!(
                %error,
                waiting,
                "the incident store cannot be written; traffic and recovery continue, and the latest state of each incident is kept in memory"
            );
        }
    }

    /// Waits before the next try; a flush or a question cuts it short.
    fn rest(&mut self) {
        let wait = self.wait;
        self.wait = (wait * 2).min(RETRY.1);
        let calm =
            |state: &mut WriterState| !state.stop && !state.hurry && state.questions.is_empty();
        let rested = self
            .shared
            .work
            .wait_timeout_while(self.shared.lock(), wait, calm);
        drop(rested);
    }

    /// The file is broken: a new one takes its place, or memory if even that is not possible.
    fn start_over(&mut self) {
        let Some(store) = self.store.take() else {
            return;
        };
        match store.start_over() {
            Ok(OpenedStore { store, notes }) => {
                self.store = Some(store);
                for note in notes {
                    tracing::error!("{note}");
                }
            }
            Err(error) => {
                tracing::error!(%error, "no incident store can be written; incidents are kept in memory until evenkeel ends");
                self.shared.lock().not_kept = Some(error.to_string());
                self.store = Store::open(None).ok().map(|opened| opened.store);
            }
        }
    }

    fn prune(&mut self) {
        let now = self.clock.now();
        if self.pruned.is_some_and(|pruned| now - pruned < PRUNE_EVERY) {
            return;
        }
        self.pruned = Some(now);
        let Some(store) = &self.store else { return };
        let pruned = contained(|| store.prune(calendar_now(), KEEP_DAYS, KEEP_INCIDENTS));
        if let Err(error) = pruned {
            tracing::warn!(%error, "old incidents could not be removed");
        }
    }
}

/// Does `work` so that a panic in it is an error: this thread is the only one that keeps anything, and must go on.
fn contained<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    // A transaction that a panic leaves open is rolled back when it is dropped; nothing else of the store changes here.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(StoreError::Panicked))
}

fn add_traffic(store: &Store, batch: &PendingWrites) -> Result<(), StoreError> {
    batch
        .traffic()
        .try_for_each(|(service, minute, requests, failed)| {
            store.add_traffic(service, minute, requests, failed)
        })
}

#[cfg(test)]
mod tests;
