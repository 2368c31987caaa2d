//! Runs a call on a thread: the same decisions, and the thread is blocked while it waits.
//!
//! A thread cannot be cancelled, so two things are left out. There is no hedging: a hedge would need a second thread that nobody can
//! stop. And an attempt's timeout is not enforced: the attempt is told how long it may take ([`Attempt::timeout`]) and passes that
//! on to its socket; one that fails later than that counts as timed out.
//!
//! Everything else is the same. A thread that waits for a slot is parked, and unparked when it gets one.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use evenkeel_core::Instant;

use super::PreparedCall;
use super::execution::{ActiveAttempt, Execution, PendingFault};
use crate::clock::BlockingClock;
use crate::policy::mechanisms::{LimitPermit, QueuedAttempt, RateTicket, RateToken};
use crate::policy::{
    Attempt, Classify, PickServer, Recovered, RepairBlocking, StaleValues, Stopped, stale_values,
};
use crate::{Decision, Verdict};

impl<C: BlockingClock, K, P: PickServer, R> PreparedCall<'_, C, K, P, R> {
    /// Makes the call on this thread.
    pub fn run_blocking<T, E, F>(mut self, mut attempt: F) -> Recovered<T, E>
    where
        F: FnMut(Attempt) -> Result<T, E>,
        K: Classify<T, E>,
        R: RepairBlocking<E>,
    {
        let mut execution = Execution::begin(&self.recovery.shared, self.call);
        let mut last = None;
        let mut now = execution.started();
        let why = loop {
            let active = match admit(&mut execution, &mut self.pick, &mut now) {
                Ok(active) => active,
                Err(why) => break why,
            };
            let made = active.attempt;
            let meets = active
                .fault
                .and_then(|fault| meet_fault(execution.clock(), fault, &made));
            let (result, mut verdict) = match meets {
                Some(verdict) => (None, verdict),
                None => {
                    let result = attempt(made);
                    let verdict = self.classify.verdict(&result);
                    (Some(result), verdict)
                }
            };
            now = execution.clock().now();
            let late = now >= made.ends;
            if late && matches!(verdict, Verdict::Transient { .. } | Verdict::Lost) {
                verdict = Verdict::Timeout;
            }
            execution.ended(active, verdict, now);
            if result.is_some() {
                last = result;
            }
            if verdict.is_good() {
                break Stopped::Good;
            }
            match execution.decide(&made, verdict, now) {
                Decision::Stop(why) => break why.into(),
                Decision::Retry { after, .. } => {
                    let ended = now;
                    if execution.may_repair()
                        && let Some(outcome) = self.repair.repair(error(&last), made)
                    {
                        let now = execution.clock().now();
                        execution.repaired(ended, Some(outcome), now);
                    }
                    execution.clock().pause_until(ended + after);
                    now = execution.clock().now();
                    execution.waited(now.since(ended));
                }
            }
        };
        execution.finish(why, last, now)
    }

    /// Makes the call on this thread, and uses `fallback` if it fails. If the fallback fails as well, the call's own error is
    /// returned.
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

    /// Makes the call on this thread, and falls back to the value of an earlier call with the same key; the value of a call that
    /// succeeds is stored.
    pub fn run_blocking_or_stale<T, E, F>(
        self,
        values: &StaleValues<T>,
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
        if let Some(recovered) = stale_values::without_call(recovery, &call, values, key) {
            return recovered;
        }
        let mut recovered = self.run_blocking(attempt);
        stale_values::after_call(recovery, &call, values, key, &mut recovered);
        recovered
    }
}

/// The error of the last attempt, if there is one.
fn error<T, E>(last: &Option<Result<T, E>>) -> Option<&E> {
    last.as_ref().and_then(|last| last.as_ref().err())
}

/// Begins an attempt as soon as it is admitted. `now` becomes the time of that, or of the rejection.
fn admit<'p, C: BlockingClock>(
    execution: &mut Execution<'p, C>,
    pick: &mut impl PickServer,
    now: &mut Instant,
) -> Result<ActiveAttempt<'p>, Stopped> {
    if !execution.may_wait() {
        return execution.start_at_once(pick, *now);
    }
    let mut pending = execution.select_server(pick, false, *now)?;
    if let Some(ticket) = execution.enter_rate(&mut pending, *now)? {
        let since = *now;
        pending.release_server_permits();
        let token = wait_for_token(execution.clock(), ticket);
        *now = execution.clock().now();
        execution.waited_for_token(&mut pending, token, since, *now)?;
    }
    if let Some(waiting) = execution.enter_limit(&mut pending, *now)? {
        let since = *now;
        pending.release_server_permits();
        let left = leave_queue(execution.clock(), waiting);
        *now = execution.clock().now();
        execution.left_queue(&mut pending, left, since, *now)?;
    }
    execution.start(pending, false, *now)
}

/// Unparks a thread.
struct ThreadWaker(Thread);

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait_for_token<C: BlockingClock>(clock: &C, mut ticket: RateTicket) -> RateToken {
    let waker = Waker::from(Arc::new(ThreadWaker(thread::current())));
    loop {
        match ticket.poll(clock.now(), &waker) {
            Ok(token) => return token,
            Err(at) => clock.park_until(at),
        }
    }
}

/// A slot, or why there is none.
fn leave_queue<'p, C: BlockingClock>(
    clock: &C,
    mut waiting: QueuedAttempt<'p>,
) -> Result<LimitPermit<'p>, Stopped> {
    let waker = Waker::from(Arc::new(ThreadWaker(thread::current())));
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

/// Waits for an injected fault; the verdict of the attempt, if it is not made.
fn meet_fault<C: BlockingClock>(
    clock: &C,
    fault: PendingFault,
    attempt: &Attempt,
) -> Option<Verdict> {
    clock.pause_until(fault.until.min(attempt.ends));
    if fault.until >= attempt.ends {
        Some(Verdict::Timeout)
    } else {
        fault.abort.then_some(Verdict::Injected)
    }
}
