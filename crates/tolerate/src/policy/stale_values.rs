//! Values of earlier calls, for when a call fails: a policy's fallback to them.
//!
//! The value of a call that succeeds is stored by its key, and returned when a later call with that key fails
//! (`stale-if-error`). With [`StaleOptions::answer_first`], a fresh value is returned without a call, and while one caller makes
//! the call the others get the stale value (`stale-while-revalidate`). That caller waits for its own call: nothing here runs in
//! the background, since there is no runtime. To avoid that wait, look up with [`StaleValues::get`] and spawn the call.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evenkeel_core::Instant;

use super::{CallReport, PolicyEvent, Recovered, Recovery, Stopped};
use crate::clock::Clock;
use crate::stale::{Lifetimes, StaleOptions, StaleStore, StoredValue};
use crate::{Call, Deadline};

/// How long a caller that fetches a new value may take before another one is told to, if its call has no deadline.
const REVALIDATION_TIMEOUT: Duration = Duration::from_secs(10);

/// Values of earlier calls by key, in bounded memory. Shared by the calls of any number of policies.
#[derive(Debug)]
pub struct StaleValues<T> {
    store: Mutex<StaleStore<T>>,
    options: StaleOptions,
    lifetimes: Lifetimes,
    size: fn(&T) -> usize,
}

/// A value of an earlier call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleValue<T> {
    /// The value.
    pub value: T,
    /// The time since it was stored.
    pub age: Duration,
}

impl<T: Clone> StaleValues<T> {
    /// Empty. A value is never fresh, and is returned for [`StaleOptions::if_error`] if a call fails, unless
    /// [`StaleValues::lifetimes`] says otherwise.
    #[must_use]
    pub fn new(options: StaleOptions) -> Self {
        Self {
            store: Mutex::new(StaleStore::new(&options)),
            options,
            lifetimes: Lifetimes {
                fresh: Duration::ZERO,
                while_revalidating: Duration::ZERO,
                if_error: options.if_error,
            },
            size: size_of_val,
        }
    }

    /// For how long a value is fresh, may be returned to others while one caller makes the call, and may be returned if a call
    /// fails.
    #[must_use]
    pub const fn lifetimes(mut self, lifetimes: Lifetimes) -> Self {
        self.lifetimes = lifetimes;
        self
    }

    /// How many bytes a value has, for values with memory of their own: text, lists.
    #[must_use]
    pub const fn sized_by(mut self, size: fn(&T) -> usize) -> Self {
        self.size = size;
        self
    }

    /// The value of this key, if it may still be returned when a call fails.
    pub fn get(&self, key: &[u8], now: Instant) -> Option<StaleValue<T>> {
        self.store().get(key, now).map(StaleValue::of)
    }

    /// Stores a value, if it is not too large.
    pub fn put(&self, key: &[u8], value: &T, now: Instant) {
        let size = (self.size)(value);
        if size <= self.options.object {
            let value = value.clone();
            self.store().put(key, value, size, now, self.lifetimes);
        }
    }

    /// Removes the value of this key.
    pub fn remove(&self, key: &[u8]) {
        self.store().remove(key);
    }

    /// The value that is returned without a call; `None` if the caller is to make it.
    fn get_without_call(
        &self,
        key: &[u8],
        now: Instant,
        deadline: Deadline,
    ) -> Option<StaleValue<T>> {
        if !self.options.answer_first {
            return None;
        }
        let timeout = match deadline.end() {
            Instant::NEVER => REVALIDATION_TIMEOUT,
            _ => deadline.remaining(now),
        };
        let servable = self.store().get_servable(key, now, timeout)?;
        (!servable.revalidate).then(|| StaleValue::of(servable.stored))
    }

    fn store(&self) -> MutexGuard<'_, StaleStore<T>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> StaleValue<T> {
    #[expect(clippy::needless_pass_by_value, reason = "it is used up by this")]
    fn of(stored: StoredValue<T>) -> Self {
        Self {
            value: T::clone(&stored.value),
            age: stored.age,
        }
    }
}

/// The result of a call that is not made, because the stored value is good enough.
pub(crate) fn without_call<C: Clock, T: Clone, E>(
    recovery: &Recovery<C>,
    call: &Call,
    values: &StaleValues<T>,
    key: &[u8],
) -> Option<Recovered<T, E>> {
    let now = recovery.shared.clock.now();
    let deadline = recovery
        .shared
        .active()
        .options
        .deadline_from(now, call.deadline());
    let StaleValue { value, age } = values.get_without_call(key, now, deadline)?;
    let mut report = CallReport::new(call.name());
    report.extras().stale_age = Some(age);
    let event = PolicyEvent::Stopped {
        why: Stopped::Good,
        attempts: 0,
        waited: Duration::ZERO,
    };
    recovery.shared.emit(call, now, &event);
    Some(Recovered {
        result: Some(Ok(value)),
        stopped: Stopped::Good,
        report,
    })
}

/// Stores the value of a call that succeeded; puts the stored value in the place of the error of one that failed.
pub(crate) fn after_call<C: Clock, T: Clone, E>(
    recovery: &Recovery<C>,
    call: &Call,
    values: &StaleValues<T>,
    key: &[u8],
    recovered: &mut Recovered<T, E>,
) {
    let now = recovery.shared.clock.now();
    if recovered.is_good() {
        if let Some(Ok(value)) = &recovered.result {
            values.put(key, value, now);
        }
        return;
    }
    let stale = values.get(key, now);
    let good = stale.is_some();
    recovery
        .shared
        .emit(call, now, &PolicyEvent::Fallback { good });
    if let Some(StaleValue { value, age }) = stale {
        recovered.report.fell_back = true;
        recovered.report.extras().stale_age = Some(age);
        recovered.result = Some(Ok(value));
    }
}
