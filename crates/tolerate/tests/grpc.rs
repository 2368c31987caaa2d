//! gRPC's retries (gRFC A6) as its own tests have them: throttling, delays and pushback together.

use std::time::Duration;

use evenkeel_core::Random;
use evenkeel_tolerate::{
    BackoffOptions, Capped, Growth, Jitter, Pushback, PushbackOptions, Throttling,
    ThrottlingOptions,
};

/// `TestRetryThrottling` of grpc-go: ten tokens, half a token for a success, a server that answers OK to these attempts only.
#[test]
fn the_sequence_of_retry_throttling() {
    let throttling = Throttling::new(ThrottlingOptions {
        max_tokens: 10.0,
        token_ratio: 0.5,
    });
    let is_ok = |attempt: u32| [0, 3, 6, 10, 11, 12, 13, 14, 16, 18].contains(&attempt);
    let mut next = 0;
    // A call's last attempt, and whether it was answered.
    let mut call = || {
        loop {
            let attempt = next;
            next += 1;
            if is_ok(attempt) {
                throttling.succeeded();
                return (attempt, true);
            }
            if !throttling.failed() {
                return (attempt, false);
            }
        }
    };
    let calls: Vec<_> = (0..12).map(|_| call()).collect();
    let wanted =
        [0, 3, 6, 8, 9, 10, 11, 12, 13, 14, 16, 17].map(|last| (last, ![8, 9, 17].contains(&last)));
    assert_eq!(calls, wanted);
}

#[test]
fn five_failures_in_a_row_stop_it() {
    let throttling = Throttling::new(ThrottlingOptions::default());
    let allowed: Vec<bool> = (0..6).map(|_| throttling.failed()).collect();
    assert_eq!(allowed, [true, true, true, true, false, false]);
    // 4 left of 10; eleven successes at a tenth lift it above half.
    for n in 1..=11 {
        assert!(!throttling.allows(), "{n}");
        throttling.succeeded();
    }
    assert!(throttling.allows());
}

/// A pushback stands in place of the delay; one that forbids ends it.
#[test]
fn delays_and_pushback() {
    let waits = BackoffOptions {
        base: Duration::from_millis(100),
        growth: Growth::Exponential(2.0),
        jitter: Jitter::Proportional(0.2),
        cap: Duration::from_secs(1),
        capped: Capped::BeforeSpread,
    };
    let heeded = PushbackOptions::grpc();
    let mut rng = Random::seeded(9);
    for (n, nominal) in [100.0, 200.0, 400.0, 800.0, 1_000.0, 1_000.0]
        .into_iter()
        .enumerate()
    {
        let own = waits.delay(n as u32, &mut rng);
        let part = own.as_secs_f64() * 1e3 / nominal;
        assert!((0.8..=1.2).contains(&part), "{n}: {own:?}");
        let mut of = |value: &[u8]| heeded.delay(Pushback::grpc([value]), own, &mut rng);
        assert_eq!(of(b"1000"), Some(Duration::from_secs(1)));
        assert_eq!(of(b"-1"), None);
        assert_eq!(of(b"later"), None);
    }
}
