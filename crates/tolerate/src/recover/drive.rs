//! Runs a call on an async runtime: polls its attempts beside one timer, and asks the [`Course`] at every turn.
//!
//! The first attempt's future lives in this one, so a call that works at once allocates nothing. A timer is made only when an
//! attempt is not ready at its first poll. Only second attempts (hedges) are boxed. Everything is dropped with the future:
//! attempts, places, passes; whoever loses a race is dropped, which is what cancelling is in Rust.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use evenkeel_core::Instant;

use super::course::{Begun, Course};
use super::enter::{enter, poll_timer};
use super::kept;
use super::{Attempt, Classify, Kept, Pick, Recovered, Repair, Run, Stopped};
use crate::clock::Sleep;
use crate::{Decision, Race, Turn, Verdict};

impl<C: Sleep, K, P: Pick, R> Run<'_, C, K, P, R> {
    /// Makes the call: `attempt` is asked for a future for each attempt.
    pub async fn run<T, E, F, A>(mut self, mut attempt: F) -> Recovered<T, E>
    where
        F: FnMut(Attempt) -> A,
        A: Future<Output = Result<T, E>>,
        K: Classify<T, E>,
        R: Repair<E>,
    {
        let mut course = Course::begin(&self.recovery.shared, self.call);
        let mut last = None;
        let mut now = course.started();
        let why = loop {
            let begun = if course.may_wait() {
                enter(&mut course, &mut self.pick, &mut now).await
            } else {
                course.enter_at_once(&mut self.pick, now)
            };
            let begun = match begun {
                Ok(begun) => begun,
                Err(why) => break why,
            };
            let first = begun.is_real().then(|| attempt(begun.attempt));
            let ended = Round::new(&mut course, begun)
                .race(pin!(first), &mut attempt, &self.classify, &mut self.pick)
                .await;
            if ended.result.is_some() {
                last = ended.result;
            }
            if ended.verdict.is_good() {
                now = ended.at;
                break Stopped::Good;
            }
            match course.decide(&ended.attempt, ended.verdict, ended.at) {
                Decision::Stop(why) => {
                    now = ended.at;
                    break why.into();
                }
                Decision::Retry { after, .. } => {
                    let until = ended.at + after;
                    let error = last.as_ref().and_then(|last| last.as_ref().err());
                    mend(&mut course, &mut self.repair, error, ended.attempt).await;
                    wait_until(&course, until).await;
                    now = course.clock().now();
                    course.waited(now.since(ended.at));
                }
            }
        };
        course.finish(why, last, now)
    }

    /// The same with something to fall back to, if the call did not work: the answer of another service, a cached one, a
    /// constant. It may fail, too; then the call's own error is returned, and never hidden behind the fallback's.
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

    /// The same with the value of an earlier call to fall back to, by a key of the program's own: what works is kept. See [`Kept`] for
    /// values that are given without a call.
    pub async fn run_or_kept<T, E, F, A>(
        self,
        kept: &Kept<T>,
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
        if let Some(recovered) = kept::without_call(recovery, &call, kept, key) {
            return recovered;
        }
        let mut recovered = self.run(attempt).await;
        kept::after_call(recovery, &call, kept, key, &mut recovered);
        recovered
    }
}

/// Runs the repair function, until the deadline at most.
async fn mend<C: Sleep, E>(
    course: &mut Course<'_, C>,
    repair: &mut impl Repair<E>,
    error: Option<&E>,
    attempt: Attempt,
) {
    if !course.may_repair() {
        return;
    }
    let Some(mut repairing) = repair.repair(error, attempt) else {
        return;
    };
    let clock = course.clock();
    let began = clock.now();
    let end = course.deadline().end();
    let mut timer = pin!(None);
    let outcome = poll_fn(|context| {
        if let Poll::Ready(outcome) = repairing.as_mut().poll(context) {
            return Poll::Ready(Some(outcome));
        }
        poll_timer(clock, timer.as_mut(), end, context).map(|()| None)
    })
    .await;
    course.repaired(began, outcome, clock.now());
}

pub(super) async fn wait_until<C: Sleep>(course: &Course<'_, C>, until: Instant) {
    let clock = course.clock();
    if until > clock.now() {
        clock.sleep_until(until).await;
    }
}

/// How a round ended.
struct RoundEnd<T, E> {
    /// Of the attempt that decides.
    attempt: Attempt,
    /// None for one that took too long.
    result: Option<Result<T, E>>,
    verdict: Verdict,
    at: Instant,
}

/// A second attempt.
struct Beside<'p, A> {
    begun: Begun<'p>,
    /// None if it is aborted on purpose.
    future: Option<Pin<Box<A>>>,
}

/// One attempt and those beside it, until one of them decides.
struct Round<'c, 'p, C: Sleep, A> {
    course: &'c mut Course<'p, C>,
    first: Option<Begun<'p>>,
    beside: Vec<Beside<'p, A>>,
    race: Race,
}

/// What happened first.
enum Woke<T, E> {
    First(Result<T, E>),
    Beside(usize, Result<T, E>),
    Time,
}

impl<'c, 'p, C: Sleep, A> Round<'c, 'p, C, A> {
    fn new(course: &'c mut Course<'p, C>, first: Begun<'p>) -> Self {
        let race = course.race(first.attempt.began);
        Self {
            course,
            first: Some(first),
            beside: Vec::new(),
            race,
        }
    }

    async fn race<T, E, F>(
        mut self,
        mut first: Pin<&mut Option<A>>,
        make: &mut F,
        classify: &impl Classify<T, E>,
        pick: &mut impl Pick,
    ) -> RoundEnd<T, E>
    where
        F: FnMut(Attempt) -> A,
        A: Future<Output = Result<T, E>>,
    {
        let mut failed = None;
        loop {
            let woke = self.next(first.as_mut()).await;
            let now = self.course.clock().now();
            let ended = match woke {
                Woke::First(result) => {
                    first.set(None);
                    let begun = self.first.take().expect("it was polled");
                    Some(self.ended(begun, result, classify, now))
                }
                Woke::Beside(place, result) => {
                    let beside = self.beside.swap_remove(place);
                    drop(beside.future);
                    let ended = self.ended(beside.begun, result, classify, now);
                    if ended.0.verdict.is_good() {
                        self.course.hedge_won(now);
                    }
                    Some(ended)
                }
                Woke::Time => {
                    let late = self.expire(first.as_mut(), now);
                    let late = late.or_else(|| self.release(now));
                    if late.is_none() && self.race.is_due(now) {
                        self.hedge(make, pick, now);
                    }
                    late
                }
            };
            let Some((mut ended, turn)) = ended else {
                continue;
            };
            if turn == Turn::Over {
                // An error that is at hand tells more than that the last one was late.
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

    /// Waits until an attempt is ready, or one is late, or a hedge is due.
    async fn next<T, E>(&mut self, mut first: Pin<&mut Option<A>>) -> Woke<T, E>
    where
        A: Future<Output = Result<T, E>>,
    {
        let Some(at) = self.next_moment() else {
            return Woke::Time;
        };
        let clock = self.course.clock();
        let is_held = self.first.as_ref().is_some_and(|it| it.hold.is_some());
        let beside = &mut self.beside;
        let mut timer = pin!(None);
        poll_fn(|context| {
            if !is_held
                && let Some(first) = first.as_mut().as_pin_mut()
                && let Poll::Ready(result) = first.poll(context)
            {
                return Poll::Ready(Woke::First(result));
            }
            for (place, beside) in beside.iter_mut().enumerate() {
                if beside.begun.hold.is_none()
                    && let Some(future) = &mut beside.future
                    && let Poll::Ready(result) = future.as_mut().poll(context)
                {
                    return Poll::Ready(Woke::Beside(place, result));
                }
            }
            poll_timer(clock, timer.as_mut(), at, context).map(|()| Woke::Time)
        })
        .await
    }

    /// When it is time to look, if nothing is ready before; nothing if that is now.
    fn next_moment(&self) -> Option<Instant> {
        let begun = self.beside.iter().map(|beside| &beside.begun);
        let begun = begun.chain(&self.first);
        if begun.clone().any(Begun::meets_a_fault_at_once) {
            return None;
        }
        let ends = begun.map(|begun| match begun.hold {
            None => begun.attempt.ends,
            Some(hold) => begun.attempt.ends.min(hold.until),
        });
        let first = ends.chain(self.race.due()).min();
        Some(first.unwrap_or(Instant::NEVER))
    }

    fn ended<T, E>(
        &mut self,
        begun: Begun<'p>,
        result: Result<T, E>,
        classify: &impl Classify<T, E>,
        at: Instant,
    ) -> (RoundEnd<T, E>, Turn) {
        let attempt = begun.attempt;
        let verdict = classify.verdict(&result);
        self.course.ended(begun, verdict, at);
        let end = RoundEnd {
            attempt,
            result: Some(result),
            verdict,
            at,
        };
        let decides = matches!(verdict, Verdict::Good | Verdict::Fatal);
        (end, self.race.ended(decides))
    }

    /// Drops the attempts that are late; the last of them, if there was one.
    fn expire<T, E>(
        &mut self,
        mut first: Pin<&mut Option<A>>,
        at: Instant,
    ) -> Option<(RoundEnd<T, E>, Turn)> {
        let mut late = None;
        if let Some(begun) = self.first.take_if(|begun| begun.attempt.ends <= at) {
            first.set(None);
            late = Some(self.failed(begun, Verdict::Timeout, at));
        }
        let is_late = |beside: &Beside<'p, A>| beside.begun.attempt.ends <= at;
        while let Some(place) = self.beside.iter().position(is_late) {
            let Beside { begun, future } = self.beside.swap_remove(place);
            drop(future);
            late = Some(self.failed(begun, Verdict::Timeout, at));
        }
        late
    }

    /// Lets those go on whose delay on purpose is over; one that is aborted on purpose, if there was one.
    fn release<T, E>(&mut self, at: Instant) -> Option<(RoundEnd<T, E>, Turn)> {
        let is_aborted =
            |begun: &Begun<'p>| begun.hold.is_some_and(|it| it.until <= at && it.abort);
        let mut aborted = self.first.take_if(|begun| is_aborted(begun));
        if aborted.is_none()
            && let Some(place) = self.beside.iter().position(|it| is_aborted(&it.begun))
        {
            aborted = Some(self.beside.swap_remove(place).begun);
        }
        if let Some(begun) = aborted {
            return Some(self.failed(begun, Verdict::Injected, at));
        }
        let beside = self.beside.iter_mut().map(|beside| &mut beside.begun);
        for begun in beside.chain(&mut self.first) {
            begun.hold.take_if(|hold| hold.until <= at);
        }
        None
    }

    /// An attempt that has no result of its own.
    fn failed<T, E>(
        &mut self,
        begun: Begun<'p>,
        verdict: Verdict,
        at: Instant,
    ) -> (RoundEnd<T, E>, Turn) {
        let end = RoundEnd {
            attempt: begun.attempt,
            result: None,
            verdict,
            at,
        };
        self.course.ended(begun, verdict, at);
        (end, self.race.ended(false))
    }

    fn hedge<F: FnMut(Attempt) -> A>(&mut self, make: &mut F, pick: &mut impl Pick, now: Instant) {
        // When hedges have used their share it is put off: what hangs is hedged as soon as there is one again.
        if !self.course.live.may_hedge() {
            return self.race.postpone(now);
        }
        let Some(begun) = self.course.start_hedge(pick, now) else {
            return self.race.no_more();
        };
        let future = begun.is_real().then(|| Box::pin(make(begun.attempt)));
        self.beside.push(Beside { begun, future });
        self.race.joined(now);
    }

    /// Drops what is still under way.
    fn cancel(&mut self, now: Instant) {
        let first = self.first.take();
        for Beside { begun, future } in self.beside.drain(..) {
            drop(future);
            self.course.cancelled(begun, now);
        }
        if let Some(begun) = first {
            self.course.cancelled(begun, now);
        }
    }
}
