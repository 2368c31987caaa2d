//! Runs a call on an async runtime.
//!
//! The first attempt's future is part of the call's, so a call that succeeds at once allocates nothing. Everything is dropped with
//! the future: attempts and permits. A hedged attempt that loses the race is dropped, which is what cancelling means in Rust.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use evenkeel_core::Instant;

use super::PreparedCall;
use super::execution::Execution;
use super::round::AttemptRound;
use super::wait_async::{admit, poll_timer};
use crate::Decision;
use crate::clock::AsyncClock;
use crate::policy::{
    Attempt, Classify, PickServer, Recovered, Repair, StaleValues, Stopped, stale_values,
};

impl<C: AsyncClock, K, P: PickServer, R> PreparedCall<'_, C, K, P, R> {
    /// Makes the call. `attempt` returns the future of each attempt.
    pub async fn run<T, E, F, A>(mut self, mut attempt: F) -> Recovered<T, E>
    where
        F: FnMut(Attempt) -> A,
        A: Future<Output = Result<T, E>>,
        K: Classify<T, E>,
        R: Repair<E>,
    {
        let mut execution = Execution::begin(&self.recovery.shared, self.call);
        let mut last = None;
        let mut now = execution.started();
        let why = loop {
            let active = if execution.may_wait() {
                admit(&mut execution, &mut self.pick, &mut now).await
            } else {
                execution.start_at_once(&mut self.pick, now)
            };
            let active = match active {
                Ok(active) => active,
                Err(why) => break why,
            };
            let first = active.is_made().then(|| attempt(active.attempt));
            let ended = AttemptRound::new(&mut execution, active)
                .race(pin!(first), &mut attempt, &self.classify, &mut self.pick)
                .await;
            if ended.result.is_some() {
                last = ended.result;
            }
            if ended.verdict.is_good() {
                now = ended.at;
                break Stopped::Good;
            }
            match execution.decide(&ended.attempt, ended.verdict, ended.at) {
                Decision::Stop(why) => {
                    now = ended.at;
                    break why.into();
                }
                Decision::Retry { after, .. } => {
                    let until = ended.at + after;
                    let error = last.as_ref().and_then(|last| last.as_ref().err());
                    run_repair(&mut execution, &mut self.repair, error, ended.attempt).await;
                    wait_until(&execution, until).await;
                    now = execution.clock().now();
                    execution.waited(now.since(ended.at));
                }
            }
        };
        execution.finish(why, last, now)
    }

    /// Makes the call, and uses `fallback` if it fails: the response of another service, a cached one, a constant. If the fallback
    /// fails as well, the call's own error is returned.
    pub async fn run_or_else<T, E, F, A, G, B>(self, attempt: F, fallback: G) -> Recovered<T, E>
    where
        F: FnMut(Attempt) -> A,
        A: Future<Output = Result<T, E>>,
        K: Classify<T, E>,
        R: Repair<E>,
        G: FnOnce(Stopped) -> B,
        B: Future<Output = Result<T, E>>,
    {
        let (recovery, call) = (self.recovery, self.call);
        let mut recovered = self.run(attempt).await;
        if !recovered.is_good() {
            let other = fallback(recovered.stopped).await;
            recovery.shared.fell_back(&call, &mut recovered, other);
        }
        recovered
    }

    /// Makes the call, and falls back to the value of an earlier call with the same key; the value of a call that succeeds is
    /// stored. See [`StaleValues`] for values that are returned without a call.
    pub async fn run_or_stale<T, E, F, A>(
        self,
        values: &StaleValues<T>,
        key: &[u8],
        attempt: F,
    ) -> Recovered<T, E>
    where
        F: FnMut(Attempt) -> A,
        A: Future<Output = Result<T, E>>,
        T: Clone,
        K: Classify<T, E>,
        R: Repair<E>,
    {
        let (recovery, call) = (self.recovery, self.call);
        if let Some(recovered) = stale_values::without_call(recovery, &call, values, key) {
            return recovered;
        }
        let mut recovered = self.run(attempt).await;
        stale_values::after_call(recovery, &call, values, key, &mut recovered);
        recovered
    }
}

/// Runs the repair function, up to the deadline.
async fn run_repair<C: AsyncClock, E>(
    execution: &mut Execution<'_, C>,
    repair: &mut impl Repair<E>,
    error: Option<&E>,
    attempt: Attempt,
) {
    if !execution.may_repair() {
        return;
    }
    let Some(mut repairing) = repair.repair(error, attempt) else {
        return;
    };
    let clock = execution.clock();
    let began = clock.now();
    let end = execution.deadline().end();
    let mut timer = pin!(None);
    let outcome = poll_fn(|context| {
        if let Poll::Ready(outcome) = repairing.as_mut().poll(context) {
            return Poll::Ready(Some(outcome));
        }
        poll_timer(clock, timer.as_mut(), end, context).map(|()| None)
    })
    .await;
    execution.repaired(began, outcome, clock.now());
}

async fn wait_until<C: AsyncClock>(execution: &Execution<'_, C>, until: Instant) {
    let clock = execution.clock();
    if until > clock.now() {
        clock.sleep_until(until).await;
    }
}
