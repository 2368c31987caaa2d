//! Buckets for all and by key, in virtual time.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use evenkeel_core::Instant;
use proptest::prelude::*;

use super::*;

fn rate(per_second: f64, burst: u32) -> Rate {
    Rate::new(RateOptions { per_second, burst })
}

fn keyed(per_second: f64, burst: u32, entries: u32) -> KeyedRate<u32> {
    let rate = RateOptions { per_second, burst };
    KeyedRate::new(KeyedRateOptions { rate, entries }, 7)
}

fn take_all(rate: &Rate, now: Instant) -> u64 {
    (0..).take_while(|_| rate.take(now).is_ok()).count() as u64
}

#[test]
fn a_burst_and_then_the_rate() {
    let rate = rate(10.0, 5);
    let now = Instant::from_millis(12_345);
    assert_eq!(take_all(&rate, now), 5, "full at first, at whatever time");
    assert_eq!(rate.take(now), Err(Duration::from_millis(100)));
    assert_eq!(take_all(&rate, Instant::from_millis(12_444)), 0);
    assert_eq!(take_all(&rate, Instant::from_millis(12_445)), 1);
    assert_eq!(
        take_all(&rate, Instant::from_millis(60_000)),
        5,
        "no more than the burst"
    );
    assert!(rate.balance(Instant::from_millis(60_150)) <= 1.6);
    let RateCounts { taken, refused, .. } = rate.counts();
    assert_eq!((taken, refused), (11, 5));
}

#[test]
fn a_reservation_has_its_time_and_no_other_caller_gets_it() {
    let at = Instant::from_millis;
    let rate = rate(10.0, 2);
    let now = at(5_000);
    let reserve = |latest| rate.reserve(now, at(latest)).map(|it| it.at());
    assert_eq!(reserve(6_000), Ok(now));
    assert_eq!(reserve(6_000), Ok(now));
    assert_eq!(reserve(6_000), Ok(at(5_100)));
    assert_eq!(
        reserve(5_200),
        Err(Duration::from_millis(200)),
        "not before it"
    );
    let third = rate.reserve(now, at(6_000)).expect("a token");
    assert_eq!(third.at(), at(5_200));
    assert_eq!(rate.take(at(5_250)), Err(Duration::from_millis(50)));
    // The newest comes back; one that others wait behind does not.
    let fourth = rate.reserve(now, at(6_000)).expect("a token");
    assert!(rate.give_back(fourth));
    let fourth = rate.reserve(now, at(6_000)).expect("a token");
    assert!(!rate.give_back(third));
    assert_eq!(fourth.at(), at(5_300));
    let never = Rate::new(RateOptions {
        per_second: 0.0,
        burst: 1,
    });
    assert!(never.reserve(now, Instant::NEVER).is_ok());
    assert_eq!(never.reserve(now, Instant::NEVER), Err(Duration::MAX));
}

#[test]
fn nothing_drifts_however_often_it_is_asked() {
    for (per_second, nanos, tokens) in [
        (3.0, 10_000_003, 3_000),
        (7.0, 3_333_333, 7_000),
        (0.1, 7_000_001, 100),
        (1.7, 9_999_999, 1_700),
        (7_000.3, 9_999_999, 7_000_300),
    ] {
        let rate = rate(per_second, 1_000);
        let mut taken = take_all(&rate, Instant::ZERO);
        assert_eq!(taken, 1_000);
        // A thousand seconds.
        let mut now = 0;
        let end = 1_000 * 1_000_000_000;
        while now < end {
            now = (now + nanos).min(end);
            taken += take_all(&rate, Instant::from_nanos(now));
        }
        assert_eq!(taken, 1_000 + tokens, "{per_second}");
    }
}

#[test]
fn extreme_options_do_not_overflow() {
    let never = rate(0.0, 2);
    assert_eq!(take_all(&never, Instant::ZERO), 2);
    assert_eq!(never.take(Instant::NEVER), Err(Duration::MAX));
    assert_eq!(take_all(&rate(f64::NAN, 0), Instant::ZERO), 1);
    let much = rate(f64::INFINITY, u32::MAX);
    assert!((0..1_000).all(|n| much.take(Instant::from_nanos(n)).is_ok()));
    let slow = rate(1e-6, 1);
    assert_eq!(slow.take(Instant::ZERO), Ok(()));
    assert_eq!(
        slow.take(Instant::ZERO),
        Err(Duration::from_secs(1_000_000))
    );
    // A century is not the end.
    let century = Instant::from_millis(100 * 365 * 86_400 * 1_000);
    let fast = rate(1e9, 1_000_000_000);
    assert!(fast.take(century).is_ok() && fast.take(Instant::NEVER).is_ok());
}

#[test]
fn workers_together_take_no_more_than_one_alone_could() {
    let rate = Arc::new(rate(1_000.0, 500));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let rate = Arc::clone(&rate);
            thread::spawn(move || {
                (0..2_000_u64)
                    .filter(|n| rate.take(Instant::from_nanos(n * 50_000)).is_ok())
                    .count()
            })
        })
        .collect();
    let taken: usize = workers
        .into_iter()
        .map(|worker| worker.join().expect("no panic"))
        .sum();
    assert!(
        (590..=599).contains(&taken),
        "500 and 99.95 in 99.95 ms: {taken}"
    );
}

#[test]
fn keys_do_not_disturb_each_other() {
    let rate = keyed(1.0, 3, 65_536);
    for key in 0..10_000 {
        for _ in 0..3 {
            assert_eq!(rate.take(&key, Instant::ZERO), Ok(()));
        }
        assert_eq!(rate.take(&key, Instant::ZERO), Err(Duration::from_secs(1)));
    }
    assert_eq!(rate.in_debt(Instant::ZERO), 10_000);
    assert_eq!(rate.counts().displaced, 0);
    assert_eq!(rate.in_debt(Instant::from_millis(3_000)), 0);
}

#[test]
fn a_flood_of_keys_gives_a_heavy_key_no_tokens() {
    let rate = keyed(10.0, 20, 64);
    let (heavy, mut taken) = (1_000_000_u32, 0);
    let seconds = 20;
    for millis in 0..seconds * 1_000 {
        let now = Instant::from_millis(millis);
        for n in 0..20 {
            // Ever new keys, each asks once.
            let _: Result<(), Duration> = rate.take(&(millis as u32 * 20 + n), now);
        }
        taken += u64::from(rate.take(&heavy, now).is_ok());
    }
    assert!(taken <= 20 + 10 * seconds, "{taken}");
    assert!(rate.counts().displaced > 0);
    // All of them together got no more than that many buckets give.
    assert!(rate.counts().taken <= 64 * (20 + 10 * seconds));
}

#[test]
fn with_room_for_all_that_are_in_debt_newcomers_have_full_buckets() {
    // 2,000 new keys a second with a debt of 0.5 s each: 1,000 at a time, of 4,096. A set is full of them once in 200,000 keys.
    let rate = keyed(10.0, 5, 4_096);
    for n in 0..20_000_u32 {
        let now = Instant::from_nanos(u64::from(n) * 500_000);
        assert!((0..5).all(|_| rate.take(&n, now).is_ok()), "{n}");
    }
}

#[test]
fn texts_can_be_keys() {
    let rate: KeyedRate<str> = KeyedRate::new(KeyedRateOptions::default(), 1);
    assert_eq!(rate.take("192.0.2.1", Instant::ZERO), Ok(()));
    assert!(format!("{rate:?}").contains("entries: 65536"));
}

proptest! {
    #[test]
    fn retry_times_are_exact_to_the_nanosecond(
        per_second in prop_oneof![0.01..10.0_f64, 1.0..1e7_f64], burst in 1_u32..50,
        waits in proptest::collection::vec(0_u64..3_000_000_000, 1..100),
    ) {
        let rate = rate(per_second, burst);
        let (mut now, mut taken) = (Instant::ZERO, 0_u64);
        for wait in waits {
            now += Duration::from_nanos(wait);
            match rate.take(now) {
                Ok(()) => taken += 1,
                Err(wait) => {
                    prop_assert!(wait > Duration::ZERO);
                    let there = now + wait;
                    prop_assert!(rate.take(there.before(Duration::from_nanos(1))).is_err());
                    prop_assert!(rate.take(there).is_ok());
                    (now, taken) = (there, taken + 1);
                }
            }
            let most = f64::from(burst) + per_second * now.as_nanos() as f64 / 1e9;
            prop_assert!(taken as f64 <= most * (1.0 + 1e-9) + 1e-6);
        }
    }

    /// Whatever keys come in whatever order to a single set: what it lets through, a bucket of the key's own would have, too.
    #[test]
    fn no_key_ever_gets_more_than_its_own_bucket_would_give(
        steps in proptest::collection::vec((0_u32..40, 0_u64..40), 0..900),
    ) {
        let keyed = keyed(2.0, 4, 16);
        let mut own: HashMap<u32, Rate> = HashMap::new();
        let mut now = Instant::ZERO;
        for (key, wait) in steps {
            now += Duration::from_millis(wait);
            if keyed.take(&key, now).is_ok() {
                let bucket = own.entry(key).or_insert_with(|| rate(2.0, 4));
                prop_assert!(bucket.take(now).is_ok(), "key {} at {:?}", key, now);
            }
        }
    }
}
