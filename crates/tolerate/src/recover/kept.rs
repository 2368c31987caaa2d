//! Values of earlier calls, for when a call fails: what `stale.rs` decides, behind a policy.
//!
//! A value that a call gave is kept by its key, and shown when a later call with that key gives none (`stale-if-error`). Where the
//! options say `answer_first`, a value that is fresh is given without a call, and while one caller asks for a new one the others get
//! the old (`stale-while-revalidate`). The one who asks waits for its own call: nothing here runs by itself, there is no runtime. Who
//! does not want to wait either looks with [`Kept::show`] and spawns the call.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evenkeel_core::Instant;

use super::{Event, Recovered, Recovery, Report, Stopped};
use crate::clock::Clock;
use crate::stale::{KeepFor, StaleCache, StaleOptions};
use crate::{Call, Deadline};

/// How long somebody who asks may take until another one is to ask, if its call has no deadline.
const PATIENCE: Duration = Duration::from_secs(10);

/// Values of earlier calls by key, in bounded memory. Shared by the calls of any number of policies.
#[derive(Debug)]
pub struct Kept<T> {
    cache: Mutex<StaleCache<T>>,
    options: StaleOptions,
    keep_for: KeepFor,
    size: fn(&T) -> usize,
}

/// A value of an earlier call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown<T> {
    /// It.
    pub value: T,
    /// How old it is.
    pub age: Duration,
}

impl<T: Clone> Kept<T> {
    /// Nothing yet. A value is not fresh at all and may be shown for [`StaleOptions::if_error`], unless [`Kept::keep_for`] says else.
    #[must_use]
    pub fn new(options: StaleOptions) -> Self {
        Self {
            cache: Mutex::new(StaleCache::new(options)),
            options,
            keep_for: KeepFor {
                fresh: Duration::ZERO,
                revalidate: Duration::ZERO,
                all: options.if_error,
            },
            size: size_of_val,
        }
    }

    /// For how long a value is fresh, may be shown to others while one asks, and may be shown if a call fails; each from when it came.
    #[must_use]
    pub const fn keep_for(mut self, keep_for: KeepFor) -> Self {
        self.keep_for = keep_for;
        self
    }

    /// How many bytes a value has, if it holds more than itself: text, lists.
    #[must_use]
    pub const fn sized_by(mut self, size: fn(&T) -> usize) -> Self {
        self.size = size;
        self
    }

    /// What may still be shown for this key.
    pub fn show(&self, key: &[u8], now: Instant) -> Option<Shown<T>> {
        shown(self.cache().get(key, now))
    }

    /// Keeps a value, if it is not too large.
    pub fn put(&self, key: &[u8], value: &T, now: Instant) {
        let size = (self.size)(value);
        if size <= self.options.object {
            let value = value.clone();
            self.cache().put(key, value, size, now, self.keep_for);
        }
    }

    /// Forgets the value of this key.
    pub fn remove(&self, key: &[u8]) {
        self.cache().remove(key);
    }

    /// What may be shown without a call.
    fn first(&self, key: &[u8], now: Instant, deadline: Deadline) -> Option<Shown<T>> {
        if !self.options.answer_first {
            return None;
        }
        let patience = match deadline.end() {
            Instant::NEVER => PATIENCE,
            _ => deadline.remaining(now),
        };
        shown(self.cache().first(key, now, patience))
    }

    fn cache(&self) -> MutexGuard<'_, StaleCache<T>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shown<T: Clone>(kept: Option<crate::stale::Kept<T>>) -> Option<Shown<T>> {
    kept.map(|kept| Shown {
        value: T::clone(&kept.value),
        age: kept.age,
    })
}

/// The end of a call that was not made, because what is kept is good enough.
pub(super) fn without_call<C: Clock, T: Clone, E>(
    recovery: &Recovery<C>,
    call: &Call,
    kept: &Kept<T>,
    key: &[u8],
) -> Option<Recovered<T, E>> {
    let now = recovery.shared.clock.now();
    let deadline = recovery
        .shared
        .live()
        .options
        .deadline_from(now, call.deadline());
    let Shown { value, age } = kept.first(key, now, deadline)?;
    let mut report = Report::new(call.name());
    report.rare().old = Some(age);
    let event = Event::Stopped {
        why: Stopped::Good,
        attempts: 0,
        waited: Duration::ZERO,
    };
    recovery.shared.tell(call, now, &event);
    Some(Recovered {
        result: Some(Ok(value)),
        stopped: Stopped::Good,
        report,
    })
}

/// Keeps what a call gave, or puts what is kept in the place of what it did not give.
pub(super) fn after_call<C: Clock, T: Clone, E>(
    recovery: &Recovery<C>,
    call: &Call,
    kept: &Kept<T>,
    key: &[u8],
    recovered: &mut Recovered<T, E>,
) {
    let now = recovery.shared.clock.now();
    if recovered.is_good() {
        if let Some(Ok(value)) = &recovered.result {
            kept.put(key, value, now);
        }
        return;
    }
    let old = kept.show(key, now);
    let good = old.is_some();
    recovery.shared.tell(call, now, &Event::Fallback { good });
    if let Some(Shown { value, age }) = old {
        recovered.report.fell_back = true;
        recovered.report.rare().old = Some(age);
        recovered.result = Some(Ok(value));
    }
}
