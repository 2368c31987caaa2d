//! The thread that writes the store. Whoever hands it something never waits for the disk.
//!
//! Not a channel of messages: a slow or full disk would fill it with old states of the same incident. What waits is
//! kept by id instead ([`Pending`]), so that it is always the newest state that is tried, until it is written.

use std::fmt;
use std::io;
use std::mem::take;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_fault::Incident;
use evenkeel_runtime::Clock;

use crate::error::StoreError;
use crate::file::calendar_now;
use crate::open::Opened;
use crate::pending::Pending;
use crate::store::Store;

/// Questions that may wait.
const MOST_QUESTIONS: usize = 64;
/// Between two tries to write, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// Between two log lines that say the same.
const SAY_AGAIN: Duration = Duration::from_secs(60);
/// How often what is too old is removed.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
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
    pruned: Option<Instant>,
    wait: Duration,
}

/// What hands things to the [`Writer`]. Copies hand to the same one; it ends when the last copy is gone.
#[derive(Debug, Clone)]
pub struct WriterHandle(Arc<Owner>);

/// How the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreHealth {
    /// The last try to write succeeded.
    pub ok: bool,
    /// Why it did not.
    pub last_error: Option<String>,
    /// Things that were lost because too much waited.
    pub dropped: u64,
    /// Tries to write that failed.
    pub failures: u64,
}

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
    dropped: u64,
    failures: u64,
}

impl Writer {
    /// Starts the thread, which owns the store from now on.
    ///
    /// # Errors
    /// If the system has no thread for it.
    pub fn start(store: Store) -> io::Result<WriterHandle> {
        let shared = Arc::new(Shared::default());
        let writer = Self {
            shared: Arc::clone(&shared),
            store: Some(store),
            clock: Clock::start(),
            said: None,
            pruned: None,
            wait: RETRY.0,
        };
        std::thread::Builder::new()
            .name("keel-history".to_owned())
            .spawn(move || writer.run())?;
        Ok(WriterHandle(Arc::new(Owner(shared))))
    }

    fn run(mut self) {
        loop {
            let (batch, questions, handed, stop) = self.next();
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
        let idle = |state: &mut State| {
            !state.stop && state.pending.is_empty() && state.questions.is_empty()
        };
        let state = self.shared.work.wait_while(self.shared.lock(), idle);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        (
            take(&mut state.pending),
            take(&mut state.questions),
            state.handed,
            state.stop,
        )
    }

    fn answer(&self, questions: Vec<Question>) {
        let Some(store) = &self.store else { return };
        for question in questions {
            question(store);
        }
    }

    /// Writes all as one, or puts all of it back. Says whether it failed.
    fn write(&mut self, batch: Pending, handed: u64) -> bool {
        let Some(store) = &self.store else {
            return true;
        };
        let all = store.together(|store| {
            batch
                .incidents()
                .try_for_each(|incident| store.save(incident))?;
            add_traffic(store, &batch)
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
        if let Err(error) = store.prune(calendar_now(), KEEP_DAYS, KEEP_INCIDENTS) {
            tracing::warn!(%error, "old incidents could not be removed");
        }
    }
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

    /// How the store is.
    #[must_use]
    pub fn health(&self) -> StoreHealth {
        let state = self.lock();
        StoreHealth {
            ok: state.last_error.is_none(),
            last_error: state.last_error.clone(),
            dropped: state.dropped,
            failures: state.failures,
        }
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
mod tests {
    use super::*;
    use crate::filter::Filter;
    use crate::pending::MOST_INCIDENTS;

    const SOON: Duration = Duration::from_secs(20);

    fn incident(number: u32, text: &str) -> Incident {
        let json = format!(
            r#"{{"id":"2026-01-02-{number:04}","drill":false,"status":"open","service":"shop","servers":[],
            "onset":"2026-01-02T03:04:05.000Z","durations_ms":{{}},"detected_by":"{text}","diagnosis":[],"actions":[],
            "impact":{{"requests":0,"failed":0,"saved_by_retry":0,"budget_spent":0.0}},"timeline":[]}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    fn in_file() -> (tempfile::TempDir, Store) {
        let folder = tempfile::TempDir::new().unwrap();
        let store = Store::open(Some(&folder.path().join("evenkeel.db")))
            .unwrap()
            .store;
        (folder, store)
    }

    fn kept(handle: &WriterHandle) -> Vec<Incident> {
        handle
            .ask(SOON, |store| store.list(&Filter::default()).unwrap())
            .unwrap()
    }

    #[test]
    fn what_is_flushed_is_there_and_the_newest_state_wins() {
        let (_folder, store) = in_file();
        let handle = Writer::start(store).unwrap();
        for text in ["first", "second", "third"] {
            handle.save(incident(1, text));
        }
        handle.add_traffic("shop", 7, 3, 1);
        assert!(handle.flush(SOON));
        assert_eq!(kept(&handle), [incident(1, "third")]);
        assert_eq!(
            handle.health(),
            StoreHealth {
                ok: true,
                last_error: None,
                dropped: 0,
                failures: 0
            }
        );
        assert!(handle.stop(SOON));
        assert_eq!(handle.ask(SOON, |_| ()), None);
    }

    #[test]
    fn on_a_full_disk_the_newest_state_waits_until_there_is_room() {
        let (folder, store) = in_file();
        store.limit_pages(12);
        let handle = Writer::start(store).unwrap();
        let large = "x".repeat(50_000);
        handle.save(incident(1, &large));
        assert!(!handle.flush(Duration::from_millis(50)));
        let health = handle.health();
        assert!(!health.ok && health.failures > 0);
        assert_eq!(
            health.last_error.as_deref(),
            Some("the incident store: database or disk is full")
        );
        // Meanwhile life goes on, and questions are answered.
        handle.save(incident(1, "small"));
        handle.save(incident(2, &large));
        assert_eq!(kept(&handle), []);
        // Whoever asks what happened sees what waits, in its newest state.
        let all = Filter::default();
        let known = handle.list(&all, SOON).unwrap().unwrap();
        assert_eq!(known, [incident(2, &large), incident(1, "small")]);
        let one = Filter {
            limit: Some(1),
            ..Filter::default()
        };
        assert_eq!(handle.list(&one, SOON).unwrap().unwrap().len(), 1);
        let other = Filter {
            service: Some("other".to_owned()),
            ..Filter::default()
        };
        assert_eq!(handle.list(&other, SOON).unwrap().unwrap(), []);
        let later = Filter {
            since: Some("2026-01-03".to_owned()),
            ..Filter::default()
        };
        assert_eq!(handle.list(&later, SOON).unwrap().unwrap(), []);
        let first = handle.get("2026-01-02-0001", SOON).unwrap().unwrap();
        assert_eq!(first, Some(incident(1, "small")));
        assert_eq!(handle.get("2026-01-02-0003", SOON).unwrap().unwrap(), None);
        handle.ask(SOON, |store| store.limit_pages(10_000)).unwrap();
        assert!(handle.flush(SOON));
        assert!(handle.health().ok);
        assert_eq!(handle.health().dropped, 0);
        assert!(handle.stop(SOON));
        let reader = Store::open_read_only(&folder.path().join("evenkeel.db")).unwrap();
        assert_eq!(
            reader.list(&Filter::default()).unwrap(),
            [incident(2, &large), incident(1, "small")]
        );
    }

    #[test]
    fn what_waits_is_bounded_and_what_is_dropped_is_counted() {
        let (_folder, store) = in_file();
        store.limit_pages(1);
        let handle = Writer::start(store).unwrap();
        let surplus = 10;
        for number in 1..=u32::try_from(MOST_INCIDENTS).unwrap() + surplus {
            // More than fits in the pages that are there.
            handle.save(incident(number, &"x".repeat(5_000)));
        }
        assert!(!handle.flush(Duration::from_millis(10)));
        handle.ask(SOON, |store| store.limit_pages(10_000)).unwrap();
        assert!(handle.flush(SOON));
        let health = handle.health();
        assert_eq!(health.dropped, u64::from(surplus));
        let kept = kept(&handle);
        assert_eq!(kept.len(), MOST_INCIDENTS);
        assert_eq!(
            kept.last().unwrap().id,
            "2026-01-02-0011",
            "the oldest went"
        );
    }

    #[test]
    fn a_file_that_breaks_while_it_is_written_gives_way_to_a_new_one() {
        let (folder, store) = in_file();
        let path = folder.path().join("evenkeel.db");
        for number in 1..200 {
            store.save(&incident(number, "before")).unwrap();
        }
        drop(store);
        let store = Store::open(Some(&path)).unwrap().store;
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[4096..].fill(0x5a);
        std::fs::write(&path, bytes).unwrap();
        let handle = Writer::start(store).unwrap();
        // More than the connection still remembers of the file.
        for number in 200..400 {
            handle.save(incident(number, &"after".repeat(1_000)));
        }
        assert!(handle.flush(SOON), "{:?}", handle.health());
        assert!(handle.stop(SOON));
        let mut names = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        assert!(
            names.any(|name| name.to_string_lossy().contains(".corrupt-")),
            "the broken file was found"
        );
        let reader = Store::open_read_only(&path).unwrap();
        assert_eq!(reader.list(&Filter::default()).unwrap().len(), 200);
    }

    #[test]
    fn the_thread_ends_with_its_last_handle_and_writes_what_waits() {
        let (folder, store) = in_file();
        let handle = Writer::start(store).unwrap();
        let shared = Arc::clone(&handle.0.0);
        handle.save(incident(1, "last"));
        drop(handle);
        let ended = shared
            .done
            .wait_timeout_while(shared.lock(), SOON, |state| !state.ended);
        assert!(ended.unwrap().0.ended);
        let reader = Store::open_read_only(&folder.path().join("evenkeel.db")).unwrap();
        assert_eq!(reader.list(&Filter::default()).unwrap().len(), 1);
    }
}
