//! Old answers for when there is no new one: which may be kept, for how long, and which have to go when there are too many.
//!
//! Intuition: for much of what is read, what was true a minute ago is better than nothing. That need not be a cache that spares
//! servers work (they are asked first, unless one says otherwise), but it is bound by the same rules, since it shows one client what another one got: what
//! is private, what depends on who asks, and what may not be shown old is not kept (RFC 9111, sections 3 and 4.2.4; `stale-if-error` is
//! RFC 5861, section 4).
//!
//! Who says so gets the other half as well: what is fresh is answered without asking, and while one request fetches what has become stale
//! the others get the old answer (`stale-while-revalidate`, RFC 5861, section 3).

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

mod control;
mod keep;

pub use control::{CacheControl, RequestControl};
pub use keep::{Exchanged, KeepFor, StaleOptions};

use evenkeel_core::Instant;

/// Answers by key, the latest ones, in bounded memory.
#[derive(Debug)]
pub struct StaleCache<T> {
    options: StaleOptions,
    entries: BTreeMap<Arc<[u8]>, Entry<T>>,
    /// When keys were changed last that begin with something of this hash; empty until the first change.
    changed: Vec<Instant>,
    /// Keys by when they were put in or shown last, oldest first.
    order: BTreeMap<u64, Arc<[u8]>>,
    bytes: usize,
    ticks: u64,
}

#[derive(Debug)]
struct Entry<T> {
    value: Arc<T>,
    came: Instant,
    fresh_until: Instant,
    revalidate_until: Instant,
    until: Instant,
    /// Until then another request is expected to bring a new one.
    asked_until: Instant,
    bytes: usize,
    tick: u64,
}

/// An answer that was kept.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept<T> {
    /// The answer.
    pub value: Arc<T>,
    /// How old it is.
    pub age: Duration,
    /// How long it is still fresh.
    pub fresh_for: Duration,
    /// How long it has been stale.
    pub stale_for: Duration,
}

/// Moments of changes that are remembered.
const CHANGES: usize = 1_024;

/// Where a change of this prefix is remembered.
fn slot(prefix: &[u8]) -> usize {
    // FNV-1a: who makes two prefixes meet only keeps answers from being kept.
    let hash = prefix.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash >> 32) as usize % CHANGES
}

/// What an entry costs besides its key and its value: two trees' shares, counted generously.
const OVERHEAD: usize = 256;

impl<T> StaleCache<T> {
    /// Empty.
    #[must_use]
    pub fn new(options: StaleOptions) -> Self {
        Self {
            options,
            entries: BTreeMap::new(),
            changed: Vec::new(),
            order: BTreeMap::new(),
            bytes: 0,
            ticks: 0,
        }
    }

    /// Whether what is there for this key came less than `recently` ago: not worth putting in again.
    #[must_use]
    pub fn is_recent(&self, key: &[u8], now: Instant, recently: Duration) -> bool {
        let entry = self.entries.get(key);
        entry.is_some_and(|entry| now.since(entry.came) < recently)
    }

    /// Keeps an answer of `bytes`, which came at `now`. Others go if there are too many; one that is too large is not kept, nor one that
    /// came before the one that is there.
    pub fn put(&mut self, key: &[u8], value: T, bytes: usize, now: Instant, keep_for: KeepFor) {
        if self.entries.get(key).is_some_and(|entry| entry.came > now) {
            return;
        }
        self.remove(key);
        let bytes = bytes.saturating_add(key.len()).saturating_add(OVERHEAD);
        if bytes > self.options.bytes {
            return;
        }
        while self.bytes + bytes > self.options.bytes {
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
        let entry = Entry {
            value: Arc::new(value),
            came: now,
            fresh_until: now + keep_for.fresh,
            revalidate_until: now + keep_for.revalidate,
            until: now + keep_for.all,
            asked_until: now,
            bytes,
            tick: self.ticks,
        };
        self.entries.insert(key, entry);
    }

    /// What is there for this key, however old.
    #[must_use]
    pub fn peek(&self, key: &[u8]) -> Option<&T> {
        Some(&*self.entries.get(key)?.value)
    }

    /// What may still be shown for this key.
    pub fn get(&mut self, key: &[u8], now: Instant) -> Option<Kept<T>> {
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
        Some(Kept {
            value: Arc::clone(&entry.value),
            age: now.since(entry.came),
            fresh_for: entry.fresh_until.since(now),
            stale_for: now.since(entry.fresh_until),
        })
    }

    /// What may be shown for this key without asking: it is fresh, or another request is asking. Nothing if the caller is to ask, which may
    /// take it `patience` before another one is to.
    pub fn first(&mut self, key: &[u8], now: Instant, patience: Duration) -> Option<Kept<T>> {
        let (kept, is_turn) = self.first_or_turn(key, now, patience)?;
        (!is_turn).then_some(kept)
    }

    /// What may be shown for this key without asking: it is fresh, or a new one is fetched meanwhile; and whether the caller is the one
    /// that has it fetched, which may take `patience` before another one is to.
    pub fn first_or_turn(
        &mut self,
        key: &[u8],
        now: Instant,
        patience: Duration,
    ) -> Option<(Kept<T>, bool)> {
        let entry = self.entries.get_mut(key)?;
        if now >= entry.fresh_until && now >= entry.revalidate_until {
            return None;
        }
        let is_turn = now >= entry.fresh_until && now >= entry.asked_until;
        if is_turn {
            entry.asked_until = now + patience;
        }
        Some((self.get(key, now)?, is_turn))
    }

    /// Forgets what is there for this key: a newer answer may not be kept.
    pub fn remove(&mut self, key: &[u8]) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.tick);
            self.bytes -= entry.bytes;
        }
    }

    /// What keys that begin so show has been changed: forgets all of them, and says how many they were. Answers that were asked for
    /// before are [outdated](Self::is_outdated).
    pub fn invalidate(&mut self, prefix: &[u8], now: Instant) -> u64 {
        if self.changed.is_empty() {
            self.changed = vec![Instant::ZERO; CHANGES];
        }
        self.changed[slot(prefix)] = now;
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let keys: Vec<Arc<[u8]>> = (self.entries.range::<[u8], _>(from))
            .map(|(key, _)| Arc::clone(key))
            .take_while(|key| key.starts_with(prefix))
            .collect();
        keys.iter().for_each(|key| self.remove(key));
        keys.len() as u64
    }

    /// Whether what keys with this prefix show has been changed since `asked`, or at that moment: an answer that was asked for then may
    /// be of before. Now and then it says so of others as well, since changes are remembered by a hash.
    #[must_use]
    pub fn is_outdated(&self, prefix: &[u8], asked: Instant) -> bool {
        let changed = self.changed.get(slot(prefix));
        changed.is_some_and(|&changed| changed > Instant::ZERO && changed >= asked)
    }

    /// How many answers there are, and their bytes with what they cost to keep.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }
}

#[cfg(test)]
mod tests;
