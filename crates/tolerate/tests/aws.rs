//! The published cases of the AWS retry specification, versions 2.0 and 2.1: the delays of the back-off, and what a server's
//! pushback makes of them. The random factor is 1, as in the specification. Its retry quota is not part of this crate: a
//! [`Budget`](evenkeel_tolerate::Budget) pays for retries.

use std::time::Duration;

use evenkeel_core::Random;
use evenkeel_tolerate::{BackoffOptions, Growth, Jitter, Pushback, PushbackOptions};

/// The delays before the first retries in milliseconds, with base and cap in milliseconds.
fn delays(base: u64, cap: u64, retries: u32) -> Vec<u128> {
    (0..retries)
        .map(|n| delay(base, cap, n, Pushback::None))
        .collect()
}

fn delay(base: u64, cap: u64, n: u32, pushback: Pushback) -> u128 {
    let options = BackoffOptions {
        base: Duration::from_millis(base),
        growth: Growth::Exponential(2.0),
        jitter: Jitter::None,
        cap: Duration::from_millis(cap),
        ..BackoffOptions::default()
    };
    let mut random = Random::seeded(1);
    let own = options.delay(n, &mut random);
    let delay = PushbackOptions::aws().delay(pushback, own, &mut random);
    delay.expect("AWS never forbids a retry").as_millis()
}

#[test]
fn version_2_0() {
    assert_eq!(delays(1_000, 20_000, 4), [1_000, 2_000, 4_000, 8_000]);
    assert_eq!(delays(1_000, 3_000, 4), [1_000, 2_000, 3_000, 3_000]);
}

/// 50 ms for errors, 1 s after throttling, 25 ms for DynamoDB.
#[test]
fn version_2_1() {
    assert_eq!(delays(50, 20_000, 2), [50, 100]);
    assert_eq!(delays(1_000, 20_000, 1), [1_000]);
    assert_eq!(delays(25, 20_000, 3), [25, 50, 100]);
}

/// The value of `x-amz-retry-after` is clamped to between the own delay and five seconds more; an invalid one is ignored.
#[test]
fn version_2_1_header() {
    for (value, expected) in [
        ("1500", 1_500),
        ("0", 50),
        ("10000", 5_050),
        ("invalid", 50),
        ("-1", 50),
    ] {
        let pushback = Pushback::milliseconds(value.as_bytes());
        assert_eq!(delay(50, 20_000, 0, pushback), expected, "{value}");
    }
}
