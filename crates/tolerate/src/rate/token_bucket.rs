//! A token bucket for all requests together.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evenkeel_core::Instant;

use super::scale::BucketScale;
use super::{RateCounts, RateOptions};

/// Reservations that were given back, at most.
const MAX_RETURNED: usize = 1_024;

/// A token bucket, shared by all workers.
#[derive(Debug)]
pub struct Rate {
    #[cfg(feature = "policy")]
    options: RateOptions,
    scale: BucketScale,
    spent: AtomicU64,
    /// Reservations that were given back out of order, for the next caller.
    returned: Mutex<Vec<Reservation>>,
    /// Their number. Changed under the lock, read without it.
    returned_count: AtomicUsize,
    taken: AtomicU64,
    refused: AtomicU64,
}

impl Rate {
    /// A full bucket.
    #[must_use]
    pub fn new(options: RateOptions) -> Self {
        Self {
            #[cfg(feature = "policy")]
            options,
            scale: BucketScale::new(options),
            spent: AtomicU64::new(0),
            returned: Mutex::default(),
            returned_count: AtomicUsize::new(0),
            taken: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    #[cfg(feature = "policy")]
    pub(crate) const fn options(&self) -> RateOptions {
        self.options
    }

    /// The same tokens, or the same debt, under new options. A token that is taken from the old one afterwards is not known to it.
    #[must_use]
    pub fn continued(&self, options: RateOptions, now: Instant) -> Self {
        let next = Self::new(options);
        let spent = self.spent.load(Ordering::Relaxed);
        let spent = self.scale.rescaled(spent, &next.scale, now);
        next.spent.store(spent, Ordering::Relaxed);
        let RateCounts { taken, refused, .. } = self.counts();
        next.taken.store(taken, Ordering::Relaxed);
        next.refused.store(refused, Ordering::Relaxed);
        next
    }

    /// Takes an available token, in a form that can be given back. Counts nothing if there is none.
    #[cfg(feature = "policy")]
    pub(crate) fn take_now(&self, now: Instant) -> Option<Reservation> {
        let returned = self.take_returned(now, now + Duration::from_nanos(1));
        let reserved = returned.or_else(|| {
            let spend = |spent| self.scale.spend(spent, now);
            let before = self
                .spent
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend);
            let spent = before.ok().and_then(spend)?;
            Some(Reservation { at: now, spent })
        })?;
        self.taken.fetch_add(1, Ordering::Relaxed);
        Some(reserved)
    }

    /// Takes a token.
    ///
    /// # Errors
    /// How long until one is available; another caller may take it first. [`Duration::MAX`] if never.
    pub fn take(&self, now: Instant) -> Result<(), Duration> {
        let returned = self.take_returned(now, now + Duration::from_nanos(1));
        let taken = match returned {
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

    /// Reserves the next token, which may become available later: the caller acts at [`Reservation::at`], and not before. Callers
    /// that wait get one after the other, without asking again.
    ///
    /// # Errors
    /// If it would not be available before `latest`: how long it takes. Then none is reserved. [`Duration::MAX`] if never.
    pub fn reserve(&self, now: Instant, latest: Instant) -> Result<Reservation, Duration> {
        if let Some(returned) = self.take_returned(now, latest) {
            self.taken.fetch_add(1, Ordering::Relaxed);
            return Ok(returned);
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
            (Ok(_), Some((spent, at))) => Ok(Reservation { at, spent }),
            (Ok(spent) | Err(spent), _) => Err(self.scale.wait(spent, now)),
        }
    }

    /// Takes back a reservation that was not used. True if it was the latest, which then was never taken. If others were taken
    /// after it, these keep their times, and it goes to the next caller; up to 1,024 are stored, each for as long as the bucket
    /// takes to fill.
    #[expect(clippy::needless_pass_by_value, reason = "it can be given back once")]
    pub fn give_back(&self, reserved: Reservation) -> bool {
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
        let mut returned = self.returned();
        if returned.len() < MAX_RETURNED {
            returned.push(Reservation {
                at: reserved.at,
                spent: 0,
            });
        }
        self.returned_count.store(returned.len(), Ordering::Release);
        false
    }

    /// The earliest reservation that was given back and is available before `latest`.
    fn take_returned(&self, now: Instant, latest: Instant) -> Option<Reservation> {
        if self.returned_count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut returned = self.returned();
        // An older one would have overflowed the bucket by now.
        let fill = self.scale.fills_in();
        returned.retain(|token| now.since(token.at) <= fill);
        let earliest = (0..returned.len()).min_by_key(|&place| returned[place].at);
        let earliest = earliest.filter(|&place| returned[place].at < latest);
        let taken = earliest.map(|place| returned.swap_remove(place));
        self.returned_count.store(returned.len(), Ordering::Release);
        taken
    }

    fn returned(&self) -> MutexGuard<'_, Vec<Reservation>> {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Available tokens.
    #[must_use]
    pub fn balance(&self, now: Instant) -> f64 {
        let spent = self.spent.load(Ordering::Relaxed);
        let there = self.scale.earned(now).saturating_sub(spent);
        there.min(self.scale.burst) as f64 / self.scale.token as f64
    }

    /// Tokens taken, and how often none was available.
    #[must_use]
    pub fn counts(&self) -> RateCounts {
        RateCounts {
            taken: self.taken.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            displaced: 0,
        }
    }
}

/// A reserved token: see [`Rate::reserve`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "it is taken"]
pub struct Reservation {
    at: Instant,
    /// Units spent with it; 0 for one that was given back before.
    spent: u64,
}

impl Reservation {
    /// When it is available; for one that another caller gave back, this may be in the past.
    #[must_use]
    pub const fn at(&self) -> Instant {
        self.at
    }
}
