//! Nothing leaks wherever a call is dropped, and there is never more than is allowed.

use crate::common::hedged;
use crate::common::millis;
use crate::common::policy;
use crate::common::usual;
use crate::gates::Turnstile;
use crate::{Alive, CALL};
use evenkeel_core::Instant;
use evenkeel_tolerate::Call;
use evenkeel_tolerate::HedgeAfter;
use evenkeel_tolerate::HedgeOptions;
use evenkeel_tolerate::LimitOptions;
use evenkeel_tolerate::Recovery;
use evenkeel_tolerate::Repaired;
use evenkeel_tolerate::Stopped;
use evenkeel_tolerate::Verdict;
use evenkeel_tolerate::clock::AsyncClock;
use evenkeel_tolerate::clock::Clock;
use evenkeel_tolerate::clock::VirtualClock;
use evenkeel_tolerate::policy::Gate;
use proptest::collection::vec;
use proptest::prelude::*;
use std::cell::Cell;
use std::future::Future;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

/// A long way with everything on it: a timeout, a hedge beside it, a repair, a back-off, an answer.
async fn long_way(
    policy: &Recovery<VirtualClock>,
    clock: &VirtualClock,
    alive: &Arc<AtomicI64>,
) -> Stopped {
    let recovered = policy
        .call(CALL)
        .repair(|_: Option<&()>, _| {
            let clock = clock.clone();
            Box::pin(async move {
                clock.sleep(millis(15)).await;
                Repaired::Nothing
            })
        })
        .run(|attempt| {
            let (clock, alive) = (clock.clone(), Alive::new(alive));
            async move {
                let _alive = alive;
                clock.sleep(millis(3)).await;
                if attempt.number() < 3 {
                    pending().await
                } else {
                    clock.sleep(millis(4)).await;
                    Ok::<_, ()>(())
                }
            }
        })
        .await;
    recovered.stopped()
}

#[test]
fn nothing_leaks_wherever_the_call_is_dropped() {
    for polls in 0_u64.. {
        let gate = Arc::new(Turnstile::default());
        let clock = VirtualClock::new();
        let policy = Recovery::named("leaks")
            .options(hedged(50))
            .limit(LimitOptions::Fixed(4))
            .gate(Arc::clone(&gate) as Arc<dyn Gate>)
            .clock(clock.clone())
            .build()
            .expect("no errors");
        let alive = Arc::new(AtomicI64::new(0));
        let mut done = None;
        {
            let mut way = pin!(long_way(&policy, &clock, &alive));
            let mut context = Context::from_waker(Waker::noop());
            for _ in 0..polls {
                if let Poll::Ready(stopped) = way.as_mut().poll(&mut context) {
                    done = Some(stopped);
                    break;
                }
                clock.pass(millis(1));
            }
        }
        assert_eq!(
            alive.load(Ordering::Relaxed),
            0,
            "futures after {polls} polls"
        );
        assert_eq!(
            gate.inside.load(Ordering::Relaxed),
            0,
            "passes after {polls} polls"
        );
        assert_eq!(
            policy.limit().map(|it| it.in_flight),
            Some(0),
            "{polls} polls"
        );
        assert_eq!(clock.waiting(), 0, "timers after {polls} polls");
        let counted = policy.counters();
        assert_eq!(counted.calls + counted.abandoned, u64::from(polls > 0));
        if let Some(stopped) = done {
            assert_eq!(stopped, Stopped::Good);
            assert!(polls > 300, "it went all the way: {polls} polls");
            break;
        }
    }
}

proptest! {
    /// Whatever the attempts do: no more of them than the limits and the budget allow, none begins at or after the
    /// deadline, the call is over by then, and nothing is left behind.
    #[test]
    fn never_more_than_is_allowed(
        script in vec((0_u64..500, 0_u8..6), 0..12),
        (retries, timeouts, tokens, repeats) in (0_u32..4, 0_u32..3, 0_u32..4, 0_u8..3),
        hedge in proptest::option::of((1_u64..300, 0_u32..3)),
    ) {
        let mut options = usual();
        (options.retries, options.retries_after_timeout) = (retries, timeouts);
        options.budget.burst = f64::from(tokens);
        options.budget.ratio = 0.0;
        options.limit = Some(LimitOptions::Fixed(3));
        options.hedge = hedge.map(|(after, limit)| HedgeOptions {
            after: HedgeAfter::Delay(millis(after)), limit, ..HedgeOptions::default()
        });
        let (clock, policy) = policy(options);
        let call = [Call::idempotent("p"), Call::keyed("p"), Call::once("p")][usize::from(repeats)];
        let sent = Cell::new(false);
        let overlapped = Cell::new(0);
        let running = Cell::new(0_u32);
        let run = policy.call(call)
            .classify_by(|result: &Result<(), Verdict>| result.err().unwrap_or(Verdict::Good))
            .run(|attempt| {
                assert!(clock.now() < Instant::from_millis(1_000), "an attempt after the deadline");
                assert!(!(call.idempotency() == evenkeel_tolerate::Idempotency::Once && sent.get()), "made twice");
                let (took, kind) = script.get(attempt.number() as usize - 1).copied().unwrap_or((700, 0));
                let (clock, sent, running, overlapped) = (clock.clone(), &sent, &running, &overlapped);
                async move {
                    sent.set(true);
                    running.set(running.get() + 1);
                    overlapped.set(overlapped.get().max(running.get()));
                    let leave = Leave(running);
                    clock.sleep_until(clock.now() + millis(took)).await;
                    drop(leave);
                    let verdict = match kind {
                        0 => return Ok(()),
                        1 => Verdict::TRANSIENT,
                        2 => Verdict::Throttled { wait: Some(millis(took)) },
                        3 => Verdict::Fatal,
                        4 => Verdict::Lost,
                        _ => { sent.set(false); Verdict::Unsent }
                    };
                    Err(verdict)
                }
            });
        let recovered = clock.run(run);
        let counted = policy.counters();
        let paid = counted.retries - counted.free_retries + counted.hedges;
        prop_assert!(paid <= u64::from(tokens));
        prop_assert!(counted.retries - counted.free_retries <= u64::from(retries));
        prop_assert!(counted.retries_after_timeout <= u64::from(timeouts));
        prop_assert!(counted.hedges <= u64::from(hedge.map_or(0, |(_, limit)| limit)));
        prop_assert_eq!(u64::from(recovered.report().attempts()), 1 + counted.retries + counted.hedges
            - u64::from(recovered.stopped() == Stopped::Deadline && late(&recovered, &counted)));
        prop_assert!(repeats == 0 || overlapped.get() <= 1, "overlapping attempts");
        prop_assert!(clock.now() <= Instant::from_millis(1_000));
        prop_assert_eq!(policy.limit().map(|limit| limit.in_flight), Some(0));
        prop_assert_eq!(clock.waiting(), 0);
    }
}

/// Whether a retry was decided on and its time was over before it began.
fn late<T, E>(
    recovered: &evenkeel_tolerate::Recovered<T, E>,
    counted: &evenkeel_tolerate::policy::CounterSnapshot,
) -> bool {
    u64::from(recovered.report().attempts()) < 1 + counted.retries + counted.hedges
}

struct Leave<'a>(&'a Cell<u32>);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
