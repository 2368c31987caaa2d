//! A token bucket for each key, in bounded memory.
//!
//! [`KeyedRate`] has one word for each of a fixed number of keys, in sets of sixteen. A new key whose set is full takes over the
//! entry that has **spent least**, *and its debt with it*. Nearly always that bucket is full again, so nothing is lost. In a flood
//! of keys, the least debt in a set never decreases, so a key that was evicted and returns finds at least the debt that it left. No
//! flood buys a heavy key a fresh bucket. (Evicting the oldest entry would sell one for sixteen requests.) The price: while more
//! keys are in debt at the same time than there are entries, a new key may begin with less than a full bucket. Then use more
//! entries; one costs 16 bytes.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_core::Instant;

use super::scale::BucketScale;
use super::{KeyedRateOptions, RateCounts, RateOptions};

/// Entries in a set.
const WAYS: usize = 16;
/// Entries at most: 256 MiB.
const MAX_ENTRIES: u32 = 1 << 24;

/// A token bucket for each key, in bounded memory, shared by all workers. Of a key, only 64 bits of a hash are stored.
pub struct KeyedRate<K: ?Sized> {
    scale: BucketScale,
    sets: Box<[[KeyBucket; WAYS]]>,
    /// So that nobody can choose keys that share a set.
    seed: u64,
    taken: AtomicU64,
    refused: AtomicU64,
    displaced: AtomicU64,
    keys: PhantomData<fn(&K)>,
}

/// A key's bucket. An empty entry is a full bucket of the key 0, which no key has.
#[derive(Debug, Default)]
struct KeyBucket {
    key: AtomicU64,
    spent: AtomicU64,
}

impl<K: ?Sized> fmt::Debug for KeyedRate<K> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("KeyedRate")
            .field("entries", &(self.sets.len() * WAYS))
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl<K: ?Sized> KeyedRate<K> {
    /// All buckets full. `seed` should be random, and is best kept to oneself.
    #[must_use]
    pub fn new(options: KeyedRateOptions, seed: u64) -> Self {
        let entries = options.entries.clamp(1, MAX_ENTRIES) as usize;
        let sets = (0..entries.div_ceil(WAYS)).map(|_| <[KeyBucket; WAYS]>::default());
        Self {
            scale: BucketScale::new(options.rate),
            sets: sets.collect(),
            seed,
            taken: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            displaced: AtomicU64::new(0),
            keys: PhantomData,
        }
    }

    /// The same tokens, or the same debt, of each key under another rate. What is taken from the old one afterwards is not known to it.
    #[must_use]
    pub fn continued(&self, rate: RateOptions, now: Instant) -> Self {
        let next = BucketScale::new(rate);
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let carry = |entry: &KeyBucket| {
            // An entry that was never used is a full bucket under any rate.
            let spent = match load(&entry.spent) {
                0 => 0,
                spent => self.scale.rescaled(spent, &next, now),
            };
            KeyBucket {
                key: AtomicU64::new(load(&entry.key)),
                spent: AtomicU64::new(spent),
            }
        };
        let sets = self.sets.iter();
        Self {
            sets: sets.map(|set| set.each_ref().map(carry)).collect(),
            scale: next,
            seed: self.seed,
            taken: AtomicU64::new(load(&self.taken)),
            refused: AtomicU64::new(load(&self.refused)),
            displaced: AtomicU64::new(load(&self.displaced)),
            keys: PhantomData,
        }
    }

    /// Tokens taken, refused and displaced.
    #[must_use]
    pub fn counts(&self) -> RateCounts {
        RateCounts {
            taken: self.taken.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            displaced: self.displaced.load(Ordering::Relaxed),
        }
    }

    /// The number of keys whose buckets are not full. Visits all entries: for status, not for each request.
    #[must_use]
    pub fn in_debt(&self, now: Instant) -> usize {
        let full = self.full(now);
        let in_debt = |entry: &&KeyBucket| entry.spent.load(Ordering::Relaxed) > full;
        self.sets.iter().flatten().filter(in_debt).count()
    }

    /// A bucket that has spent no more than this is full.
    const fn full(&self, now: Instant) -> u64 {
        self.scale.earned(now).saturating_sub(self.scale.burst)
    }

    fn take_hashed(&self, key: u64, now: Instant) -> Result<(), Duration> {
        // The upper bits select the set; the entry has all of them.
        let index = (u128::from(key) * self.sets.len() as u128) >> 64;
        let set = &self.sets[index as usize];
        let key = key.max(1);
        let own = |entry: &&KeyBucket| entry.key.load(Ordering::Relaxed) == key;
        if let Some(entry) = set.iter().find(own) {
            return self.scale.take(&entry.spent, now);
        }
        let spent = |entry: &&KeyBucket| entry.spent.load(Ordering::Relaxed);
        let Some(entry) = set.iter().min_by_key(spent) else {
            return Ok(());
        };
        // A key that would get no token takes over no entry. The debt stays with the entry. If two workers do this at the same
        // time, the second one's key has the entry, and both have paid.
        let before = entry.spent.load(Ordering::Relaxed);
        self.scale.take(&entry.spent, now)?;
        entry.key.store(key, Ordering::Relaxed);
        if before > self.full(now) {
            self.displaced.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl<K: Hash + ?Sized> KeyedRate<K> {
    /// Takes a token of `key`.
    ///
    /// # Errors
    /// How long until one is available. [`Duration::MAX`] if never.
    pub fn take(&self, key: &K, now: Instant) -> Result<(), Duration> {
        let mut hasher = DefaultHasher::new();
        self.seed.hash(&mut hasher);
        key.hash(&mut hasher);
        let taken = self.take_hashed(hasher.finish(), now);
        let count = if taken.is_ok() {
            &self.taken
        } else {
            &self.refused
        };
        count.fetch_add(1, Ordering::Relaxed);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_debts_under_another_rate() {
        let rate = |per_second, burst| RateOptions { per_second, burst };
        let options = KeyedRateOptions {
            rate: rate(1.0, 2),
            ..KeyedRateOptions::default()
        };
        let (before, now) = (KeyedRate::<u64>::new(options, 1), Instant::from_millis(500));
        while before.take(&1, now).is_ok() {}
        let after = before.continued(rate(10.0, 5), now);
        assert!(after.take(&1, now).is_err());
        let passed = (0..9).filter(|_| after.take(&2, now).is_ok()).count();
        assert_eq!(passed, 5);
        let later = now + Duration::from_millis(100);
        assert!(after.take(&1, later).is_ok() && after.take(&1, later).is_err());
    }
}
