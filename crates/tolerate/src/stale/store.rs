//! What was kept, bounded by bytes: who was used longest ago leaves first. It holds whatever it is given; what may be kept is
//! decided beside it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use evenkeel_core::Instant;

use super::{Lifetimes, Lookup, StaleOptions};

/// Counted for each entry beside its own size, so that the number of empty ones is bounded, too.
const OVERHEAD: usize = 256;
/// No neighbour.
const NOBODY: usize = usize::MAX;

/// Entries by key. For one owner: a worker, or a lock.
#[derive(Debug)]
pub struct Store<K, T> {
    options: StaleOptions,
    places: HashMap<K, usize>,
    slots: Vec<Slot<K, T>>,
    free: Vec<usize>,
    /// Used last, and used longest ago.
    newest: usize,
    oldest: usize,
    snapshot: StoreSnapshot,
}

#[derive(Debug)]
struct Slot<K, T> {
    /// Nothing once it is free: a key may be as large as an item.
    entry: Option<(K, Arc<T>)>,
    size: usize,
    lifetimes: Lifetimes,
    /// Nobody else is sent to ask anew before this.
    refreshed_until: Instant,
    newer: usize,
    older: usize,
}

/// What a store knows, for metrics and status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreSnapshot {
    /// Entries that are there.
    pub entries: usize,
    /// Bytes that they count.
    pub bytes: usize,
    /// Lookups that found a fresh one.
    pub fresh: u64,
    /// Lookups that found one to be used while it is asked for anew.
    pub stale_while_revalidate: u64,
    /// Lookups that found one to be used if asking fails.
    pub stale_if_error: u64,
    /// Lookups that found nothing.
    pub missed: u64,
    /// Entries that had to leave for others.
    pub evicted: u64,
    /// Entries that were too large.
    pub too_large: u64,
}

impl<K: Hash + Eq + Clone, T> Store<K, T> {
    /// Empty.
    #[must_use]
    pub fn new(options: StaleOptions) -> Self {
        Self {
            options,
            places: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            newest: NOBODY,
            oldest: NOBODY,
            snapshot: StoreSnapshot::default(),
        }
    }

    /// Keeps `item` of `size` bytes, with twice its key (it is kept twice), in place of what was there. False if it is too large, and then nothing is there.
    pub fn put(&mut self, key: K, item: Arc<T>, size: usize, lifetimes: Lifetimes) -> bool {
        self.remove(&key);
        let size = size.saturating_add(OVERHEAD);
        if size > self.options.entry_bytes.min(self.options.bytes) {
            self.snapshot.too_large += 1;
            return false;
        }
        while self.snapshot.bytes + size > self.options.bytes && self.oldest != NOBODY {
            self.take_out(self.oldest);
            self.snapshot.evicted += 1;
        }
        let slot = Slot {
            entry: Some((key.clone(), item)),
            size,
            lifetimes,
            refreshed_until: Instant::ZERO,
            newer: NOBODY,
            older: NOBODY,
        };
        let at = self.free.pop().unwrap_or(self.slots.len());
        if at == self.slots.len() {
            self.slots.push(slot);
        } else {
            self.slots[at] = slot;
        }
        self.places.insert(key, at);
        self.snapshot.bytes += size;
        self.snapshot.entries += 1;
        self.link(at);
        true
    }

    /// What there is for `key` at `now`, and how it may be used. What may not be used any more leaves.
    pub fn lookup(&mut self, key: &K, now: Instant) -> Lookup<T> {
        let found = self.find(key, now);
        let count = match found {
            Lookup::Fresh(_) => &mut self.snapshot.fresh,
            Lookup::StaleWhileRevalidate { .. } => &mut self.snapshot.stale_while_revalidate,
            Lookup::StaleIfError(_) => &mut self.snapshot.stale_if_error,
            Lookup::Miss => &mut self.snapshot.missed,
        };
        *count += 1;
        found
    }

    fn find(&mut self, key: &K, now: Instant) -> Lookup<T> {
        let Some(&at) = self.places.get(key) else {
            return Lookup::Miss;
        };
        let times = self.slots[at].lifetimes;
        if now >= times.end() {
            self.take_out(at);
            return Lookup::Miss;
        }
        self.unlink(at);
        self.link(at);
        let slot = &mut self.slots[at];
        let Some((_, item)) = &slot.entry else {
            return Lookup::Miss;
        };
        let item = Arc::clone(item);
        if now < times.fresh_until {
            Lookup::Fresh(item)
        } else if now < times.revalidate_until {
            let refresh = now >= slot.refreshed_until;
            if refresh {
                slot.refreshed_until = now + self.options.refresh_within;
            }
            Lookup::StaleWhileRevalidate { item, refresh }
        } else {
            Lookup::StaleIfError(item)
        }
    }

    /// Forgets what there is for `key`. Whether there was anything.
    pub fn remove(&mut self, key: &K) -> bool {
        let at = self.places.get(key).copied();
        if let Some(at) = at {
            self.take_out(at);
        }
        at.is_some()
    }

    /// What it knows.
    #[must_use]
    pub const fn snapshot(&self) -> StoreSnapshot {
        self.snapshot
    }

    fn take_out(&mut self, at: usize) {
        self.unlink(at);
        let slot = &mut self.slots[at];
        self.snapshot.bytes -= slot.size;
        self.snapshot.entries -= 1;
        if let Some((key, _)) = slot.entry.take() {
            self.places.remove(&key);
        }
        self.free.push(at);
    }

    /// Makes it the newest.
    fn link(&mut self, at: usize) {
        let before = self.newest;
        self.slots[at].older = before;
        self.slots[at].newer = NOBODY;
        match self.slots.get_mut(before) {
            Some(slot) => slot.newer = at,
            None => self.oldest = at,
        }
        self.newest = at;
    }

    fn unlink(&mut self, at: usize) {
        let (newer, older) = (self.slots[at].newer, self.slots[at].older);
        match self.slots.get_mut(newer) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
        match self.slots.get_mut(older) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1_000)
    }

    fn lifetimes(fresh: u64, revalidate: u64, error: u64) -> Lifetimes {
        Lifetimes {
            fresh_until: at(fresh),
            revalidate_until: at(revalidate),
            error_until: at(error),
        }
    }

    fn options(bytes: usize) -> StaleOptions {
        StaleOptions {
            bytes,
            ..StaleOptions::default()
        }
    }

    #[test]
    fn an_entry_ages() {
        let mut store = Store::new(options(100_000));
        assert!(store.put("a", Arc::new(7), 10, lifetimes(10, 30, 60)));
        assert_eq!(store.lookup(&"a", at(9)), Lookup::Fresh(Arc::new(7)));
        let stale = |refresh| Lookup::StaleWhileRevalidate {
            item: Arc::new(7),
            refresh,
        };
        assert_eq!(store.lookup(&"a", at(10)), stale(true));
        assert_eq!(
            store.lookup(&"a", at(11)),
            stale(false),
            "one asks anew, not all"
        );
        // The one who asks may have died.
        let later = at(10) + store.options.refresh_within;
        assert_eq!(store.lookup(&"a", later), stale(true));
        assert_eq!(
            store.lookup(&"a", at(59)),
            Lookup::StaleIfError(Arc::new(7))
        );
        assert_eq!(store.lookup(&"a", at(60)), Lookup::Miss);
        assert_eq!((store.snapshot().entries, store.snapshot().bytes), (0, 0));
    }

    #[test]
    fn who_was_used_longest_ago_leaves_first() {
        let mut store = Store::new(options(3 * (OVERHEAD + 10)));
        for key in ["a", "b", "c"] {
            store.put(key, Arc::new(key), 10, lifetimes(10, 10, 10));
        }
        assert_ne!(store.lookup(&"a", at(1)), Lookup::Miss);
        store.put("d", Arc::new("d"), 10, lifetimes(10, 10, 10));
        let is_there = |key: &str| store.places.contains_key(key);
        assert_eq!(
            ["a", "b", "c", "d"].map(is_there),
            [true, false, true, true]
        );
        assert!(!store.put("a", Arc::new("big"), 100_000, lifetimes(10, 10, 10)));
        assert_eq!(
            store.lookup(&"a", at(1)),
            Lookup::Miss,
            "the old one is not the answer any more"
        );
        let snapshot = store.snapshot();
        assert_eq!(
            (snapshot.evicted, snapshot.too_large, snapshot.entries),
            (1, 1, 2)
        );
    }

    proptest! {
        /// Against a list that does the same slowly.
        #[test]
        fn it_is_what_a_list_would_be(steps in proptest::collection::vec((0_u8..12, 0_usize..700, 0_u8..4), 0..200)) {
            let bytes = 2_500;
            let mut store = Store::new(StaleOptions { entry_bytes: 800, ..options(bytes) });
            let mut list: Vec<(u8, usize)> = Vec::new();
            for (key, size, what) in steps {
                let found = list.iter().position(|(other, _)| *other == key);
                match what {
                    0 | 1 => {
                        if let Some(found) = found {
                            list.remove(found);
                        }
                        let full = size + OVERHEAD;
                        if full <= 800 {
                            while list.iter().map(|(_, size)| size).sum::<usize>() + full > bytes {
                                list.remove(0);
                            }
                            list.push((key, full));
                        }
                        prop_assert_eq!(store.put(key, Arc::new(key), size, lifetimes(10, 10, 10)), full <= 800);
                    }
                    2 => {
                        if let Some(found) = found {
                            let entry = list.remove(found);
                            list.push(entry);
                        }
                        prop_assert_eq!(store.lookup(&key, at(1)) == Lookup::Miss, found.is_none());
                    }
                    _ => {
                        if let Some(found) = found {
                            list.remove(found);
                        }
                        prop_assert_eq!(store.remove(&key), found.is_some());
                    }
                }
                let snapshot = store.snapshot();
                prop_assert_eq!(snapshot.entries, list.len());
                prop_assert_eq!(snapshot.bytes, list.iter().map(|(_, size)| size).sum::<usize>());
                prop_assert!(snapshot.bytes <= bytes && store.slots.len() <= bytes / OVERHEAD);
            }
        }
    }

    #[test]
    fn nothing_is_fresh_longer_than_it_is_there() {
        let mut store = Store::new(options(10_000));
        let times = Lifetimes {
            fresh_until: at(5),
            revalidate_until: at(0),
            error_until: at(0),
        };
        store.put(1, Arc::new(()), 1, times);
        assert_ne!(store.lookup(&1, at(4)), Lookup::Miss);
        assert_eq!(
            store.lookup(&1, at(4) + Duration::from_secs(1)),
            Lookup::Miss
        );
    }
}
