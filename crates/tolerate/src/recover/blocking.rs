//! Runs a call on a thread: the same decisions, with the thread asleep between attempts.
//!
//! A thread cannot be cancelled, so two things are left out. There is no hedging: a second attempt would need a second thread that
//! nobody can stop. And an attempt's timeout is not enforced from outside: the attempt is told how long it may take
//! ([`Attempt::timeout`]) and passes it on to its socket; one that fails later than that counts as timed out.
//!
//! All else is there. A thread that waits for a place is parked, and unparked by whoever gives it one.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use evenkeel_core::Instant;

use super::course::{Begun, Course, Hold};
use super::kept;
use super::pace::{Token, Turn};
use super::room::{Place, Waiting};
use super::{Attempt, Classify, Kept, Pick, Recovered, RepairBlocking, Run, Stopped};
use crate::clock::Pause;
use crate::{Decision, Verdict};

impl<C: Pause, K, P: Pick, R> Run<'_, C, K, P, R> {
    /// Makes the call on this thread.
    pub fn run_blocking<T, E, F>(mut self, mut attempt: F) -> Recovered<T, E>
    where
        F: FnMut(Attempt) -> Result<T, E>,
        K: Classify<T, E>,
        R: RepairBlocking<E>,
    {
        let mut course = Course::begin(&self.recovery.shared, self.call);
        let mut last = None;
        let mut now = course.started();
        let why = loop {
            let begun = match enter(&mut course, &mut self.pick, &mut now) {
                Ok(begun) => begun,
                Err(why) => break why,
            };
            let made = begun.attempt;
            let meets = begun
                .hold
                .and_then(|hold| fault(course.clock(), hold, &made));
            let (result, mut verdict) = match meets {
                Some(verdict) => (None, verdict),
                None => {
                    let result = attempt(made);
                    let verdict = self.classify.verdict(&result);
                    (Some(result), verdict)
                }
            };
            now = course.clock().now();
            let late = now >= made.ends;
            if late && matches!(verdict, Verdict::Transient { .. } | Verdict::Lost) {
                verdict = Verdict::Timeout;
            }
            course.ended(begun, verdict, now);
            if result.is_some() {
                last = result;
            }
            if verdict.is_good() {
                break Stopped::Good;
            }
            match course.decide(&made, verdict, now) {
                Decision::Stop(why) => break why.into(),
                Decision::Retry { after, .. } => {
                    let ended = now;
                    if course.may_repair()
                        && let Some(outcome) = self.repair.repair(error(&last), made)
                    {
                        let now = course.clock().now();
                        course.repaired(ended, Some(outcome), now);
                    }
                    course.clock().pause_until(ended + after);
                    now = course.clock().now();
                    course.waited(now.since(ended));
                }
            }
        };
        course.finish(why, last, now)
    }

    /// The same with something to fall back to, if the call did not work. If it fails, too, the call's own error is returned.
    pub fn run_blocking_or_else<T, E, F>(
        self,
        attempt: F,
        fallback: impl FnOnce(Stopped) -> Result<T, E>,
    ) -> Recovered<T, E>
    where
        F: FnMut(Attempt) -> Result<T, E>,
        K: Classify<T, E>,
        R: RepairBlocking<E>,
    {
        let (recovery, call) = (self.recovery, self.call);
        let mut recovered = self.run_blocking(attempt);
        if !recovered.is_good() {
            let other = fallback(recovered.stopped);
            recovery.shared.fell_back(&call, &mut recovered, other);
        }
        recovered
    }

    /// The same with the value of an earlier call to fall back to, by a key of the program's own: what works is kept.
    pub fn run_blocking_or_kept<T, E, F>(
        self,
        kept: &Kept<T>,
        key: &[u8],
        attempt: F,
    ) -> Recovered<T, E>
    where
        F: FnMut(Attempt) -> Result<T, E>,
        T: Clone,
        K: Classify<T, E>,
        R: RepairBlocking<E>,
    {
        let (recovery, call) = (self.recovery, self.call);
        if let Some(recovered) = kept::without_call(recovery, &call, kept, key) {
            return recovered;
        }
        let mut recovered = self.run_blocking(attempt);
        kept::after_call(recovery, &call, kept, key, &mut recovered);
        recovered
    }
}

/// The error before, if there is one.
fn error<T, E>(last: &Option<Result<T, E>>) -> Option<&E> {
    last.as_ref().and_then(|last| last.as_ref().err())
}

/// Begins an attempt as soon as it may. `now` is when that was, or when it was refused.
fn enter<'p, C: Pause>(
    course: &mut Course<'p, C>,
    pick: &mut impl Pick,
    now: &mut Instant,
) -> Result<Begun<'p>, Stopped> {
    if !course.may_wait() {
        return course.enter_at_once(pick, *now);
    }
    let mut entry = course.choose(pick, false, *now)?;
    if let Some(turn) = course.pace(&mut entry, *now)? {
        let since = *now;
        entry.waits();
        let token = wait_for_token(course.clock(), turn);
        *now = course.clock().now();
        course.paced(&mut entry, token, since, *now)?;
    }
    if let Some(waiting) = course.find_place(&mut entry, *now)? {
        let since = *now;
        entry.waits();
        let left = leave_queue(course.clock(), waiting);
        *now = course.clock().now();
        course.queued(&mut entry, left, since, *now)?;
    }
    course.open(entry, false, *now)
}

/// Wakes a thread that is parked.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait_for_token<C: Pause>(clock: &C, mut turn: Turn) -> Token {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match turn.poll(clock.now(), &waker) {
            Ok(token) => return token,
            Err(at) => clock.park_until(at),
        }
    }
}

/// A place, or why there is none.
fn leave_queue<'p, C: Pause>(clock: &C, mut waiting: Waiting<'p>) -> Result<Place<'p>, Stopped> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(left) = waiting.poll(&context) {
            return left;
        }
        let now = clock.now();
        if now >= waiting.until() {
            return waiting.give_up(now);
        }
        clock.park_until(waiting.until());
    }
}

/// A fault on purpose: waits, and says how the attempt ends that is not made, if it is not.
fn fault<C: Pause>(clock: &C, hold: Hold, attempt: &Attempt) -> Option<Verdict> {
    clock.pause_until(hold.until.min(attempt.ends));
    if hold.until >= attempt.ends {
        Some(Verdict::Timeout)
    } else {
        hold.abort.then_some(Verdict::Injected)
    }
}
