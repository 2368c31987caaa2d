//! The thread that writes the store. Whoever hands it something never waits for the disk.
//!
//! Not a channel of messages: a slow or full disk would fill it with old states of the same incident. What waits is
//! kept by id instead ([`Pending`]), so that it is always the newest state that is tried, until it is written.

mod health;

use std::fmt;
use std::io;
use std::mem::take;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_fault::{Incident, Maintenance};
use evenkeel_runtime::Clock;

use crate::error::StoreError;
use crate::file::calendar_now;
use crate::open::Opened;
use crate::pending::Pending;
use crate::store::Store;

pub use health::StoreHealth;

/// Questions that may wait.
const MOST_QUESTIONS: usize = 64;
/// Between two tries to write, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// Between two log lines that say the same.
const SAY_AGAIN: Duration = Duration::from_secs(60);
/// How often what is too old is removed.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// How often it is seen to that the file still has its name, also when nothing is to be written.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// What is kept.
const KEEP_DAYS: u32 = 400;
const KEEP_INCIDENTS: u32 = 100_000;

type Question = Box<dyn FnOnce(&Store) + Send>;

/// The thread that writes the store.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    store: Option<Store>,
    clock: Clock,
    said: Option<Instant>,
    /// When it was last said that the file is gone.
    said_gone: Option<Instant>,
    pruned: Option<Instant>,
    wait: Duration,
}

/// What hands things to the [`Writer`]. Copies hand to the same one; it ends when the last copy is gone.
#[derive(Debug, Clone)]
pub struct WriterHandle(Arc<Owner>);

#[derive(Debug)]
struct Owner(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Something is there for the writer.
    work: Condvar,
    /// The writer has done something.
    done: Condvar,
}

#[derive(Default)]
struct State {
    pending: Pending,
    questions: Vec<Question>,
    /// How many things were handed in, and how many of these are written or dropped.
    handed: u64,
    settled: u64,
    hurry: bool,
    stop: bool,
    ended: bool,
    last_error: Option<String>,
    /// Why what is written does not outlive the program.
    not_kept: Option<String>,
    dropped: u64,
    failures: u64,
    made_again: u64,
    lost: bool,
    /// The thread is to panic.
    #[cfg(test)]
    fault: bool,
}

impl Writer {
    /// Starts the thread, which owns the store from now on.
    ///
    /// # Errors
    /// If the system has no thread for it.
    pub fn start(store: Store) -> io::Result<WriterHandle> {
        let shared = Arc::new(Shared::default());
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
        Ok(WriterHandle(Arc::new(Owner(shared))))
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
        // Closing takes the log into the file; whoever waits for the end wants that done.
        drop(self.store.take());
        self.shared.lock().ended = true;
        self.shared.done.notify_all();
    }

    /// Waits for something to do.
    fn next(&self) -> (Pending, Vec<Question>, u64, bool) {
        #[cfg(test)]
        assert!(!self.shared.lock().fault, "injected by a test");
        let idle = |state: &mut State| {
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

    /// Makes the file again if it was removed or replaced. Until that works the old one, which has no name any more, keeps
    /// everything; it is copied as a whole.
    fn keep_file(&mut self) {
        let Some(store) = &self.store else { return };
        let Err(gone) = store.check_file() else {
            if self.said_gone.take().is_some() {
                self.shared.lock().not_kept = None;
                tracing::info!("the incident store is in its place again");
            }
            return;
        };
        match store.made_again() {
            Ok(Opened { store, .. }) => {
                self.store = Some(store);
                self.said_gone = None;
                let mut state = self.shared.lock();
                state.not_kept = None;
                state.made_again += 1;
                drop(state);
                tracing::warn!("{gone}; it was made again with all that it held");
            }
            Err(error) => {
                self.shared.lock().not_kept = Some(format!("{gone}; {error}"));
                let now = self.clock.now();
                if self.said_gone.is_none_or(|said| now - said >= SAY_AGAIN) {
                    self.said_gone = Some(now);
                    tracing::error!(%error, "{gone}, and cannot be made again; what it held is kept until evenkeel ends");
                }
            }
        }
    }

    fn answer(&self, questions: Vec<Question>) {
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
    fn write(&mut self, batch: Pending, handed: u64) -> bool {
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
            self.begin_anew();
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
            tracing::info!("the incident store can be written again; nothing that waited is lost");
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
                "the incident store cannot be written; traffic and recovery go on, the newest state of each incident waits in memory"
            );
        }
    }

    /// Waits before the next try; a flush or a question cuts it short.
    fn rest(&mut self) {
        let wait = self.wait;
        self.wait = (wait * 2).min(RETRY.1);
        let calm = |state: &mut State| !state.stop && !state.hurry && state.questions.is_empty();
        let rested = self
            .shared
            .work
            .wait_timeout_while(self.shared.lock(), wait, calm);
        drop(rested);
    }

    /// The file is broken: a new one takes its place, or memory if even that is not possible.
    fn begin_anew(&mut self) {
        let Some(store) = self.store.take() else {
            return;
        };
        match store.begin_anew() {
            Ok(Opened { store, notes }) => {
                self.store = Some(store);
                for note in notes {
                    tracing::error!("{note}");
                }
            }
            Err(error) => {
                tracing::error!(%error, "no incident store can be written; incidents are kept in memory only, until evenkeel ends");
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

fn add_traffic(store: &Store, batch: &Pending) -> Result<(), StoreError> {
    batch
        .traffic()
        .try_for_each(|(service, minute, requests, failed)| {
            store.add_traffic(service, minute, requests, failed)
        })
}

impl WriterHandle {
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
        let missing = |state: &mut State| state.settled < target && !state.ended;
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

    /// What waits to be written, as it is now.
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked with the lock left whole numbers and whole incidents behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn drop_some(&mut self, dropped: u64) {
        self.dropped += dropped;
    }
}

impl fmt::Debug for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let questions = self.questions.len();
        formatter
            .debug_struct("State")
            .field("pending", &self.pending)
            .field("questions", &questions)
            .finish_non_exhaustive()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.lock().stop = true;
        self.0.work.notify_one();
    }
}

#[cfg(test)]
mod tests;
