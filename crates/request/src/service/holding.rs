//! Requests that wait for the first server that comes back, while none is left and at least one is being repaired.
//!
//! Who may wait, and for how long, is decided by [`crate::hold`]; here those that wait are counted and woken. News come with the directives
//! of the control loop, so a request that waits costs nothing until there are some. Off, it costs a service's requests one comparison per
//! attempt.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use evenkeel_core::Directive;
use evenkeel_core::metric::{Counter, DurationHistogram, Sink};

use crate::hold::{GaveUp, HeldNow, HoldOptions};

/// Which requests of a service may wait, and those that do.
#[derive(Debug)]
pub(crate) struct Holding {
    pub(super) options: HoldOptions,
    pub(super) state: Arc<HoldState>,
}

/// The requests of a service that wait, and what they wait for. It is there also where none may wait: some may have before.
#[derive(Debug, Default)]
pub(crate) struct HoldState {
    now: HeldNow,
    /// Grows whenever a server of the service comes back.
    returns: AtomicU64,
    /// Servers have died, and nobody came to repair them: nobody waits again until something is said about one of them.
    in_vain: AtomicBool,
    /// evenkeel is about to end.
    draining: AtomicBool,
    /// Grows with all news.
    news: AtomicU64,
    numbers: AtomicU64,
    /// Those that wait, by their number, in the order in which they came.
    wakers: Mutex<Vec<(u64, Waker)>>,
    entered: Counter,
    waited: DurationHistogram,
    /// By the place of the reason.
    gave_up: [Counter; GaveUp::ALL.len()],
}

/// A request that waits; dropping it gives its room back.
#[derive(Debug)]
pub(crate) struct Held<'h> {
    holding: &'h HoldState,
    number: u64,
    bytes: u64,
}

impl Held<'_> {
    /// Wakes this when there are news.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut wakers = self.holding.wakers();
        match wakers.binary_search_by_key(&self.number, |one| one.0) {
            Ok(index) => wakers[index].1.clone_from(waker),
            Err(index) => wakers.insert(index, (self.number, waker.clone())),
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut wakers = self.holding.wakers();
        if let Ok(index) = wakers.binary_search_by_key(&self.number, |one| one.0) {
            wakers.remove(index);
        }
        drop(wakers);
        self.holding.now.leave(self.bytes);
    }
}

impl Deref for Holding {
    type Target = HoldState;
    fn deref(&self) -> &HoldState {
        &self.state
    }
}

impl Holding {
    pub(crate) const fn options(&self) -> &HoldOptions {
        &self.options
    }

    /// Takes in a request of so many bytes.
    pub(crate) fn enter(&self, bytes: u64) -> Result<Held<'_>, GaveUp> {
        self.now.enter(&self.options, bytes)?;
        self.entered.add(1);
        Ok(Held {
            holding: &self.state,
            number: self.numbers.fetch_add(1, Ordering::Relaxed),
            bytes,
        })
    }
}

impl HoldState {
    /// A directive about a server of the service was applied, and has changed whether that server is being repaired or not.
    pub(super) fn apply(&self, directive: &Directive, has_changed: bool) {
        let is_news = match directive {
            Directive::Trial { .. } | Directive::Restore { .. } => {
                self.returns.fetch_add(1, Ordering::Release);
                true
            }
            Directive::Repair { .. } => has_changed,
            Directive::Eject { .. } | Directive::Rescue { .. } | Directive::Drain { .. } => false,
        };
        if is_news {
            self.in_vain.store(false, Ordering::Release);
            self.wake_all();
        }
    }

    /// A server has joined, or the service's maintenance has begun.
    pub(super) fn wake_all(&self) {
        self.news.fetch_add(1, Ordering::Release);
        let wakers = std::mem::take(&mut *self.wakers());
        wakers.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// Nobody waits any longer: evenkeel is about to end.
    pub(super) fn end(&self) {
        self.draining.store(true, Ordering::Release);
        self.wake_all();
    }

    /// How many wait.
    pub(super) fn requests(&self) -> u32 {
        self.now.requests()
    }

    /// How many news there were so far.
    pub(crate) fn news(&self) -> u64 {
        self.news.load(Ordering::Acquire)
    }

    /// How often a server has come back so far.
    pub(crate) fn returns(&self) -> u64 {
        self.returns.load(Ordering::Acquire)
    }

    pub(crate) fn is_in_vain(&self) -> bool {
        self.in_vain.load(Ordering::Acquire)
    }

    /// A request has waited for a repair that nobody began.
    pub(crate) fn was_in_vain(&self) {
        self.in_vain.store(true, Ordering::Release);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// A server came back for a request that has waited so long.
    pub(crate) fn ended_well(&self, waited: Duration) {
        self.waited.add(waited);
    }

    pub(crate) fn gave_up(&self, reason: GaveUp) {
        self.gave_up[reason.place()].add(1);
    }

    fn wakers(&self) -> MutexGuard<'_, Vec<(u64, Waker)>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its metrics.
    pub(super) fn collect(&self, sink: &mut dyn Sink, service: &str) {
        let labels = [("service", service)];
        let about = "Requests that wait for the first server that comes back.";
        sink.gauge(
            "evenkeel_held_requests",
            about,
            &labels,
            f64::from(self.requests()),
        );
        let about = "Bytes of the requests that wait for the first server that comes back.";
        let bytes = self.now.bytes() as f64;
        sink.gauge("evenkeel_held_bytes", about, &labels, bytes);
        let about = "Requests that had to wait for a server to come back; one that waits again counts again.";
        let entered = self.entered.value();
        sink.counter("evenkeel_held_requests_total", about, &labels, entered);
        let about = "How long requests waited for which a server came back.";
        let waited = self.waited.snapshot();
        sink.durations("evenkeel_hold_seconds", about, &labels, &waited);
        let about = "Requests that found no server and were not held, or not any longer.";
        for reason in GaveUp::ALL {
            let labels = [("service", service), ("reason", reason.word())];
            let value = self.gave_up[reason.place()].value();
            sink.counter(
                "evenkeel_held_requests_given_up_total",
                about,
                &labels,
                value,
            );
        }
    }
}
