//! The published cases of gRPC's retries (gRFC A6), as its Go tests have them: single calls and streams, delays and pushback. Its
//! retry throttling is not part of this crate: a [`Budget`](evenkeel_tolerate::Budget) pays for retries.

use std::time::Duration;

use evenkeel_core::Random;
use evenkeel_tolerate::{
    Backoff, BackoffOptions, Capped, Growth, Jitter, Pushback, PushbackOptions,
};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Code {
    Ok,
    Internal,
    AlreadyExists,
    Unavailable,
}
use Code::{AlreadyExists, Internal, Ok, Unavailable};

/// How an attempt ends.
#[derive(Debug, Clone, Copy)]
struct AttemptEnd {
    code: Code,
    /// What the trailer asks.
    pushback: &'static [&'static str],
    /// Something of the answer was handed on, or the request is not at hand any more.
    committed: bool,
}

const fn end(code: Code) -> AttemptEnd {
    AttemptEnd {
        code,
        pushback: &[],
        committed: false,
    }
}

const fn committed(code: Code) -> AttemptEnd {
    AttemptEnd {
        committed: true,
        ..end(code)
    }
}

const fn pushed(pushback: &'static [&'static str]) -> AttemptEnd {
    AttemptEnd {
        pushback,
        ..end(Unavailable)
    }
}

/// At most four attempts, 10 ms before each retry.
struct Client {
    retried: Code,
    pushback_options: PushbackOptions,
    rng: Random,
}

impl Client {
    fn new(retried: Code) -> Self {
        Self {
            retried,
            pushback_options: PushbackOptions::grpc(),
            rng: Random::seeded(7),
        }
    }

    /// How the call ended, and how long it waited.
    fn call(&mut self, mut server: impl FnMut() -> AttemptEnd) -> (Code, Duration) {
        let mut waited = Duration::ZERO;
        let options = BackoffOptions {
            base: Duration::from_millis(10),
            growth: Growth::Exponential(1.0),
            jitter: Jitter::Proportional(0.2),
            cap: Duration::from_millis(10),
            capped: Capped::BeforeSpread,
        };
        let mut delays = Backoff::new(options);
        for attempt in 1.. {
            let end = server();
            let asked = Pushback::grpc(end.pushback.iter().map(|value| value.as_bytes()));
            let fails = end.code == self.retried || asked == Pushback::DoNotRetry;
            if end.committed || !fails {
                return (end.code, waited);
            }
            let own = delays.next_delay(&mut self.rng);
            let wait = self.pushback_options.delay(asked, own, &mut self.rng);
            if matches!(asked, Pushback::After(_)) {
                delays = Backoff::new(options);
            }
            match wait {
                Some(wait) if attempt < 4 => waited += wait,
                _ => return (end.code, waited),
            }
        }
        unreachable!("it returns")
    }
}

/// A server's calls by number, and after each call of the client its code and the number of the last.
fn check(mut client: Client, server: impl Fn(usize) -> Code, expected: &[(Code, usize)]) {
    let mut calls = 0;
    for (number, expected) in expected.iter().enumerate() {
        let (code, _) = client.call(|| {
            calls += 1;
            end(server(calls - 1))
        });
        assert_eq!((code, calls - 1), *expected, "call {number}");
    }
}

#[test]
fn unary_calls_are_retried_by_status_code() {
    let server = |number| match number {
        0 | 2 | 5 => Ok,
        6 | 8 | 11 => Internal,
        _ => AlreadyExists,
    };
    let expected = [
        (Ok, 0),
        (Ok, 2),
        (Ok, 5),
        (Internal, 6),
        (Internal, 8),
        (Internal, 11),
        (AlreadyExists, 15),
    ];
    check(Client::new(AlreadyExists), server, &expected);
}

#[test]
fn streams_are_retried_before_their_first_message() {
    let failed = end(Unavailable);
    let good = end(Ok);
    let cases: [(&str, &[AttemptEnd], Code, u64); 15] = [
        ("a code that is not retried", &[end(Internal)], Internal, 0),
        ("one retry", &[failed, good], Ok, 8),
        ("four attempts at most", &[failed; 4], Unavailable, 24),
        ("two messages before it fails", &[failed, good], Ok, 8),
        ("fails later each time", &[failed, failed, good], Ok, 16),
        (
            "not after a message",
            &[failed, committed(Unavailable)],
            Unavailable,
            8,
        ),
        ("while waiting for the head", &[failed, good], Ok, 8),
        (
            "not after the head",
            &[committed(Unavailable)],
            Unavailable,
            0,
        ),
        (
            "not after the context was used",
            &[committed(Unavailable)],
            Unavailable,
            0,
        ),
        ("the end of the request is repeated", &[failed, good], Ok, 8),
        ("negative pushback", &[pushed(&["-1"])], Unavailable, 0),
        ("pushback is no number", &[pushed(&["xxx"])], Unavailable, 0),
        (
            "two values of pushback",
            &[pushed(&["100", "10"])],
            Unavailable,
            0,
        ),
        ("pushback of 1 s", &[pushed(&["1000"]), good], Ok, 1_000),
        (
            "more than is kept for a retry",
            &[committed(Unavailable)],
            Unavailable,
            0,
        ),
    ];
    for (name, ends, expected, least) in cases {
        let mut ends = ends.iter();
        let mut client = Client::new(Unavailable);
        let (code, waited) = client.call(|| *ends.next().expect("no attempt too many"));
        assert_eq!(code, expected, "{name}");
        assert_eq!(ends.len(), 0, "{name}: all attempts are made");
        assert!(waited >= Duration::from_millis(least), "{name}: {waited:?}");
        assert!(
            waited <= Duration::from_millis(least * 3 / 2),
            "{name}: {waited:?}"
        );
    }
}

/// A pushback replaces the delay; a negative or invalid one ends the call.
#[test]
fn delays_and_pushback() {
    let backoff = BackoffOptions {
        base: Duration::from_millis(100),
        growth: Growth::Exponential(2.0),
        jitter: Jitter::Proportional(0.2),
        cap: Duration::from_secs(1),
        capped: Capped::BeforeSpread,
    };
    let options = PushbackOptions::grpc();
    let mut rng = Random::seeded(9);
    for (n, nominal) in [100.0, 200.0, 400.0, 800.0, 1_000.0, 1_000.0]
        .into_iter()
        .enumerate()
    {
        let own = backoff.delay(n as u32, &mut rng);
        let part = own.as_secs_f64() * 1e3 / nominal;
        assert!((0.8..=1.2).contains(&part), "{n}: {own:?}");
        let mut of = |value: &[u8]| options.delay(Pushback::grpc([value]), own, &mut rng);
        assert_eq!(of(b"1000"), Some(Duration::from_secs(1)));
        assert_eq!(of(b"-1"), None);
        assert_eq!(of(b"later"), None);
    }
}
