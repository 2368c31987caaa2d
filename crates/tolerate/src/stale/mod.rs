//! Values of earlier calls or requests, for when there is no new one: for how long each is served, and which are removed when
//! there are too many.
//!
//! Intuition: for much of what is read, what was true a minute ago is better than nothing (`stale-if-error`, RFC 5861, section
//! 4). That need not be a cache that saves calls: by default the call is made first, and the stored value is used if it fails.
//! With [`StaleOptions::answer_first`] a fresh value is served without a call, and while one caller fetches a new one the others
//! get the stale one (`stale-while-revalidate`, RFC 5861, section 3).
//!
//! The store knows nothing of HTTP: whether a response may be stored, and for how long, is for the request path to say.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::Instant;
use serde::{Deserialize, Serialize};

/// How much is stored, and how stale values are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StaleOptions {
    /// Bytes of all values together, at most. Default 16 MiB.
    pub bytes: usize,
    /// Bytes of one value, at most. Default 64 KiB.
    pub object: usize,
    /// How long after it has become stale a value is served on failure, if it does not say so itself. Default 1 h.
    pub if_error: Duration,
    /// Whether a value that is fresh, or stale while a new one is fetched, is served without a call. Default no.
    pub answer_first: bool,
}

impl Default for StaleOptions {
    fn default() -> Self {
        Self {
            bytes: 16 << 20,
            object: 64 << 10,
            if_error: Duration::from_secs(3_600),
            answer_first: false,
        }
    }
}

/// For how long a value may be served, each counted from when it was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// Without a call.
    pub fresh: Duration,
    /// While another caller fetches a new one.
    pub while_revalidating: Duration,
    /// If a call fails. After this it is removed, so it is the longest of the three.
    pub if_error: Duration,
}

/// A stored value, as a lookup finds it.
#[derive(Debug, PartialEq, Eq)]
pub struct StoredValue<T> {
    /// The value.
    pub value: Arc<T>,
    /// The time since it was stored.
    pub age: Duration,
    /// How long it stays fresh.
    pub fresh_for: Duration,
    /// How long it has been stale.
    pub stale_for: Duration,
}

/// A value that may be served without a call.
#[derive(Debug, PartialEq, Eq)]
pub struct Servable<T> {
    /// The value.
    pub stored: StoredValue<T>,
    /// It is stale, and this caller is the one that is to fetch a new one.
    pub revalidate: bool,
}

/// Values by key, in bounded memory; the least recently used are removed first. One owner at a time.
#[derive(Debug)]
pub struct StaleStore<T> {
    max_bytes: usize,
    entries: BTreeMap<Arc<[u8]>, StoreEntry<T>>,
    /// Keys by their last use, the oldest first.
    order: BTreeMap<u64, Arc<[u8]>>,
    bytes: usize,
    ticks: u64,
}

#[derive(Debug)]
struct StoreEntry<T> {
    value: Arc<T>,
    stored_at: Instant,
    fresh_until: Instant,
    revalidate_until: Instant,
    until: Instant,
    /// Until then another caller is expected to bring a new value.
    revalidating_until: Instant,
    bytes: usize,
    tick: u64,
}

/// What an entry costs besides its key and its value: its share of two trees, counted generously.
const OVERHEAD: usize = 256;

impl<T> StaleStore<T> {
    /// Empty, for up to [`StaleOptions::bytes`].
    #[must_use]
    pub const fn new(options: &StaleOptions) -> Self {
        Self {
            max_bytes: options.bytes,
            entries: BTreeMap::new(),
            order: BTreeMap::new(),
            bytes: 0,
            ticks: 0,
        }
    }

    /// Whether the value of this key was stored less than `recently` ago, so that it is not worth storing again.
    #[must_use]
    pub fn is_recent(&self, key: &[u8], now: Instant, recently: Duration) -> bool {
        let entry = self.entries.get(key);
        entry.is_some_and(|entry| now.since(entry.stored_at) < recently)
    }

    /// Stores a value of `bytes` that arrived at `now`, and removes others if there are too many. A value that is too large is not
    /// stored, nor is one that arrived before the stored one.
    pub fn put(&mut self, key: &[u8], value: T, bytes: usize, now: Instant, lifetimes: Lifetimes) {
        if (self.entries.get(key)).is_some_and(|entry| entry.stored_at > now) {
            return;
        }
        self.remove(key);
        let bytes = bytes.saturating_add(key.len()).saturating_add(OVERHEAD);
        if bytes > self.max_bytes {
            return;
        }
        while self.bytes + bytes > self.max_bytes {
            let Some((_, oldest)) = self.order.pop_first() else {
                break;
            };
            if let Some(entry) = self.entries.remove(&oldest) {
                self.bytes -= entry.bytes;
            }
        }
        let key: Arc<[u8]> = key.into();
        self.ticks += 1;
        self.order.insert(self.ticks, Arc::clone(&key));
        self.bytes += bytes;
        let entry = StoreEntry {
            value: Arc::new(value),
            stored_at: now,
            fresh_until: now + lifetimes.fresh,
            revalidate_until: now + lifetimes.while_revalidating,
            until: now + lifetimes.if_error,
            revalidating_until: now,
            bytes,
            tick: self.ticks,
        };
        self.entries.insert(key, entry);
    }

    /// The value of this key, if it may still be served on failure.
    pub fn get(&mut self, key: &[u8], now: Instant) -> Option<StoredValue<T>> {
        if self.entries.get(key)?.until <= now {
            self.remove(key);
            return None;
        }
        self.ticks += 1;
        let ticks = self.ticks;
        let entry = self.entries.get_mut(key)?;
        if let Some(name) = self.order.remove(&entry.tick) {
            self.order.insert(ticks, name);
        }
        entry.tick = ticks;
        Some(StoredValue {
            value: Arc::clone(&entry.value),
            age: now.since(entry.stored_at),
            fresh_for: entry.fresh_until.since(now),
            stale_for: now.since(entry.fresh_until),
        })
    }

    /// The value of this key, if it may be served without a call: it is fresh, or stale while a new one is fetched. The first
    /// caller that finds it stale is told to fetch one, and the next one if `timeout` has passed since.
    pub fn get_servable(
        &mut self,
        key: &[u8],
        now: Instant,
        timeout: Duration,
    ) -> Option<Servable<T>> {
        let entry = self.entries.get_mut(key)?;
        if now >= entry.fresh_until && now >= entry.revalidate_until {
            return None;
        }
        let revalidate = now >= entry.fresh_until && now >= entry.revalidating_until;
        if revalidate {
            entry.revalidating_until = now + timeout;
        }
        Some(Servable {
            stored: self.get(key, now)?,
            revalidate,
        })
    }

    /// Removes the value of this key.
    pub fn remove(&mut self, key: &[u8]) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.tick);
            self.bytes -= entry.bytes;
        }
    }

    /// Removes the values of all keys that begin with `prefix`; how many there were.
    pub fn remove_prefix(&mut self, prefix: &[u8]) -> u64 {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let keys: Vec<Arc<[u8]>> = (self.entries.range::<[u8], _>(from))
            .map(|(key, _)| Arc::clone(key))
            .take_while(|key| key.starts_with(prefix))
            .collect();
        keys.iter().for_each(|key| self.remove(key));
        keys.len() as u64
    }

    /// How many values are stored, and their bytes with the overhead.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }
}

#[cfg(test)]
mod tests;
