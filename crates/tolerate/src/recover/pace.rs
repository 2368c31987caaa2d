//! The rate, and who waits for a token of it: first come, first served.
//!
//! Tokens are booked in advance, one for each who waits, so their times are exact however coarse timers are. But none is booked for
//! anybody in particular: whoever is first takes the first. Who gives up gives the last one back, and all behind move up.
//!
//! Whoever is polled serves all whose time has come, so somebody who is not polled keeps nobody waiting. Each keeps the time of its
//! own place; who becomes the first is woken, since its time is earlier now.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use arc_swap::ArcSwap;
use evenkeel_core::Instant;

use super::Stopped;
use crate::rate::Reserved;
use crate::{Rate, RateOptions};

/// A rate with its line.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: ArcSwap<Rate>,
    /// How many wait. Changed under the lock, read without it.
    waiting: AtomicUsize,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    next_number: u64,
    /// The first in front.
    waiters: VecDeque<Waiter>,
    /// As many tokens, the first in front.
    booked: VecDeque<Reserved>,
    /// Tokens of those who have not looked yet.
    served: BTreeMap<u64, Reserved>,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    waker: Option<Waker>,
}

/// A token whose time has come. Dropped before its attempt begins it goes to the next who waits.
#[derive(Debug)]
pub(crate) struct Token {
    pace: Arc<Pace>,
    reserved: Option<Reserved>,
}

/// Somebody in the line. Dropped, it has left.
#[derive(Debug)]
pub(crate) struct Turn {
    pace: Arc<Pace>,
    number: u64,
    is_over: bool,
}

/// What there was for who wanted a token.
#[derive(Debug)]
pub(crate) enum Paced {
    Token(Token),
    Waits(Turn),
}

impl Pace {
    pub(crate) fn new(options: RateOptions) -> Self {
        Self {
            rate: ArcSwap::from_pointee(Rate::new(options)),
            waiting: AtomicUsize::new(0),
            line: Mutex::default(),
        }
    }

    /// Tokens that are there.
    pub(crate) fn balance(&self, now: Instant) -> f64 {
        self.rate.load().balance(now)
    }

    /// A token that is there and for which nobody waits.
    pub(crate) fn at_once(self: &Arc<Self>, now: Instant) -> Option<Token> {
        if self.waiting.load(Ordering::Acquire) > 0 {
            return None;
        }
        let reserved = self.rate.load().take_now(now)?;
        Some(self.token(reserved))
    }

    /// A token, or a place in the line if there is one before `latest`.
    pub(crate) fn enter(self: &Arc<Self>, now: Instant, latest: Instant) -> Result<Paced, Stopped> {
        if let Some(token) = self.at_once(now) {
            return Ok(Paced::Token(token));
        }
        let mut line = self.line();
        let reserved = self.rate.load().reserve(now, latest);
        let reserved = reserved.map_err(|_after| Stopped::Rate)?;
        if line.waiters.is_empty() && reserved.at() <= now {
            return Ok(Paced::Token(self.token(reserved)));
        }
        let number = line.next_number;
        line.next_number += 1;
        // One that somebody gave back may come before those that are booked.
        let place = line
            .booked
            .partition_point(|booked| booked.at() <= reserved.at());
        line.booked.insert(place, reserved);
        line.waiters.push_back(Waiter {
            number,
            waker: None,
        });
        self.count(&line);
        let first = if place == 0 { line.wake_first() } else { None };
        drop(line);
        first.into_iter().for_each(Waker::wake);
        Ok(Paced::Waits(Turn {
            pace: Arc::clone(self),
            number,
            is_over: false,
        }))
    }

    /// Other options from now on. Who waits goes on waiting, and what is there or owed stays.
    pub(crate) fn reconfigure(&self, options: RateOptions, now: Instant) {
        let mut line = self.line();
        let before = self.rate.load_full();
        if before.options() == options {
            return;
        }
        while let Some(reserved) = line.booked.pop_back() {
            before.give_back(reserved);
        }
        let rate = before.continued(options, now);
        for _ in 0..line.waiters.len() {
            line.booked.extend(rate.reserve(now, Instant::NEVER));
        }
        // With a rate of nothing there is none to book: they wait for other options.
        self.rate.store(Arc::new(rate));
        let wakers: Vec<Waker> = line.waiters.iter_mut().filter_map(Waiter::wakes).collect();
        drop(line);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// A token that is not used: for the first who waits, and the one that was booked last is given back instead.
    fn pass_on(&self, reserved: Reserved) {
        let mut line = self.line();
        let Some(mut first) = line.waiters.pop_front() else {
            drop(line);
            self.rate.load().give_back(reserved);
            return;
        };
        line.served.insert(first.number, reserved);
        self.give_back_last(&mut line);
        self.count(&line);
        let wakers = [first.wakes(), line.wake_first()];
        drop(line);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn give_back_last(&self, line: &mut Line) {
        if line.booked.len() > line.waiters.len()
            && let Some(last) = line.booked.pop_back()
        {
            self.rate.load().give_back(last);
        }
    }

    fn token(self: &Arc<Self>, reserved: Reserved) -> Token {
        Token {
            pace: Arc::clone(self),
            reserved: Some(reserved),
        }
    }

    fn count(&self, line: &Line) {
        self.waiting.store(line.waiters.len(), Ordering::Release);
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Serves those whose time has come; who is to be woken.
    fn serve(&mut self, now: Instant) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while self.booked.front().is_some_and(|token| token.at() <= now) {
            let Some(mut first) = self.waiters.pop_front() else {
                break;
            };
            if let Some(token) = self.booked.pop_front() {
                self.served.insert(first.number, token);
            }
            wakers.extend(first.wakes());
        }
        if !wakers.is_empty() {
            wakers.extend(self.wake_first());
        }
        wakers
    }

    fn wake_first(&mut self) -> Option<Waker> {
        self.waiters.front_mut().and_then(Waiter::wakes)
    }

    fn place(&self, number: u64) -> Option<usize> {
        let place = self
            .waiters
            .binary_search_by_key(&number, |waiter| waiter.number);
        place.ok()
    }
}

impl Waiter {
    const fn wakes(&mut self) -> Option<Waker> {
        self.waker.take()
    }
}

impl Turn {
    /// Its token when it is there, else until when to wait at most; `waker` is woken if it is there sooner.
    pub(crate) fn poll(&mut self, now: Instant, waker: &Waker) -> Result<Token, Instant> {
        let mut line = self.pace.line();
        let wakers = line.serve(now);
        let found = match (line.served.remove(&self.number), line.place(self.number)) {
            (Some(reserved), _) => Ok(reserved),
            (None, Some(place)) => {
                line.waiters[place].waker = Some(waker.clone());
                let own = line.booked.get(place);
                Err(own.map_or(Instant::NEVER, Reserved::at))
            }
            (None, None) => Err(Instant::NEVER),
        };
        self.pace.count(&line);
        drop(line);
        wakers.into_iter().for_each(Waker::wake);
        let reserved = found?;
        self.is_over = true;
        Ok(self.pace.token(reserved))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut line = self.pace.line();
        if let Some(reserved) = line.served.remove(&self.number) {
            drop(line);
            return self.pace.pass_on(reserved);
        }
        let Some(place) = line.place(self.number) else {
            return;
        };
        line.waiters.remove(place);
        self.pace.give_back_last(&mut line);
        self.pace.count(&line);
        let first = if place == 0 { line.wake_first() } else { None };
        drop(line);
        first.into_iter().for_each(Waker::wake);
    }
}

impl Token {
    /// The attempt begins.
    pub(crate) fn spend(mut self) {
        self.reserved = None;
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if let Some(reserved) = self.reserved.take() {
            self.pace.pass_on(reserved);
        }
    }
}
