//! Stored responses and their invalidation (RFC 9111, section 4.4): a response that was requested before its address changed is
//! not stored after it.
//!
//! Keys begin with the address, so that all responses for one address are removed together.

use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_tolerate::StaleOptions;
use evenkeel_tolerate::stale::{Lifetimes, Servable, StaleStore, StoredValue};

/// How many times of changes are remembered.
const CHANGES: usize = 1_024;

/// Responses by key, in bounded memory, and which addresses changed when.
#[derive(Debug)]
pub struct ResponseCache<T> {
    store: StaleStore<T>,
    /// When the addresses of each hash changed last; empty until the first change.
    changed_at: Vec<Instant>,
}

impl<T> ResponseCache<T> {
    /// Empty.
    #[must_use]
    pub const fn new(options: &StaleOptions) -> Self {
        Self {
            store: StaleStore::new(options),
            changed_at: Vec::new(),
        }
    }

    /// Stores a response of `bytes` that arrived at `now`: see [`StaleStore::put`].
    pub fn put(&mut self, key: &[u8], value: T, bytes: usize, now: Instant, lifetimes: Lifetimes) {
        self.store.put(key, value, bytes, now, lifetimes);
    }

    /// The response of this key, if it may still be served when no server answers.
    pub fn get(&mut self, key: &[u8], now: Instant) -> Option<StoredValue<T>> {
        self.store.get(key, now)
    }

    /// The response of this key, if it may be served without asking a server: see [`StaleStore::get_servable`].
    pub fn get_servable(
        &mut self,
        key: &[u8],
        now: Instant,
        timeout: Duration,
    ) -> Option<Servable<T>> {
        self.store.get_servable(key, now, timeout)
    }

    /// Whether the response of this key was stored less than `recently` ago.
    #[must_use]
    pub fn is_recent(&self, key: &[u8], now: Instant, recently: Duration) -> bool {
        self.store.is_recent(key, now, recently)
    }

    /// Removes the response of this key.
    pub fn remove(&mut self, key: &[u8]) {
        self.store.remove(key);
    }

    /// This address has changed at `now`: removes its responses, and says how many there were. Responses that were requested
    /// before are [outdated](Self::is_outdated).
    pub fn invalidate(&mut self, address: &[u8], now: Instant) -> u64 {
        if self.changed_at.is_empty() {
            self.changed_at = vec![Instant::ZERO; CHANGES];
        }
        self.changed_at[slot(address)] = now;
        self.store.remove_prefix(address)
    }

    /// Whether this address has changed at or after `requested`, so that a response requested then may be the old one. Seldom true
    /// for another address as well, since changes are remembered by a hash.
    #[must_use]
    pub fn is_outdated(&self, address: &[u8], requested: Instant) -> bool {
        let changed_at = self.changed_at.get(slot(address));
        changed_at.is_some_and(|&at| at > Instant::ZERO && at >= requested)
    }

    /// How many responses are stored, and their bytes with the overhead.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        self.store.size()
    }
}

/// Where a change of this address is remembered.
fn slot(address: &[u8]) -> usize {
    // FNV-1a. A collision that somebody provokes only keeps responses from being stored.
    let hash = address
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    (hash >> 32) as usize % CHANGES
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9111, section 4.4.
    #[test]
    fn a_change_removes_what_is_stored_and_outdates_what_was_requested_before() {
        let second = |second: u64| Instant::from_millis(second * 1_000);
        let minute = Lifetimes {
            fresh: Duration::ZERO,
            while_revalidating: Duration::ZERO,
            if_error: Duration::from_secs(60),
        };
        let mut cache = ResponseCache::new(&StaleOptions::default());
        assert!(!cache.is_outdated(b"a\0", second(0)), "nothing has changed");
        for key in [&b"a\0x"[..], b"a\0y", b"a", b"ab\0x", b"A\0x"] {
            cache.put(key, (), 10, second(1), minute);
        }
        assert_eq!(cache.invalidate(b"a\0", second(5)), 2);
        assert_eq!(cache.invalidate(b"a\0", second(5)), 0);
        assert_eq!(cache.size().0, 3);
        assert!(
            cache.get(b"a\0y", second(6)).is_none() && cache.get(b"ab\0x", second(6)).is_some()
        );
        for (requested, outdated) in [(4, true), (5, true), (6, false)] {
            assert_eq!(
                cache.is_outdated(b"a\0", second(requested)),
                outdated,
                "{requested}"
            );
        }
        assert!(!cache.is_outdated(b"b\0", second(4)));
    }
}
