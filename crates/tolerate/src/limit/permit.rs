//! Counts requests in flight against the limit, and hands out permits.
//!
//! A permit is released when it is dropped, so a future that is dropped at any await point leaks none. A dropped permit says
//! nothing about the server: only [`Permit::finish`] teaches the limit.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use evenkeel_core::Instant;

use super::{AdaptiveLimit, LimitOptions, LimitSnapshot, WindowOptions};
use crate::{Class, ShedOptions};

/// The end of a request, as a limit counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitOutcome {
    /// It was answered; its time says how busy the server is. An application error is good in this sense, unless the server
    /// did no work for it.
    Good,
    /// It was rejected for overload, or timed out.
    Dropped,
    /// It says nothing about how busy the server is: cancelled, invalid, not connected.
    Ignored,
}

impl LimitOutcome {
    /// The label in metrics and status.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Dropped => "dropped",
            Self::Ignored => "ignored",
        }
    }
}

/// A limit on requests in flight, shared by all workers.
#[derive(Debug)]
pub struct Limit {
    adaptive: AdaptiveLimit,
    in_flight: AtomicU32,
    granted: AtomicU64,
    refused: AtomicU64,
}

impl Limit {
    /// Nothing in flight. `seed` is for the jitter of measurements only.
    #[must_use]
    pub fn new(options: &LimitOptions, now: Instant, seed: u64) -> Self {
        Self::with_window(options, WindowOptions::default(), now, seed)
    }

    /// The same, with other windows.
    #[must_use]
    pub fn with_window(
        options: &LimitOptions,
        window: WindowOptions,
        now: Instant,
        seed: u64,
    ) -> Self {
        Self {
            adaptive: AdaptiveLimit::with_window(options, window, now, seed),
            in_flight: AtomicU32::new(0),
            granted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// A permit for a request that begins now, if a slot is free.
    pub fn try_acquire(&self, now: Instant) -> Option<Permit<&Self>> {
        let in_flight = self.try_enter(self.adaptive.limit())?;
        Some(Permit::new(self, now, in_flight))
    }

    /// The same with a permit that outlives the borrow, as futures need it.
    pub fn try_acquire_owned(self: &Arc<Self>, now: Instant) -> Option<Permit<Arc<Self>>> {
        let in_flight = self.try_enter(self.adaptive.limit())?;
        Some(Permit::new(Arc::clone(self), now, in_flight))
    }

    /// The same for a request of `class`, which may occupy its share of the limit only.
    pub fn try_acquire_as(
        &self,
        shares: &ShedOptions,
        class: Class,
        now: Instant,
    ) -> Option<Permit<&Self>> {
        let in_flight = self.try_enter(shares.slots(class, self.adaptive.limit()))?;
        Some(Permit::new(self, now, in_flight))
    }

    /// The same with a permit that outlives the borrow.
    pub fn try_acquire_owned_as(
        self: &Arc<Self>,
        shares: &ShedOptions,
        class: Class,
        now: Instant,
    ) -> Option<Permit<Arc<Self>>> {
        let in_flight = self.try_enter(shares.slots(class, self.adaptive.limit()))?;
        Some(Permit::new(Arc::clone(self), now, in_flight))
    }

    /// The limit on requests in flight.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.adaptive.limit()
    }

    /// Requests in flight.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Permits granted, since it was made.
    #[must_use]
    pub fn granted(&self) -> u64 {
        self.granted.load(Ordering::Relaxed)
    }

    /// Permits refused, since it was made.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// The part that learns, to reconfigure it.
    #[must_use]
    pub const fn adaptive(&self) -> &AdaptiveLimit {
        &self.adaptive
    }

    /// Its state.
    #[must_use]
    pub fn snapshot(&self) -> LimitSnapshot {
        self.adaptive.snapshot(self.in_flight())
    }

    /// Occupies a slot if fewer than `most` are occupied; how many are occupied with it.
    ///
    /// `SeqCst`, as in [`Limit::leave`]: whoever becomes visible as waiting, and then finds no slot, is seen by whoever
    /// leaves after that.
    pub(crate) fn try_enter(&self, most: u32) -> Option<u32> {
        let one_more = |in_flight| (in_flight < most).then_some(in_flight + 1);
        let entered = self
            .in_flight
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more);
        let count = if entered.is_ok() {
            &self.granted
        } else {
            &self.refused
        };
        count.fetch_add(1, Ordering::Relaxed);
        entered.ok().map(|before| before + 1)
    }

    /// Frees a slot.
    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
    }

    /// The request that began then, with this many in flight, has ended. The limit, if that was the end of a window.
    pub(crate) fn learn(
        &self,
        now: Instant,
        how: LimitOutcome,
        began: Instant,
        in_flight: u32,
    ) -> Option<u32> {
        let dropped = match how {
            LimitOutcome::Good => false,
            LimitOutcome::Dropped => true,
            LimitOutcome::Ignored => return None,
        };
        let took = now.since(began);
        self.adaptive.sample(now, took, in_flight, dropped)
    }
}

/// A slot of a [`Limit`], released when it is finished or dropped.
#[derive(Debug)]
#[must_use = "dropped at once it limits nothing"]
pub struct Permit<L: Deref<Target = Limit>> {
    limit: L,
    began: Instant,
    /// Requests in flight when it began, this one included.
    in_flight: u32,
}

impl<L: Deref<Target = Limit>> Permit<L> {
    const fn new(limit: L, began: Instant, in_flight: u32) -> Self {
        Self {
            limit,
            began,
            in_flight,
        }
    }

    /// The request has ended. Returns the limit if that was the end of a window.
    pub fn finish(self, now: Instant, how: LimitOutcome) -> Option<u32> {
        self.limit.learn(now, how, self.began, self.in_flight)
    }

    /// When the request began.
    #[must_use]
    pub const fn began(&self) -> Instant {
        self.began
    }
}

impl<L: Deref<Target = Limit>> Drop for Permit<L> {
    fn drop(&mut self) {
        self.limit.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    fn fixed(limit: u32) -> Limit {
        Limit::new(&LimitOptions::Fixed(limit), Instant::ZERO, 1)
    }

    #[test]
    fn no_more_than_the_limit_and_dropping_gives_back() {
        let limit = fixed(2);
        let first = limit.try_acquire(Instant::ZERO).expect("free");
        let second = limit.try_acquire(Instant::ZERO).expect("free");
        assert!(limit.try_acquire(Instant::ZERO).is_none());
        drop(first);
        let third = limit.try_acquire(Instant::ZERO).expect("free again");
        assert_eq!(
            second.finish(Instant::from_millis(1), LimitOutcome::Good),
            None
        );
        assert_eq!((limit.in_flight(), limit.limit()), (1, 2));
        third.finish(Instant::from_millis(2), LimitOutcome::Ignored);
        assert_eq!(
            (limit.in_flight(), limit.granted(), limit.refused()),
            (0, 3, 1)
        );
        assert!(fixed(0).try_acquire(Instant::ZERO).is_none());
    }

    #[test]
    fn a_lesser_class_gets_less_of_it() {
        let limit = Arc::new(fixed(4));
        let shares = ShedOptions::default();
        let mut held = Vec::new();
        while let Some(permit) = limit.try_acquire_as(&shares, Class::Sheddable, Instant::ZERO) {
            held.push(permit);
        }
        assert_eq!(held.len(), 3);
        let last = limit.try_acquire_owned_as(&shares, Class::Critical, Instant::ZERO);
        assert!(last.is_some_and(|permit| permit.in_flight == 4));
    }

    #[test]
    fn an_owned_permit_outlives_its_future() {
        let limit = Arc::new(fixed(1));
        let permit = limit.try_acquire_owned(Instant::ZERO).expect("free");
        let future = async move {
            let _held = permit;
            std::future::pending::<()>().await;
        };
        assert!(limit.try_acquire(Instant::ZERO).is_none());
        drop(future);
        assert_eq!(limit.in_flight(), 0);
    }

    #[test]
    fn workers_together_never_exceed_it() {
        let limit = Arc::new(fixed(3));
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let limit = Arc::clone(&limit);
                thread::spawn(move || {
                    for _ in 0..20_000 {
                        if let Some(permit) = limit.try_acquire_owned(Instant::ZERO) {
                            assert!(permit.in_flight <= 3 && limit.in_flight() <= 3);
                            permit.finish(Instant::from_millis(1), LimitOutcome::Good);
                        }
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().expect("never more than three");
        }
        assert_eq!(limit.in_flight(), 0);
        assert_eq!(limit.granted() + limit.refused(), 80_000);
    }

    proptest! {
        #[test]
        fn in_flight_is_the_number_of_living_permits(
            most in 0_u32..6,
            steps in proptest::collection::vec((0_u8..4, any::<usize>()), 0..200),
        ) {
            let limit = fixed(most);
            let mut held = Vec::new();
            for (step, which) in steps {
                if step < 2 {
                    let permit = limit.try_acquire(Instant::ZERO);
                    prop_assert_eq!(permit.is_some(), (held.len() as u32) < most);
                    held.extend(permit);
                } else if !held.is_empty() {
                    let permit = held.swap_remove(which % held.len());
                    if step == 2 { drop(permit) } else { permit.finish(Instant::ZERO, LimitOutcome::Dropped); }
                }
                prop_assert_eq!(limit.in_flight(), held.len() as u32);
            }
        }
    }
}
