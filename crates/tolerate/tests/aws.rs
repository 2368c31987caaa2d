//! The published cases of the AWS retry specifications 2.0 and 2.1, standard mode: the random factor is 1. (Adaptive mode's are
//! beside its code.)

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use evenkeel_core::Random;
use evenkeel_tolerate::{
    Backoff, BackoffOptions, Jitter, Pushback, Quota, QuotaOptions, QuotaTaken, RetryCause,
};

/// What the server answers.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Good,
    Failed,
    Throttled,
    /// With this `x-amz-retry-after`.
    Asked(&'static str),
}
use Answer::{Asked, Failed, Good, Throttled};

/// What the client does about it, and the quota afterwards.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Does {
    /// Retries after so many milliseconds.
    Retries(u64, u32),
    Succeeds(u32),
    /// The last attempt failed.
    GivesUp(u32),
    /// The quota is exhausted.
    MayNot(u32),
}
use Does::{GivesUp, MayNot, Retries, Succeeds};

struct Client {
    quota: Quota,
    attempts: usize,
    base: u64,
    cap: u64,
}

impl Client {
    fn new(quota: QuotaOptions, base: u64) -> Self {
        Self {
            quota: Quota::new(quota),
            attempts: 3,
            base,
            cap: 20_000,
        }
    }

    fn v2_0() -> Self {
        Self::new(QuotaOptions::aws_2_0(), 1_000)
    }

    fn v2_1() -> Self {
        Self::new(QuotaOptions::aws_2_1(), 50)
    }

    fn tokens(mut self, capacity: u32) -> Self {
        let options = if self.base == 1_000 {
            QuotaOptions::aws_2_0()
        } else {
            QuotaOptions::aws_2_1()
        };
        self.quota = Quota::new(QuotaOptions {
            capacity,
            ..options
        });
        self
    }

    fn attempts(self, attempts: usize) -> Self {
        Self { attempts, ..self }
    }

    fn delay(&self, retry: usize, base: u64, asked: Pushback) -> Option<u64> {
        let options = BackoffOptions {
            base: Duration::from_millis(base),
            cap: Duration::from_millis(self.cap),
            jitter: Jitter::None,
        };
        let own = Backoff::delay(&options, retry as u32, &mut Random::seeded(1));
        Some(asked.aws_wait(own)?.as_millis() as u64)
    }

    /// One request: what the client does after each of the answers.
    fn run(&self, answers: &[Answer]) -> Vec<Does> {
        let mut last: Option<QuotaTaken> = None;
        let mut done = Vec::new();
        for (index, answer) in answers.iter().enumerate() {
            let left = || self.quota.snapshot().tokens as u32;
            let (cause, base, asked) = match answer {
                Good => {
                    self.quota.succeed(last.take());
                    done.push(Succeeds(left()));
                    break;
                }
                Failed => (RetryCause::Failed, self.base, Pushback::None),
                Throttled => (RetryCause::Throttled, 1_000, Pushback::None),
                Asked(header) => {
                    let asked = Pushback::aws(header.as_bytes());
                    (RetryCause::Failed, self.base, asked)
                }
            };
            if index + 1 == self.attempts {
                done.push(GivesUp(left()));
                break;
            }
            last = self.quota.try_take(cause);
            if last.is_none() {
                done.push(MayNot(left()));
                break;
            }
            let delay = self.delay(index, base, asked).expect("AWS never says no");
            done.push(Retries(delay, left()));
        }
        done
    }
}

#[test]
fn standard_2_0() {
    assert_eq!(
        Client::v2_0().run(&[Failed, Failed, Good]),
        [Retries(1_000, 495), Retries(2_000, 490), Succeeds(495)]
    );
    assert_eq!(
        Client::v2_0().run(&[Failed; 3]),
        [Retries(1_000, 495), Retries(2_000, 490), GivesUp(490)]
    );
    assert_eq!(
        Client::v2_0().tokens(5).run(&[Failed; 3]),
        [Retries(1_000, 0), MayNot(0)]
    );
    assert_eq!(Client::v2_0().tokens(0).run(&[Failed; 3]), [MayNot(0)]);
    assert_eq!(
        Client::v2_0().attempts(5).run(&[Failed; 5]),
        [
            Retries(1_000, 495),
            Retries(2_000, 490),
            Retries(4_000, 485),
            Retries(8_000, 480),
            GivesUp(480)
        ]
    );
    let capped = Client {
        cap: 3_000,
        ..Client::v2_0().attempts(5)
    };
    assert_eq!(
        capped.run(&[Failed; 5]),
        [
            Retries(1_000, 495),
            Retries(2_000, 490),
            Retries(3_000, 485),
            Retries(3_000, 480),
            GivesUp(480)
        ]
    );
}

#[test]
fn standard_2_1() {
    assert_eq!(
        Client::v2_1().run(&[Failed, Failed, Good]),
        [Retries(50, 486), Retries(100, 472), Succeeds(486)]
    );
    assert_eq!(
        Client::v2_1().run(&[Failed; 3]),
        [Retries(50, 486), Retries(100, 472), GivesUp(472)]
    );
    assert_eq!(
        Client::v2_1().tokens(14).run(&[Failed; 3]),
        [Retries(50, 0), MayNot(0)]
    );
    assert_eq!(Client::v2_1().tokens(0).run(&[Failed; 3]), [MayNot(0)]);
    for (cap, delays) in [(20_000, [50, 100, 200, 400]), (200, [50, 100, 200, 200])] {
        let client = Client {
            cap,
            ..Client::v2_1().attempts(5)
        };
        let [a, b, c, d] = delays;
        assert_eq!(
            client.run(&[Failed; 5]),
            [
                Retries(a, 486),
                Retries(b, 472),
                Retries(c, 458),
                Retries(d, 444),
                GivesUp(444)
            ]
        );
    }
    assert_eq!(
        Client::v2_1().attempts(5).tokens(20).run(&[Failed; 5]),
        [Retries(50, 6), MayNot(6)]
    );
    assert_eq!(
        Client::v2_1().run(&[Throttled, Good]),
        [Retries(1_000, 495), Succeeds(500)]
    );
    let dynamo = Client::new(QuotaOptions::aws_2_1(), 25).attempts(4);
    assert_eq!(
        dynamo.run(&[Failed; 4]),
        [
            Retries(25, 486),
            Retries(50, 472),
            Retries(100, 458),
            GivesUp(458)
        ]
    );
}

#[test]
fn a_server_that_asks_to_wait_2_1() {
    for (header, delay) in [
        ("1500", 1_500),
        ("0", 50),
        ("10000", 5_050),
        ("invalid", 50),
        ("-1", 50),
    ] {
        assert_eq!(
            Client::v2_1().run(&[Asked(header), Good]),
            [Retries(delay, 486), Succeeds(500)],
            "{header}"
        );
    }
}

#[test]
fn requests_share_the_quota_2_1() {
    let client = Client::v2_1().attempts(5).tokens(30);
    assert_eq!(
        client.run(&[Failed, Failed, Good]),
        [Retries(50, 16), Retries(100, 2), Succeeds(16)]
    );
    assert_eq!(client.run(&[Failed, Good]), [Retries(50, 2), Succeeds(16)]);
}

#[test]
fn threads_share_the_quota_2_1() {
    let client = Arc::new(Client::v2_1().attempts(5));
    let requests: [&[Answer]; 2] = [&[Failed, Failed, Good], &[Failed, Good]];
    let threads = requests.map(|answers| {
        let client = Arc::clone(&client);
        thread::spawn(move || client.run(answers).len())
    });
    let done = threads.map(|thread| thread.join().expect("no panic"));
    assert_eq!(done, [3, 2]);
    // Each gives back its last retry.
    assert_eq!(client.quota.snapshot().tokens as u32, 486);
}
