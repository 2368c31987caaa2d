//! The rate, and the attempts that wait for a token of it: first come, first served.
//!
//! Tokens are reserved in advance, one for each waiting attempt, so that their times are exact however coarse timers are. But none
//! is reserved for a particular attempt: the first attempt gets the first token. When an attempt gives up, the last token is given
//! back, and all behind it move up.
//!
//! Whichever attempt is polled grants all tokens that are due, so an attempt that is not polled delays no other. Each waits for
//! the time of its own position; the attempt that becomes the first is woken, since its time is earlier now.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use arc_swap::ArcSwap;
use evenkeel_core::Instant;

use crate::policy::Stopped;
use crate::rate::Reservation;
use crate::{Rate, RateOptions};

/// A rate with its queue.
#[derive(Debug)]
pub(crate) struct RateQueue {
    rate: ArcSwap<Rate>,
    /// The length of the queue. Changed under the lock, read without it.
    waiting: AtomicUsize,
    state: Mutex<RateQueueState>,
}

#[derive(Debug, Default)]
struct RateQueueState {
    next_number: u64,
    /// The first in front.
    attempts: VecDeque<WaitingAttempt>,
    /// As many tokens, the first in front.
    reservations: VecDeque<Reservation>,
    /// Tokens of attempts that have not been polled since, by number.
    granted: BTreeMap<u64, Reservation>,
}

#[derive(Debug)]
struct WaitingAttempt {
    number: u64,
    waker: Option<Waker>,
}

/// A token that is due. Dropped before its attempt begins, it goes to the next that waits.
#[derive(Debug)]
pub(crate) struct RateToken {
    rate: Arc<RateQueue>,
    reservation: Option<Reservation>,
}

/// An attempt's position in the queue. Dropped, it has left.
#[derive(Debug)]
pub(crate) struct RateTicket {
    rate: Arc<RateQueue>,
    number: u64,
    is_over: bool,
}

/// The result of [`RateQueue::enter`].
#[derive(Debug)]
pub(crate) enum RateEntry {
    Token(RateToken),
    Queued(RateTicket),
}

impl RateQueue {
    pub(crate) fn new(options: RateOptions) -> Self {
        Self {
            rate: ArcSwap::from_pointee(Rate::new(options)),
            waiting: AtomicUsize::new(0),
            state: Mutex::default(),
        }
    }

    /// Tokens that are available.
    pub(crate) fn balance(&self, now: Instant) -> f64 {
        self.rate.load().balance(now)
    }

    /// A token, if one is available and no attempt waits for it.
    pub(crate) fn try_take(self: &Arc<Self>, now: Instant) -> Option<RateToken> {
        if self.waiting.load(Ordering::Acquire) > 0 {
            return None;
        }
        let reservation = self.rate.load().take_now(now)?;
        Some(self.token(reservation))
    }

    /// A token, or a position in the queue if there will be one before `latest`.
    pub(crate) fn enter(
        self: &Arc<Self>,
        now: Instant,
        latest: Instant,
    ) -> Result<RateEntry, Stopped> {
        if let Some(token) = self.try_take(now) {
            return Ok(RateEntry::Token(token));
        }
        let mut state = self.state();
        let reservation = self.rate.load().reserve(now, latest);
        let reservation = reservation.map_err(|_after| Stopped::Rate)?;
        if state.attempts.is_empty() && reservation.at() <= now {
            return Ok(RateEntry::Token(self.token(reservation)));
        }
        let number = state.next_number;
        state.next_number += 1;
        // A token that was given back may be due before those that are reserved.
        let position = state
            .reservations
            .partition_point(|other| other.at() <= reservation.at());
        state.reservations.insert(position, reservation);
        state.attempts.push_back(WaitingAttempt {
            number,
            waker: None,
        });
        self.publish_length(&state);
        let first = if position == 0 {
            state.take_first_waker()
        } else {
            None
        };
        drop(state);
        first.into_iter().for_each(Waker::wake);
        Ok(RateEntry::Queued(RateTicket {
            rate: Arc::clone(self),
            number,
            is_over: false,
        }))
    }

    /// Replaces the options. Waiting attempts stay, and so do tokens that are available or owed.
    pub(crate) fn reconfigure(&self, options: RateOptions, now: Instant) {
        let mut state = self.state();
        let before = self.rate.load_full();
        if before.options() == options {
            return;
        }
        while let Some(reservation) = state.reservations.pop_back() {
            before.give_back(reservation);
        }
        let rate = before.continued(options, now);
        for _ in 0..state.attempts.len() {
            // A rate of zero has none to reserve: the attempts wait for other options.
            state.reservations.extend(rate.reserve(now, Instant::NEVER));
        }
        self.rate.store(Arc::new(rate));
        let wakers: Vec<Waker> = state
            .attempts
            .iter_mut()
            .filter_map(|attempt| attempt.waker.take())
            .collect();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// A token that is not used goes to the first attempt that waits; the last reservation is given back instead.
    fn hand_over(&self, reservation: Reservation) {
        let mut state = self.state();
        let Some(mut first) = state.attempts.pop_front() else {
            drop(state);
            self.rate.load().give_back(reservation);
            return;
        };
        state.granted.insert(first.number, reservation);
        self.give_back_last(&mut state);
        self.publish_length(&state);
        let wakers = [first.waker.take(), state.take_first_waker()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn give_back_last(&self, state: &mut RateQueueState) {
        if state.reservations.len() > state.attempts.len()
            && let Some(last) = state.reservations.pop_back()
        {
            self.rate.load().give_back(last);
        }
    }

    fn token(self: &Arc<Self>, reservation: Reservation) -> RateToken {
        RateToken {
            rate: Arc::clone(self),
            reservation: Some(reservation),
        }
    }

    fn publish_length(&self, state: &RateQueueState) {
        self.waiting.store(state.attempts.len(), Ordering::Release);
    }

    fn state(&self) -> MutexGuard<'_, RateQueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RateQueueState {
    /// Grants all tokens that are due; the wakers of their attempts, and of the one that is the first then.
    fn grant_due(&mut self, now: Instant) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while self
            .reservations
            .front()
            .is_some_and(|token| token.at() <= now)
        {
            let Some(mut first) = self.attempts.pop_front() else {
                break;
            };
            if let Some(token) = self.reservations.pop_front() {
                self.granted.insert(first.number, token);
            }
            wakers.extend(first.waker.take());
        }
        if !wakers.is_empty() {
            wakers.extend(self.take_first_waker());
        }
        wakers
    }

    fn take_first_waker(&mut self) -> Option<Waker> {
        let first = self.attempts.front_mut();
        first.and_then(|attempt| attempt.waker.take())
    }

    fn position(&self, number: u64) -> Option<usize> {
        let position = self
            .attempts
            .binary_search_by_key(&number, |attempt| attempt.number);
        position.ok()
    }
}

impl RateTicket {
    /// The token if it is due, else until when to wait at most; `waker` is woken if it is due sooner.
    pub(crate) fn poll(&mut self, now: Instant, waker: &Waker) -> Result<RateToken, Instant> {
        let mut state = self.rate.state();
        let wakers = state.grant_due(now);
        let granted = state.granted.remove(&self.number);
        let found = match (granted, state.position(self.number)) {
            (Some(reservation), _) => Ok(reservation),
            (None, Some(position)) => {
                state.attempts[position].waker = Some(waker.clone());
                let own = state.reservations.get(position);
                Err(own.map_or(Instant::NEVER, Reservation::at))
            }
            (None, None) => Err(Instant::NEVER),
        };
        self.rate.publish_length(&state);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        let reservation = found?;
        self.is_over = true;
        Ok(self.rate.token(reservation))
    }
}

impl Drop for RateTicket {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut state = self.rate.state();
        if let Some(reservation) = state.granted.remove(&self.number) {
            drop(state);
            return self.rate.hand_over(reservation);
        }
        let Some(position) = state.position(self.number) else {
            return;
        };
        state.attempts.remove(position);
        self.rate.give_back_last(&mut state);
        self.rate.publish_length(&state);
        let first = if position == 0 {
            state.take_first_waker()
        } else {
            None
        };
        drop(state);
        first.into_iter().for_each(Waker::wake);
    }
}

impl RateToken {
    /// The attempt begins.
    pub(crate) fn spend(mut self) {
        self.reservation = None;
    }
}

impl Drop for RateToken {
    fn drop(&mut self) {
        if let Some(reservation) = self.reservation.take() {
            self.rate.hand_over(reservation);
        }
    }
}
