//! A throttle lets go within seconds when the server is well again, alone and with a breaker.

use std::cell::Cell;

use evenkeel_core::{Instant, Random};
use evenkeel_tolerate::clock::{AsyncClock, Clock, VirtualClock};
use evenkeel_tolerate::{
    BreakerOptions, Call, Recovery, RecoveryOptions, Stopped, Throttle, ThrottleOptions,
};

use super::common::{millis, options, policy};

const OUTAGE: std::ops::Range<u64> = 20..140;

/// How many of the requests of each second are refused, at so many a second, while a server fails for two minutes.
fn refused(per_second: u64) -> Vec<u64> {
    let throttle = Throttle::new(ThrottleOptions::default());
    let mut random = Random::seeded(5);
    (0..300)
        .map(|second| {
            let mut refused = 0;
            for n in 0..per_second {
                let now = Instant::from_millis(second * 1_000 + n * 1_000 / per_second);
                if throttle.allow(now, &mut random) {
                    throttle.note(now, !OUTAGE.contains(&second));
                } else {
                    refused += 1;
                }
            }
            refused
        })
        .collect()
}

#[test]
fn after_two_minutes_of_outage_it_recovers_within_seconds() {
    for per_second in [2, 5, 20, 100, 1_000] {
        let refused = refused(per_second);
        let sum = |seconds: std::ops::Range<usize>| refused[seconds].iter().sum::<u64>();
        assert_eq!(sum(0..20), 0, "{per_second} a second, before");
        if per_second >= 20 {
            let part = sum(130..140) as f64 / (per_second * 10) as f64;
            assert!((0.85..0.96).contains(&part), "{per_second}: {part}");
        }
        for (second, refused) in refused[130..140].iter().enumerate() {
            assert!(*refused < per_second, "none got through in {second}");
        }
        assert_eq!(
            sum(155..300),
            0,
            "{per_second} a second: {:?}",
            &refused[138..160]
        );
    }
}

#[test]
fn five_failures_at_the_start_reject_nothing() {
    let throttle = Throttle::new(ThrottleOptions::default());
    let mut random = Random::seeded(5);
    for n in 0..10_000 {
        let now = Instant::from_millis(n * 10);
        assert!(throttle.allow(now, &mut random), "{n}");
        throttle.note(now, n >= 5);
    }
}

fn both() -> RecoveryOptions {
    RecoveryOptions {
        throttle: Some(ThrottleOptions::default()),
        breaker: Some(BreakerOptions::default()),
        ..options()
    }
}

fn call(clock: &VirtualClock, policy: &Recovery<VirtualClock>, is_well: bool) -> Stopped {
    let call = policy.call(Call::idempotent("get"));
    let result = if is_well { Ok(()) } else { Err(()) };
    let run = call.run(|_| async { result });
    clock.run(run).stopped()
}

#[test]
fn what_the_breaker_refuses_is_no_failure_of_the_server() {
    let (clock, policy) = policy(both());
    for n in 0..5_000_u64 {
        clock.run(clock.sleep_until(Instant::from_millis(n * 20)));
        let end = call(&clock, &policy, false);
        assert_ne!(end, Stopped::Throttled, "{n}: the breaker acts alone");
    }
    let counts = policy.throttle().unwrap();
    assert!(counts.requests < 40, "only what was sent: {counts:?}");
}

#[test]
fn with_a_breaker_it_recovers_as_soon_as_that_does() {
    let breaker = BreakerOptions {
        consecutive: None,
        open_most: millis(10_000),
        ..BreakerOptions::default()
    };
    let options = RecoveryOptions {
        breaker: Some(breaker),
        ..both()
    };
    let (clock, policy) = policy(options);
    let refused = Cell::new(0);
    for n in 0..12_500_u64 {
        clock.run(clock.sleep_until(Instant::from_millis(n * 20)));
        let second = clock.now().as_nanos() / 1_000_000_000;
        let end = call(&clock, &policy, !OUTAGE.contains(&second));
        // The breaker's last open time is over by then.
        if second >= 170 && end != Stopped::Good {
            refused.set(refused.get() + 1);
        }
    }
    assert_eq!(refused.get(), 0);
}
