//! The delays of others, by their published numbers, and what holds for all of them.

use proptest::prelude::*;

use super::*;

fn options(base: u64, cap: u64, jitter: Jitter) -> BackoffOptions {
    let millis = Duration::from_millis;
    BackoffOptions::exponential(millis(base), millis(cap), jitter)
}

fn plain(base: u64, cap: u64, count: u32) -> Vec<u128> {
    let options = options(base, cap, Jitter::None);
    (0..count)
        .map(|n| options.delay(n, &mut Random::seeded(1)).as_millis())
        .collect()
}

/// The published cases of the AWS retry specification 2.0 and 2.1, whose random factor is 1.
#[test]
fn doubles_up_to_the_cap() {
    assert_eq!(
        plain(1_000, 20_000, 6),
        [1_000, 2_000, 4_000, 8_000, 16_000, 20_000]
    );
    assert_eq!(plain(1_000, 3_000, 4), [1_000, 2_000, 3_000, 3_000]);
    assert_eq!(plain(50, 20_000, 4), [50, 100, 200, 400]);
    assert_eq!(plain(25, 250, 5), [25, 50, 100, 200, 250]);
}

#[test]
fn nothing_overflows() {
    let tiny = BackoffOptions {
        base: Duration::from_nanos(1),
        ..options(0, 60_000, Jitter::None)
    };
    assert_eq!(tiny.grown(40), Duration::from_secs(60));
    for index in [31, 32, 33, 64, u32::MAX] {
        assert_eq!(
            options(1, 60_000, Jitter::None).grown(index),
            Duration::from_secs(60)
        );
    }
    let endless = BackoffOptions::exponential(Duration::MAX, Duration::MAX, Jitter::Equal);
    assert!(endless.delay(7, &mut Random::seeded(1)) > Duration::from_secs(1));
    assert_eq!(
        options(500, 100, Jitter::None).grown(0),
        Duration::from_millis(100)
    );
    assert_eq!(options(0, 100, Jitter::None).grown(9), Duration::ZERO);
}

#[test]
fn jitter_is_uniform_in_its_range() {
    let mut rng = Random::seeded(42);
    let mut mean = |jitter| {
        let options = options(100, 100, jitter);
        (0..20_000)
            .map(|_| options.delay(0, &mut rng).as_secs_f64())
            .sum::<f64>()
            / 20_000.0
    };
    assert!((mean(Jitter::Full) - 0.050).abs() < 0.001);
    assert!((mean(Jitter::Equal) - 0.075).abs() < 0.0005);
}

proptest! {
    #[test]
    fn stays_within_its_range(base in 0_u64..10_000, cap in 0_u64..100_000, index: u32, seed: u64) {
        let longest = options(base, cap, Jitter::None).grown(index);
        let mut rng = Random::seeded(seed);
        prop_assert!(options(base, cap, Jitter::Full).delay(index, &mut rng) <= longest);
        let equal = options(base, cap, Jitter::Equal).delay(index, &mut rng);
        prop_assert!(equal >= longest / 2 && equal <= longest);
    }
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn millis(delays: impl IntoIterator<Item = Duration>) -> Vec<u128> {
    delays.into_iter().map(|delay| delay.as_millis()).collect()
}

/// Polly's RetryHelperTests: constant 1 s, and linear with index 2, by draw.
#[test]
fn pollys_jitter_by_draw() {
    let linear = BackoffOptions {
        base: seconds(1),
        growth: Growth::Linear,
        cap: Duration::MAX,
        ..BackoffOptions::default()
    };
    assert_eq!(linear.grown(2), seconds(3));
    for (draw, constant, third) in [
        (0.0, 750, 2_250),
        (0.4, 950, 2_850),
        (0.5, 1_000, 3_000),
        (0.6, 1_050, 3_150),
        (1.0, 1_250, 3_750),
    ] {
        assert_eq!(
            millis([
                around(seconds(1), 0.25, draw),
                around(linear.grown(2), 0.25, draw)
            ]),
            [constant, third],
            "{draw}"
        );
    }
}

/// Polly: exponential 1, 2, 4 s; what overflows is the cap.
#[test]
fn pollys_kinds_without_jitter() {
    let of = |growth, cap| {
        let options = BackoffOptions {
            base: seconds(1),
            growth,
            jitter: Jitter::None,
            cap,
            capped: Capped::AfterSpread,
        };
        millis([0, 1, 2, 1_024].map(|n| options.delay(n, &mut Random::seeded(1))))
    };
    assert_eq!(of(Growth::Fixed, seconds(60)), [1_000; 4]);
    assert_eq!(
        of(Growth::Linear, seconds(60)),
        [1_000, 2_000, 3_000, 60_000]
    );
    assert_eq!(
        of(Growth::Exponential(2.0), seconds(60)),
        [1_000, 2_000, 4_000, 60_000]
    );
    assert_eq!(
        of(Growth::Exponential(3.0), seconds(60)),
        [1_000, 3_000, 9_000, 60_000]
    );
    for growth in [
        Growth::Linear,
        Growth::Exponential(1.5),
        Growth::Exponential(f64::INFINITY),
        Growth::Envoy,
    ] {
        let options = BackoffOptions {
            base: Duration::MAX,
            growth,
            cap: seconds(9),
            ..BackoffOptions::default()
        };
        assert_eq!(options.grown(u32::MAX), seconds(9));
    }
}

/// resilience4j multiplies whole milliseconds, so it is up to a few of them below the formula.
#[test]
fn resilience4js_exponential_interval() {
    let options = BackoffOptions {
        base: Duration::from_millis(500),
        growth: Growth::Exponential(1.5),
        jitter: Jitter::None,
        cap: Duration::MAX,
        ..BackoffOptions::default()
    };
    let theirs = [500, 750, 1_125, 1_687, 2_530, 3_795, 5_692, 8_538];
    for (n, theirs) in theirs.into_iter().enumerate() {
        let ours = options.grown(n as u32).as_millis();
        assert!((theirs..theirs + 6).contains(&ours), "{n}: {ours}");
    }
}

/// Envoy's documentation: upper bounds 25, 75, 175, 250, 250 ms.
#[test]
fn envoys_upper_bounds() {
    let options = BackoffOptions {
        growth: Growth::Envoy,
        ..BackoffOptions::default()
    };
    assert_eq!(
        millis((0..5).map(|n| options.grown(n))),
        [25, 75, 175, 250, 250]
    );
    let mut rng = Random::seeded(3);
    let mean = (0..20_000)
        .map(|_| options.delay(2, &mut rng).as_secs_f64())
        .sum::<f64>()
        / 20_000.0;
    assert!((mean - 0.0875).abs() < 0.001, "{mean}");
}

/// gRPC spreads what was capped by a fifth either way, so it may come out longer than the cap; capped after, it may not.
#[test]
fn a_cap_before_and_a_cap_after() {
    let grpc = BackoffOptions {
        base: seconds(1),
        growth: Growth::Exponential(2.0),
        jitter: Jitter::Proportional(0.2),
        cap: seconds(4),
        capped: Capped::BeforeSpread,
    };
    let after = BackoffOptions {
        capped: Capped::AfterSpread,
        ..grpc
    };
    let mut rng = Random::seeded(5);
    let mut longest =
        |options: BackoffOptions| (0..2_000).map(|_| options.delay(2, &mut rng)).max();
    let (before, after) = (longest(grpc).unwrap(), longest(after).unwrap());
    assert!(before > Duration::from_millis(4_750) && before <= Duration::from_millis(4_800));
    assert_eq!(after, seconds(4));
}

#[test]
fn decorrelated_remembers_the_delay_before() {
    let options = BackoffOptions {
        jitter: Jitter::Decorrelated,
        cap: Duration::from_millis(2_000),
        base: Duration::from_millis(5),
        ..BackoffOptions::default()
    };
    let mut rng = Random::seeded(11);
    let mut was_long = false;
    for _ in 0..200 {
        let mut wait = Backoff::new(options);
        let mut before = options.base;
        for n in 1..=12 {
            let delay = wait.next_delay(&mut rng);
            assert!(
                delay >= options.base && delay <= (before * 3).min(options.cap),
                "{before:?} {delay:?}"
            );
            assert_eq!(wait.count(), n);
            was_long |= delay > seconds(1);
            before = delay;
        }
    }
    assert!(was_long);
}

proptest! {
    #[test]
    fn nothing_overflows_and_a_cap_after_holds(
        base: u64, cap: u64, n: u32, factor: f64, part: f64, seed: u64, kind in 0_usize..20,
    ) {
        let growth = [Growth::Fixed, Growth::Linear, Growth::Exponential(factor), Growth::Envoy][kind % 4];
        let jitter = [Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Proportional(part), Jitter::Decorrelated][kind % 5];
        let cap = Duration::from_nanos(cap);
        let mut options = BackoffOptions { base: Duration::from_nanos(base), growth, jitter, cap, capped: Capped::AfterSpread };
        prop_assert!(options.delay(n, &mut Random::seeded(seed)) <= cap);
        options.capped = Capped::BeforeSpread;
        // Twice, at most, and a hair for rounding.
        prop_assert!(options.delay(n, &mut Random::seeded(seed)) <= cap * 2 + Duration::from_micros(10));
    }
}

proptest! {
    /// What a lint or a person is told is the worst is never exceeded.
    #[test]
    fn no_delay_is_longer_than_the_longest(
        base in 0_u64..10_000, cap in 0_u64..100_000, part in 0.0..1.0, seed: u64, kind in 0_usize..60,
    ) {
        let growth = [Growth::Fixed, Growth::Linear, Growth::Exponential(1.5), Growth::Envoy][kind % 4];
        let jitter = [Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Proportional(part), Jitter::Decorrelated][kind % 5];
        let capped = [Capped::BeforeSpread, Capped::AfterSpread, Capped::BeforeSpread][kind % 3];
        let options = BackoffOptions { growth, capped, ..options(base, cap, jitter) };
        let (mut wait, mut rng) = (Backoff::new(options), Random::seeded(seed));
        for n in 0..12 {
            let delay = wait.next_delay(&mut rng);
            let longest = options.longest(n) + Duration::from_micros(1);
            prop_assert!(delay <= longest, "{n}: {delay:?} {longest:?}");
        }
    }
}

#[test]
fn options_are_readable_text() {
    let short = r#"{ "base": "50ms", "cap": "2s", "jitter": "equal" }"#;
    let short: BackoffOptions = serde_json::from_str(short).unwrap();
    assert_eq!(short, options(50, 2_000, Jitter::Equal));
    let all = r#"{ "base": "50ms", "cap": "2s", "jitter": { "proportional": 0.2 }, "growth": "linear", "capped": "after-spread" }"#;
    let all: BackoffOptions = serde_json::from_str(all).unwrap();
    assert_eq!(
        (all.growth, all.jitter),
        (Growth::Linear, Jitter::Proportional(0.2))
    );
    let text = serde_json::to_string(&all).unwrap();
    assert_eq!(serde_json::from_str::<BackoffOptions>(&text).unwrap(), all);
    for wrong in [
        r#"{ "base": 50, "cap": "2s", "jitter": "full" }"#,
        r#"{ "base": "50ms", "cap": "2s", "jitter": "some" }"#,
    ] {
        assert!(
            serde_json::from_str::<BackoffOptions>(wrong).is_err(),
            "{wrong}"
        );
    }
}
