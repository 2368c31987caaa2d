//! One attempt and its hedges: polls them beside one timer, until one of them decides.
//!
//! A timer is made only when no attempt is ready at its first poll. Only hedges are boxed.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use evenkeel_core::Instant;

use super::execution::{ActiveAttempt, Execution};
use super::wait_async::poll_timer;
use crate::clock::AsyncClock;
use crate::policy::{Attempt, Classify, PickServer};
use crate::{HedgeRace, RaceOutcome, Verdict};

/// The end of a round.
pub(super) struct RoundEnd<T, E> {
    /// The attempt that decides.
    pub(super) attempt: Attempt,
    /// `None` for one that timed out.
    pub(super) result: Option<Result<T, E>>,
    pub(super) verdict: Verdict,
    pub(super) at: Instant,
}

/// An attempt beside the first one.
struct RunningHedge<'p, A> {
    active: ActiveAttempt<'p>,
    /// `None` if an injected fault aborts it.
    future: Option<Pin<Box<A>>>,
}

/// An attempt and its hedges, until one of them decides.
pub(super) struct AttemptRound<'c, 'p, C: AsyncClock, A> {
    execution: &'c mut Execution<'p, C>,
    first: Option<ActiveAttempt<'p>>,
    hedged: Vec<RunningHedge<'p, A>>,
    race: HedgeRace,
}

/// What happens next in a round.
enum RoundEvent<T, E> {
    First(Result<T, E>),
    Hedge(usize, Result<T, E>),
    Timer,
}

impl<'c, 'p, C: AsyncClock, A> AttemptRound<'c, 'p, C, A> {
    pub(super) fn new(execution: &'c mut Execution<'p, C>, first: ActiveAttempt<'p>) -> Self {
        let race = execution.race(first.attempt.began);
        Self {
            execution,
            first: Some(first),
            hedged: Vec::new(),
            race,
        }
    }

    pub(super) async fn race<T, E, F>(
        mut self,
        mut first: Pin<&mut Option<A>>,
        make: &mut F,
        classify: &impl Classify<T, E>,
        pick: &mut impl PickServer,
    ) -> RoundEnd<T, E>
    where
        F: FnMut(Attempt) -> A,
        A: Future<Output = Result<T, E>>,
    {
        let mut failed = None;
        loop {
            let event = self.next(first.as_mut()).await;
            let now = self.execution.clock().now();
            let ended = match event {
                RoundEvent::First(result) => {
                    first.set(None);
                    let active = self.first.take().expect("it was polled");
                    Some(self.ended(active, result, classify, now))
                }
                RoundEvent::Hedge(index, result) => {
                    let hedged = self.hedged.swap_remove(index);
                    drop(hedged.future);
                    let ended = self.ended(hedged.active, result, classify, now);
                    if ended.0.verdict.is_good() {
                        self.execution.hedge_won(now);
                    }
                    Some(ended)
                }
                RoundEvent::Timer => {
                    let late = self.expire(first.as_mut(), now);
                    let late = late.or_else(|| self.end_faults(now));
                    if late.is_none() && self.race.is_due(now) {
                        self.hedge(make, pick, now);
                    }
                    late
                }
            };
            let Some((mut ended, outcome)) = ended else {
                continue;
            };
            if outcome == RaceOutcome::Decided {
                // An earlier error says more than that the last attempt timed out.
                if ended.result.is_none() {
                    ended.result = failed;
                }
                first.set(None);
                self.cancel(now);
                return ended;
            }
            failed = ended.result.or(failed);
        }
    }

    /// Waits until an attempt is ready, or one has timed out, or a hedge is due.
    async fn next<T, E>(&mut self, mut first: Pin<&mut Option<A>>) -> RoundEvent<T, E>
    where
        A: Future<Output = Result<T, E>>,
    {
        let Some(at) = self.next_moment() else {
            return RoundEvent::Timer;
        };
        let clock = self.execution.clock();
        let is_delayed = self.first.as_ref().is_some_and(|it| it.fault.is_some());
        let hedged = &mut self.hedged;
        let mut timer = pin!(None);
        poll_fn(|context| {
            if !is_delayed
                && let Some(first) = first.as_mut().as_pin_mut()
                && let Poll::Ready(result) = first.poll(context)
            {
                return Poll::Ready(RoundEvent::First(result));
            }
            for (index, hedged) in hedged.iter_mut().enumerate() {
                if hedged.active.fault.is_none()
                    && let Some(future) = &mut hedged.future
                    && let Poll::Ready(result) = future.as_mut().poll(context)
                {
                    return Poll::Ready(RoundEvent::Hedge(index, result));
                }
            }
            poll_timer(clock, timer.as_mut(), at, context).map(|()| RoundEvent::Timer)
        })
        .await
    }

    /// When the timer is due; `None` if that is now.
    fn next_moment(&self) -> Option<Instant> {
        let active = self.hedged.iter().map(|hedged| &hedged.active);
        let active = active.chain(&self.first);
        if active.clone().any(ActiveAttempt::has_immediate_fault) {
            return None;
        }
        let ends = active.map(|active| match active.fault {
            None => active.attempt.ends,
            Some(fault) => active.attempt.ends.min(fault.until),
        });
        let first = ends.chain(self.race.due()).min();
        Some(first.unwrap_or(Instant::NEVER))
    }

    fn ended<T, E>(
        &mut self,
        active: ActiveAttempt<'p>,
        result: Result<T, E>,
        classify: &impl Classify<T, E>,
        at: Instant,
    ) -> (RoundEnd<T, E>, RaceOutcome) {
        let attempt = active.attempt;
        let verdict = classify.verdict(&result);
        self.execution.ended(active, verdict, at);
        let end = RoundEnd {
            attempt,
            result: Some(result),
            verdict,
            at,
        };
        let decides = matches!(verdict, Verdict::Good | Verdict::Fatal);
        (end, self.race.ended(decides))
    }

    /// Drops the attempts that have timed out; the last of them, if there was one.
    fn expire<T, E>(
        &mut self,
        mut first: Pin<&mut Option<A>>,
        at: Instant,
    ) -> Option<(RoundEnd<T, E>, RaceOutcome)> {
        let mut late = None;
        if let Some(active) = self.first.take_if(|active| active.attempt.ends <= at) {
            first.set(None);
            late = Some(self.failed(active, Verdict::Timeout, at));
        }
        let is_late = |hedged: &RunningHedge<'p, A>| hedged.active.attempt.ends <= at;
        while let Some(index) = self.hedged.iter().position(is_late) {
            let RunningHedge { active, future } = self.hedged.swap_remove(index);
            drop(future);
            late = Some(self.failed(active, Verdict::Timeout, at));
        }
        late
    }

    /// Ends injected delays that are over; an attempt that an injected fault aborts, if there is one.
    fn end_faults<T, E>(&mut self, at: Instant) -> Option<(RoundEnd<T, E>, RaceOutcome)> {
        let is_aborted =
            |active: &ActiveAttempt<'p>| active.fault.is_some_and(|it| it.until <= at && it.abort);
        let mut aborted = self.first.take_if(|active| is_aborted(active));
        if aborted.is_none()
            && let Some(index) = self.hedged.iter().position(|it| is_aborted(&it.active))
        {
            aborted = Some(self.hedged.swap_remove(index).active);
        }
        if let Some(active) = aborted {
            return Some(self.failed(active, Verdict::Injected, at));
        }
        let hedged = self.hedged.iter_mut().map(|hedged| &mut hedged.active);
        for active in hedged.chain(&mut self.first) {
            active.fault.take_if(|fault| fault.until <= at);
        }
        None
    }

    /// An attempt that has no result of its own.
    fn failed<T, E>(
        &mut self,
        active: ActiveAttempt<'p>,
        verdict: Verdict,
        at: Instant,
    ) -> (RoundEnd<T, E>, RaceOutcome) {
        let end = RoundEnd {
            attempt: active.attempt,
            result: None,
            verdict,
            at,
        };
        self.execution.ended(active, verdict, at);
        (end, self.race.ended(false))
    }

    fn hedge<F: FnMut(Attempt) -> A>(
        &mut self,
        make: &mut F,
        pick: &mut impl PickServer,
        now: Instant,
    ) {
        // When hedges have used their share it is postponed: an attempt that hangs is hedged as soon as the share allows it.
        if !self.execution.active.may_hedge() {
            return self.race.postpone(now);
        }
        let Some(active) = self.execution.hedge(pick, now) else {
            return self.race.stop_hedging();
        };
        let future = active.is_made().then(|| Box::pin(make(active.attempt)));
        self.hedged.push(RunningHedge { active, future });
        self.race.hedge_started(now);
    }

    /// Drops the attempts that are still under way.
    fn cancel(&mut self, now: Instant) {
        let first = self.first.take();
        for RunningHedge { active, future } in self.hedged.drain(..) {
            drop(future);
            self.execution.cancelled(active, now);
        }
        if let Some(active) = first {
            self.execution.cancelled(active, now);
        }
    }
}
