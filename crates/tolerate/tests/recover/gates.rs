//! What a gate refuses, and what it is told.

use crate::CALL;
use crate::common::millis;
use crate::common::usual;
use evenkeel_core::Instant;
use evenkeel_tolerate::Call;
use evenkeel_tolerate::LimitOptions;
use evenkeel_tolerate::Recovery;
use evenkeel_tolerate::RecoveryOptions;
use evenkeel_tolerate::Stopped;
use evenkeel_tolerate::Verdict;
use evenkeel_tolerate::clock::VirtualClock;
use evenkeel_tolerate::policy::Gate;
use evenkeel_tolerate::policy::GatePass;
use std::cell::Cell;
use std::future::Future;
use std::future::pending;
use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Waker;
use std::time::Duration;

/// Counts passes, and refuses while it is shut.
#[derive(Debug, Default)]
pub(crate) struct Turnstile {
    pub(crate) inside: AtomicI64,
    ended: AtomicI64,
    shut: AtomicI64,
}

impl Gate for Turnstile {
    fn try_pass(&self, _: Option<u32>, now: Instant) -> Result<u64, Instant> {
        if self.shut.load(Ordering::Relaxed) > 0 {
            return Err(now + millis(100));
        }
        self.inside.fetch_add(1, Ordering::Relaxed);
        Ok(7)
    }

    fn ended(&self, passed: GatePass, _: Instant, _: Verdict, _: Duration) {
        assert_eq!(passed.ticket, 7);
        self.inside.fetch_sub(1, Ordering::Relaxed);
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    fn abandoned(&self, passed: GatePass) {
        assert_eq!(passed.ticket, 7);
        self.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn an_open_breaker_and_a_full_limit_stop_a_call() {
    let gate = Arc::new(Turnstile::default());
    let clock = VirtualClock::new();
    let policy = Recovery::named("gated")
        .options(usual())
        .limit(LimitOptions::Fixed(1))
        .gate(Arc::clone(&gate) as Arc<dyn Gate>)
        .clock(clock.clone())
        .build()
        .expect("no errors");
    let mut context = Context::from_waker(Waker::noop());
    {
        let mut holds = pin!(policy.call(CALL).run(|_| pending::<Result<(), ()>>()));
        assert!(holds.as_mut().poll(&mut context).is_pending());
        let shed = clock.run(policy.call(CALL).run(|_| ready(Ok::<_, ()>(()))));
        assert_eq!(shed.stopped(), Stopped::Shed);
        assert_eq!(
            gate.inside.load(Ordering::Relaxed),
            1,
            "the refused one has left"
        );
    }
    assert_eq!(policy.counters().abandoned, 1);
    assert_eq!(policy.limit().map(|limit| limit.in_flight), Some(0));
    gate.shut.store(1, Ordering::Relaxed);
    let open = clock.run(policy.call(CALL).run(|_| ready(Ok::<_, ()>(()))));
    assert_eq!(
        (open.stopped(), open.report().attempts()),
        (Stopped::Open, 0)
    );
    assert_eq!(gate.inside.load(Ordering::Relaxed), 0);
    assert_eq!(gate.ended.load(Ordering::Relaxed), 0);
}

/// A breaker for each server: who fails is not asked, and the call goes on elsewhere or says that it was refused.
#[test]
fn a_breaker_rejects_a_failing_server() {
    use evenkeel_tolerate::BreakerOptions;
    use evenkeel_tolerate::breaker::BreakerState;
    use evenkeel_tolerate::policy::Breakers;

    let clock = VirtualClock::new();
    let breaker = BreakerOptions {
        consecutive: Some(2),
        jitter: 0.0,
        ..BreakerOptions::default()
    };
    let gate = Arc::new(Breakers::new(breaker, 1, 1));
    let policy = Recovery::named("gated")
        .options(RecoveryOptions {
            retries: 1,
            ..usual()
        })
        .seed(1)
        .clock(clock.clone())
        .gate(Arc::clone(&gate) as Arc<dyn Gate>)
        .build()
        .expect("no errors");
    let asked = Cell::new(0);
    let call = |fails: bool| {
        let call = policy.call(Call::idempotent("get")).run(|_| {
            asked.set(asked.get() + 1);
            ready(if fails { Err("down") } else { Ok(()) })
        });
        clock.run(call).stopped()
    };
    call(true);
    assert_eq!(
        (asked.get(), gate.of(None).state()),
        (2, BreakerState::Open)
    );
    assert_eq!(call(false), Stopped::Open);
    assert_eq!(asked.get(), 2, "nobody was asked");
    clock.run(clock.sleep(Duration::from_secs(6)));
    assert_eq!(call(false), Stopped::Good);
    assert_eq!(gate.of(Some(0)).state(), BreakerState::Closed);
}
