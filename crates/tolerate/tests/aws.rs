//! The published cases of the AWS retry specification, versions 2.0 and 2.1: back-off, quota and pushback together. The random
//! factor is 1, as there.

use std::time::Duration;

use evenkeel_core::Random;
use evenkeel_tolerate::quota::{For, Taken};
use evenkeel_tolerate::{
    BackoffOptions, Growth, Jitter, Pushback, PushbackOptions, Quota, QuotaOptions,
};

/// What a server answers.
#[derive(Clone, Copy)]
enum Answer {
    Ok,
    Error,
    Throttled,
    /// An error, with this in `x-amz-retry-after`.
    Asks(&'static str),
}
use Answer::{Asks, Error, Ok, Throttled};

/// Why there was no further attempt.
#[derive(Debug, PartialEq)]
enum End {
    Success,
    Attempts,
    Quota,
}

struct Client {
    quota: Quota,
    attempts: u32,
    base: u64,
    throttled_base: u64,
    cap: u64,
}

fn v2_0() -> Client {
    Client {
        quota: Quota::new(QuotaOptions::aws_2_0()),
        attempts: 3,
        base: 1_000,
        throttled_base: 1_000,
        cap: 20_000,
    }
}

fn v2_1() -> Client {
    Client {
        quota: Quota::new(QuotaOptions::default()),
        base: 50,
        ..v2_0()
    }
}

impl Client {
    fn with_quota(self, tokens: u32) -> Self {
        let options = QuotaOptions::default();
        let (retry, timeout) = if self.base == 1_000 {
            (5, 10)
        } else {
            (options.retry, options.timeout)
        };
        let options = QuotaOptions {
            capacity: tokens,
            retry,
            timeout,
            ..options
        };
        Self {
            quota: Quota::new(options),
            ..self
        }
    }

    /// Each retry's delay in milliseconds with the quota after it was taken, the end, and the quota then.
    fn call(&self, answers: &[Answer]) -> (Vec<(u128, u32)>, End, u32) {
        let mut retries = Vec::new();
        let mut last: Option<Taken> = None;
        for (answer, attempt) in answers.iter().zip(1..) {
            if matches!(answer, Ok) {
                self.quota.succeeded(last);
                return (retries, End::Success, self.quota.tokens());
            }
            if attempt == self.attempts {
                return (retries, End::Attempts, self.quota.tokens());
            }
            let (kind, base) = match answer {
                Throttled => (For::Throttled, self.throttled_base),
                Ok | Error | Asks(_) => (For::Error, self.base),
            };
            let Some(taken) = self.quota.try_take(kind) else {
                return (retries, End::Quota, self.quota.tokens());
            };
            last = Some(taken);
            retries.push((self.delay(*answer, base, attempt - 1), self.quota.tokens()));
        }
        panic!("the case has too few answers");
    }

    fn delay(&self, answer: Answer, base: u64, n: u32) -> u128 {
        let options = BackoffOptions {
            base: Duration::from_millis(base),
            growth: Growth::Exponential(2.0),
            jitter: Jitter::None,
            cap: Duration::from_millis(self.cap),
            ..BackoffOptions::default()
        };
        let mut rng = Random::seeded(1);
        let own = options.delay(n, &mut rng);
        let pushback = match answer {
            Asks(value) => Pushback::milliseconds(value.as_bytes()),
            Ok | Error | Throttled => Pushback::None,
        };
        let delay = PushbackOptions::aws().delay(pushback, own, &mut rng);
        delay.expect("AWS never forbids").as_millis()
    }
}

#[test]
fn version_2_0() {
    let cases = [
        (
            v2_0(),
            &[Error, Error, Ok][..],
            vec![(1_000, 495), (2_000, 490)],
            End::Success,
            495,
        ),
        (
            v2_0(),
            &[Error; 3],
            vec![(1_000, 495), (2_000, 490)],
            End::Attempts,
            490,
        ),
        (
            v2_0().with_quota(5),
            &[Error; 3],
            vec![(1_000, 0)],
            End::Quota,
            0,
        ),
        (v2_0().with_quota(0), &[Error], vec![], End::Quota, 0),
        (
            Client {
                attempts: 5,
                ..v2_0()
            },
            &[Error; 5],
            vec![(1_000, 495), (2_000, 490), (4_000, 485), (8_000, 480)],
            End::Attempts,
            480,
        ),
        (
            Client {
                attempts: 5,
                cap: 3_000,
                ..v2_0()
            },
            &[Error; 5],
            vec![(1_000, 495), (2_000, 490), (3_000, 485), (3_000, 480)],
            End::Attempts,
            480,
        ),
    ];
    for (client, answers, retries, end, quota) in cases {
        assert_eq!(client.call(answers), (retries, end, quota));
    }
}

#[test]
fn version_2_1() {
    let dynamodb = Client {
        base: 25,
        attempts: 4,
        ..v2_1()
    };
    let cases = [
        (
            v2_1(),
            &[Error, Error, Ok][..],
            vec![(50, 486), (100, 472)],
            End::Success,
            486,
        ),
        (
            v2_1(),
            &[Error; 3],
            vec![(50, 486), (100, 472)],
            End::Attempts,
            472,
        ),
        (
            v2_1().with_quota(14),
            &[Error; 3],
            vec![(50, 0)],
            End::Quota,
            0,
        ),
        (
            v2_1().with_quota(20),
            &[Error; 3],
            vec![(50, 6)],
            End::Quota,
            6,
        ),
        (v2_1().with_quota(0), &[Error], vec![], End::Quota, 0),
        (
            v2_1(),
            &[Throttled, Ok],
            vec![(1_000, 495)],
            End::Success,
            500,
        ),
        (
            dynamodb,
            &[Error; 4],
            vec![(25, 486), (50, 472), (100, 458)],
            End::Attempts,
            458,
        ),
    ];
    for (client, answers, retries, end, quota) in cases {
        assert_eq!(client.call(answers), (retries, end, quota));
    }
}

/// What `x-amz-retry-after` says is kept between the own delay and five seconds more; what cannot be read is not there.
#[test]
fn version_2_1_header() {
    for (value, delay) in [
        ("1500", 1_500),
        ("0", 50),
        ("10000", 5_050),
        ("invalid", 50),
        ("-1", 50),
    ] {
        let wanted = (vec![(delay, 486)], End::Success, 500);
        assert_eq!(v2_1().call(&[Asks(value), Ok]), wanted, "{value}");
    }
}

/// Invocations that share a quota of 30: each takes twice and gets back what its last retry took.
#[test]
fn version_2_1_several_invocations() {
    let client = v2_1().with_quota(30);
    let (retries, end, quota) = client.call(&[Error, Error, Ok]);
    assert_eq!(
        (retries, end, quota),
        (vec![(50, 16), (100, 2)], End::Success, 16)
    );
    let (retries, end, quota) = client.call(&[Error, Ok]);
    assert_eq!((retries, end, quota), (vec![(50, 2)], End::Success, 16));
}

/// Two requests at the same time, one with two retries and one with one: each gives back what its last one took.
#[test]
fn version_2_1_several_threads() {
    let quota = Quota::new(QuotaOptions::default());
    let request = |retries: u32| {
        let last = (0..retries).map(|_| quota.try_take(For::Error)).last();
        quota.succeeded(last.flatten());
    };
    std::thread::scope(|scope| {
        scope.spawn(|| request(2));
        scope.spawn(|| request(1));
    });
    assert_eq!(quota.tokens(), 486);
}
