//! How many requests a second: a token bucket, and one per key in bounded memory.
//!
//! Intuition: a bucket holds `burst` tokens and gets `per_second` new ones; each request takes one. Kept as a number that only
//! grows, how many tokens were *spent* (or lost because the bucket was full), and compared with how many were *earned*
//! since the clock began, which follows from the time alone. So nothing accumulates: asked a million times or once,
//! the n-th token is there at the same nanosecond, and taking one is a single compare-and-swap on one word.
//!
//! [`KeyedRate`] keeps such a word for each of a fixed number of keys, in sets of sixteen. A new key whose set is full takes the place of
//! the one that has **spent least**, *and its debt with it*. Mostly that one's bucket is full again, so nothing is lost.
//! In a flood of keys it means: the least debt in a set never goes down, so a key that was pushed out and comes back finds at
//! least the debt that it left. No flood buys a heavy key a fresh bucket, at any price. (Evicting the oldest would sell it for
//! sixteen requests.) What is paid for that: while more keys are in debt at once than there are entries, a new key may begin
//! with less than a full bucket. Give it more entries then; one costs 16 bytes.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evenkeel_core::{Instant, duration_from_seconds};
use serde::{Deserialize, Serialize};

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RateOptions {
    /// Tokens a second, up to 10⁹; 0.1 is one in ten seconds. Kept exactly if it has no more than nine digits. Default 100.
    pub per_second: f64,
    /// Tokens that can be saved up, 1 to 10⁹. Default 100: what a second gives, so that who was quiet for a second may send
    /// all of it at once, as a browser does.
    pub burst: u32,
}

impl Default for RateOptions {
    fn default() -> Self {
        Self {
            per_second: 100.0,
            burst: 100,
        }
    }
}

/// A token bucket for each key.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct KeyedRateOptions {
    /// What each key gets.
    pub rate: RateOptions,
    /// Keys that are told apart at a time, rounded up to sixteens; 16 bytes each. Default 65,536, one MiB. A key needs one only
    /// while its bucket is not full.
    pub entries: u32,
}

impl Default for KeyedRateOptions {
    fn default() -> Self {
        Self {
            rate: RateOptions::default(),
            entries: 65_536,
        }
    }
}

const NANOS: u64 = 1_000_000_000;
/// Tokens that are kept for the next who asks, at most.
const MOST_SPARE: usize = 1_024;
/// Units a second at most, so that a hundred years fit.
const MOST_PER_SECOND: f64 = 2.9e9;
const MOST_BURST: f64 = 4e18;

/// A bucket's arithmetic: everything in units, of which a token has a power of ten.
#[derive(Debug, Clone, Copy)]
struct Scale {
    token: u64,
    per_second: u64,
    burst: u64,
}

impl Scale {
    /// The finest units in which a hundred years can be counted.
    fn new(options: RateOptions) -> Self {
        // What is not a number stays so, fits nothing, and is nothing as an integer.
        let per_second = options.per_second.clamp(0.0, 1e9);
        let burst = f64::from(options.burst.clamp(1, 1_000_000_000));
        let fits = |token: &u64| {
            let token = *token as f64;
            per_second * token <= MOST_PER_SECOND && burst * token <= MOST_BURST
        };
        let token = (0..=15).rev().map(|power| 10_u64.pow(power)).find(fits);
        let token = token.unwrap_or(1);
        Self {
            token,
            per_second: (per_second * token as f64).round() as u64,
            burst: burst as u64 * token,
        }
    }

    /// What was earned until `now`, the burst at the beginning included.
    const fn earned(self, now: Instant) -> u64 {
        let (seconds, nanos) = (now.as_nanos() / NANOS, now.as_nanos() % NANOS);
        self.burst
            .saturating_add(seconds.saturating_mul(self.per_second))
            .saturating_add(nanos * self.per_second / NANOS)
    }

    /// What is spent after taking a token, if there is one; what over the burst was not taken is lost.
    fn spend(self, spent: u64, now: Instant) -> Option<u64> {
        let earned = self.earned(now);
        let spent = spent.max(earned.saturating_sub(self.burst));
        let after = spent.saturating_add(self.token);
        (after <= earned).then_some(after)
    }

    /// How long after `now` the next token is there.
    fn wait(self, spent: u64, now: Instant) -> Duration {
        let needed = spent.saturating_add(self.token).saturating_sub(self.burst);
        if self.per_second == 0 {
            return Duration::MAX;
        }
        let nanos = (u128::from(needed) * u128::from(NANOS)).div_ceil(u128::from(self.per_second));
        let at = Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        at.since(now)
    }

    /// The same if the token is there before `latest`, and when; what is spent with it.
    fn reserve(self, spent: u64, now: Instant, latest: Instant) -> Option<(u64, Instant)> {
        let earned = self.earned(now);
        let spent = spent.max(earned.saturating_sub(self.burst));
        let after = spent.saturating_add(self.token);
        let at = if after <= earned {
            now
        } else {
            now + self.wait(spent, now)
        };
        (at < latest).then_some((after, at))
    }

    /// How long it takes to fill an empty bucket.
    fn fills_in(self) -> Duration {
        duration_from_seconds(self.burst as f64 / self.per_second as f64)
    }

    /// Takes a token from the bucket whose spending is `spent`.
    fn take(self, spent: &AtomicU64, now: Instant) -> Result<(), Duration> {
        spent
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |spent| {
                self.spend(spent, now)
            })
            .map(|_| ())
            .map_err(|spent| self.wait(spent, now))
    }
}

/// A token bucket, shared by all workers.
#[derive(Debug)]
pub struct Rate {
    #[cfg(feature = "recover")]
    options: RateOptions,
    scale: Scale,
    spent: AtomicU64,
    /// Reserved tokens that were given back out of turn, for the next who asks.
    spare: Mutex<Vec<Reserved>>,
    /// How many these are. Changed under the lock, read without it.
    spares: AtomicUsize,
    taken: AtomicU64,
    refused: AtomicU64,
}

impl Rate {
    /// A full bucket.
    #[must_use]
    pub fn new(options: RateOptions) -> Self {
        Self {
            #[cfg(feature = "recover")]
            options,
            scale: Scale::new(options),
            spent: AtomicU64::new(0),
            spare: Mutex::default(),
            spares: AtomicUsize::new(0),
            taken: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    #[cfg(feature = "recover")]
    pub(crate) const fn options(&self) -> RateOptions {
        self.options
    }

    /// The same tokens, or the same debt, under other options.
    #[cfg(feature = "recover")]
    pub(crate) fn continued(&self, options: RateOptions, now: Instant) -> Self {
        let next = Self::new(options);
        let earned = self.scale.earned(now);
        let spent = self.spent.load(Ordering::Relaxed);
        let spent = spent.max(earned.saturating_sub(self.scale.burst));
        let rescaled = |units: u64| {
            let tokens = units as f64 / self.scale.token as f64;
            (tokens * next.scale.token as f64) as u64
        };
        let after = next.scale.earned(now);
        let there = rescaled(earned.saturating_sub(spent)).min(next.scale.burst);
        let owed = rescaled(spent.saturating_sub(earned));
        let spent = after.saturating_sub(there).saturating_add(owed);
        next.spent.store(spent, Ordering::Relaxed);
        let RateCounts { taken, refused, .. } = self.counts();
        next.taken.store(taken, Ordering::Relaxed);
        next.refused.store(refused, Ordering::Relaxed);
        next
    }

    /// Takes a token that is there, in a form that can be given back. Says nothing and counts nothing if there is none.
    #[cfg(feature = "recover")]
    pub(crate) fn take_now(&self, now: Instant) -> Option<Reserved> {
        let spare = self.take_spare(now, now + Duration::from_nanos(1));
        let reserved = spare.or_else(|| {
            let spend = |spent| self.scale.spend(spent, now);
            let before = self
                .spent
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend);
            let spent = before.ok().and_then(spend)?;
            Some(Reserved { at: now, spent })
        })?;
        self.taken.fetch_add(1, Ordering::Relaxed);
        Some(reserved)
    }

    /// Takes a token.
    ///
    /// # Errors
    /// How long it takes until there is one; another may take it first. [`Duration::MAX`] if never.
    pub fn take(&self, now: Instant) -> Result<(), Duration> {
        let spare = self.take_spare(now, now + Duration::from_nanos(1));
        let taken = match spare {
            Some(_) => Ok(()),
            None => self.scale.take(&self.spent, now),
        };
        let count = if taken.is_ok() {
            &self.taken
        } else {
            &self.refused
        };
        count.fetch_add(1, Ordering::Relaxed);
        taken
    }

    /// Takes the next token, which may be one that is not there yet: whoever takes it acts when it is, and not before. Those who
    /// wait get one after another, without asking again.
    ///
    /// # Errors
    /// If it would not be there before `latest`: how long it takes. Then none is taken. [`Duration::MAX`] if never.
    pub fn reserve(&self, now: Instant, latest: Instant) -> Result<Reserved, Duration> {
        if let Some(spare) = self.take_spare(now, latest) {
            self.taken.fetch_add(1, Ordering::Relaxed);
            return Ok(spare);
        }
        let mut found = None;
        let reserved = self
            .spent
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |spent| {
                found = self.scale.reserve(spent, now, latest);
                found.map(|(spent, _)| spent)
            });
        let count = if reserved.is_ok() {
            &self.taken
        } else {
            &self.refused
        };
        count.fetch_add(1, Ordering::Relaxed);
        match (reserved, found) {
            (Ok(_), Some((spent, at))) => Ok(Reserved { at, spent }),
            (Ok(spent) | Err(spent), _) => Err(self.scale.wait(spent, now)),
        }
    }

    /// Takes back a token that was not used. True if it was the newest: then it is as if it had never been taken. If others were taken after
    /// it, these keep their times, and it is for the next who asks; up to 1,024 are kept so, each for as long as the bucket takes to fill.
    #[expect(clippy::needless_pass_by_value, reason = "it can be given back once")]
    pub fn give_back(&self, reserved: Reserved) -> bool {
        let is_newest = reserved
            .spent
            .checked_sub(self.scale.token)
            .is_some_and(|before| {
                let (spent, order) = (reserved.spent, Ordering::Relaxed);
                let newest = self.spent.compare_exchange(spent, before, order, order);
                newest.is_ok()
            });
        if is_newest {
            return true;
        }
        let mut spare = self.spare();
        if spare.len() < MOST_SPARE {
            spare.push(Reserved {
                at: reserved.at,
                spent: 0,
            });
        }
        self.spares.store(spare.len(), Ordering::Release);
        false
    }

    /// The earliest token that was given back and is there before `latest`.
    fn take_spare(&self, now: Instant, latest: Instant) -> Option<Reserved> {
        if self.spares.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut spare = self.spare();
        // One that is older than it takes to fill the bucket would have run over.
        let fill = self.scale.fills_in();
        spare.retain(|token| now.since(token.at) <= fill);
        let earliest = (0..spare.len()).min_by_key(|&place| spare[place].at);
        let earliest = earliest.filter(|&place| spare[place].at < latest);
        let taken = earliest.map(|place| spare.swap_remove(place));
        self.spares.store(spare.len(), Ordering::Release);
        taken
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Reserved>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tokens that are there.
    #[must_use]
    pub fn balance(&self, now: Instant) -> f64 {
        let spent = self.spent.load(Ordering::Relaxed);
        let there = self.scale.earned(now).saturating_sub(spent);
        there.min(self.scale.burst) as f64 / self.scale.token as f64
    }

    /// How many were taken, and how often there was none.
    #[must_use]
    pub fn counts(&self) -> RateCounts {
        RateCounts {
            taken: self.taken.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            displaced: 0,
        }
    }
}

/// A token of [`Rate::reserve`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "it is taken"]
pub struct Reserved {
    at: Instant,
    /// What was spent with it; 0 for one that was given back before.
    spent: u64,
}

impl Reserved {
    /// When it is there; one that was given back by somebody else may have been there for a while.
    #[must_use]
    pub const fn at(&self) -> Instant {
        self.at
    }
}

/// What a rate limit did, ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateCounts {
    /// Tokens that were taken.
    pub taken: u64,
    /// Requests for which there was none.
    pub refused: u64,
    /// New keys that took over another's debt. If this grows, there are too few entries, or somebody floods.
    pub displaced: u64,
}

/// Entries in a set.
const WAYS: usize = 16;
/// More entries than this (256 MiB) are not made.
const MOST_ENTRIES: u32 = 1 << 24;

/// A token bucket for each key, in bounded memory, shared by all workers. Keys themselves are not kept, only 64 bits of a hash.
pub struct KeyedRate<K: ?Sized> {
    scale: Scale,
    sets: Box<[[Entry; WAYS]]>,
    /// Its own for each, so that nobody can choose keys that share a set.
    seed: u64,
    taken: AtomicU64,
    refused: AtomicU64,
    displaced: AtomicU64,
    keys: PhantomData<fn(&K)>,
}

/// A key's bucket. Empty is a full bucket of the key 0, which no key is.
#[derive(Debug, Default)]
struct Entry {
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
        let entries = options.entries.clamp(1, MOST_ENTRIES) as usize;
        let sets = (0..entries.div_ceil(WAYS)).map(|_| <[Entry; WAYS]>::default());
        Self {
            scale: Scale::new(options.rate),
            sets: sets.collect(),
            seed,
            taken: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            displaced: AtomicU64::new(0),
            keys: PhantomData,
        }
    }

    /// What was taken, refused and displaced.
    #[must_use]
    pub fn counts(&self) -> RateCounts {
        RateCounts {
            taken: self.taken.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            displaced: self.displaced.load(Ordering::Relaxed),
        }
    }

    /// Keys whose buckets are not full. Looks at all entries: for status, not for each request.
    #[must_use]
    pub fn in_debt(&self, now: Instant) -> usize {
        let full = self.full(now);
        let in_debt = |entry: &&Entry| entry.spent.load(Ordering::Relaxed) > full;
        self.sets.iter().flatten().filter(in_debt).count()
    }

    /// Who has spent no more than this has a full bucket.
    const fn full(&self, now: Instant) -> u64 {
        self.scale.earned(now).saturating_sub(self.scale.burst)
    }

    fn take_hashed(&self, key: u64, now: Instant) -> Result<(), Duration> {
        // By the upper bits; the entry knows all of them.
        let index = (u128::from(key) * self.sets.len() as u128) >> 64;
        let set = &self.sets[index as usize];
        let key = key.max(1);
        let own = |entry: &&Entry| entry.key.load(Ordering::Relaxed) == key;
        if let Some(entry) = set.iter().find(own) {
            return self.scale.take(&entry.spent, now);
        }
        let spent = |entry: &&Entry| entry.spent.load(Ordering::Relaxed);
        let Some(entry) = set.iter().min_by_key(spent) else {
            return Ok(());
        };
        // Who would get nothing from it takes nobody's place. Its debt stays with the place. If two workers do this at
        // once, the latter's key has it, and both have paid.
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
    /// How long it takes until there is one. [`Duration::MAX`] if never.
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
mod tests;
