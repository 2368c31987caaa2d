//! What may be kept, for how long, and what has to go.

use proptest::prelude::*;

use super::*;

fn second(second: u64) -> Instant {
    Instant::from_millis(second * 1_000)
}

fn control(value: &str) -> CacheControl {
    let mut control = CacheControl::default();
    control.read(value.as_bytes());
    control
}

fn keep(value: &str) -> Option<u64> {
    let exchanged = Exchanged {
        status: 200,
        control: control(value),
        ..Exchanged::default()
    };
    let kept = exchanged.keep_for(&StaleOptions::default());
    kept.map(|keep| keep.all.as_secs())
}

fn for_error_only(seconds: u64) -> KeepFor {
    KeepFor {
        fresh: Duration::ZERO,
        revalidate: Duration::ZERO,
        all: Duration::from_secs(seconds),
    }
}

/// RFC 5861, section 3.1: fresh for 600 s, then for another 30 s shown while it is fetched anew.
#[test]
fn one_asks_and_the_others_get_what_there_is() {
    let exchanged = Exchanged {
        status: 200,
        control: control("max-age=600, stale-while-revalidate=30"),
        ..Exchanged::default()
    };
    let options = StaleOptions::default();
    let mut cache = StaleCache::new(options);
    let keep_for = exchanged.keep_for(&options).expect("it may be kept");
    cache.put(b"a", 1, 10, second(0), keep_for);
    let patience = Duration::from_secs(5);
    let mut at = |time| {
        cache
            .first(b"a", second(time), patience)
            .map(|kept| kept.fresh_for.as_secs())
    };
    assert_eq!(at(0), Some(600));
    assert_eq!(at(599), Some(1));
    assert_eq!(at(600), None, "this one asks");
    assert_eq!(at(604), Some(0));
    assert_eq!(at(605), None, "who asked did not come back: another one");
    assert_eq!(at(609), Some(0));
    assert_eq!(at(630), None);
    assert_eq!(at(630), None, "too old to be shown while anybody asks");
    assert!(
        cache.get(b"a", second(4_199)).is_some(),
        "but if there is nothing else"
    );
    assert!(cache.get(b"a", second(4_200)).is_none());
    assert!(cache.first(b"b", second(0), patience).is_none());
}

#[test]
fn what_was_old_when_it_came_is_shown_for_less() {
    let with_age = |age| {
        let exchanged = Exchanged {
            status: 200,
            control: control("max-age=60, stale-while-revalidate=30, stale-if-error=100"),
            age: Duration::from_secs(age),
            ..Exchanged::default()
        };
        let keep = exchanged.keep_for(&StaleOptions::default())?;
        Some([keep.fresh, keep.revalidate, keep.all].map(|time| time.as_secs()))
    };
    assert_eq!(with_age(0), Some([60, 90, 160]));
    assert_eq!(with_age(50), Some([10, 40, 110]));
    assert_eq!(with_age(70), Some([0, 20, 90]));
    assert_eq!(with_age(160), None);
}

/// One that took long to be read does not take the place of one that was asked for later.
#[test]
fn a_newer_answer_stays() {
    let mut cache = StaleCache::new(StaleOptions::default());
    cache.put(b"a", 2, 10, second(5), for_error_only(60));
    cache.put(b"a", 1, 10, second(4), for_error_only(60));
    let kept = cache.get(b"a", second(8)).expect("it is there");
    assert_eq!((*kept.value, kept.age.as_secs()), (2, 3));
    assert_eq!((kept.fresh_for.as_secs(), kept.stale_for.as_secs()), (0, 3));
}

#[test]
fn what_answers_say_of_themselves() {
    assert_eq!(keep(""), Some(3_600));
    assert_eq!(keep("max-age=60"), Some(3_660));
    assert_eq!(keep("Max-Age = \"60\" , stale-if-error=10"), Some(70));
    assert_eq!(keep("max-age=0, stale-if-error=0"), None);
    assert_eq!(
        keep("max-age=99999999999999999999"),
        Some(365 * 86_400 + 3_600)
    );
    for forbidden in [
        "no-store",
        "public, private",
        "private=\"x-field\"",
        "NO-CACHE",
        "max-age=60, must-revalidate",
        "proxy-revalidate",
        "s-maxage=60",
        "max-age=-1",
        "max-age",
        "stale-if-error=soon",
    ] {
        assert_eq!(keep(forbidden), None, "{forbidden}");
    }
}

#[test]
fn what_is_of_one_client_only_is_not_kept() {
    let plain = Exchanged {
        status: 200,
        ..Exchanged::default()
    };
    let options = StaleOptions::default();
    assert!(plain.keep_for(&options).is_some());
    let known = Exchanged {
        knows_client: true,
        ..plain
    };
    assert_eq!(known.keep_for(&options), None);
    let public = Exchanged {
        control: control("public"),
        ..known
    };
    assert!(public.keep_for(&options).is_some());
    for refused in [
        Exchanged {
            status: 404,
            ..plain
        },
        Exchanged {
            status: 206,
            ..plain
        },
        Exchanged {
            is_special: true,
            ..public
        },
        Exchanged {
            sets_cookie: true,
            ..public
        },
        Exchanged {
            varies: true,
            ..public
        },
    ] {
        assert_eq!(refused.keep_for(&options), None, "{refused:?}");
    }
}

/// RFC 9111, section 5.2.1.
#[test]
fn what_requests_ask_for() {
    let takes = |value: &str, age: u64, fresh_for: u64| {
        let mut control = RequestControl::default();
        control.read(value.as_bytes());
        control.takes(Duration::from_secs(age), Duration::from_secs(fresh_for))
    };
    for (value, age, fresh_for, expected) in [
        ("", 1_000, 0, true),
        ("no-cache", 0, 60, false),
        ("No-Store", 0, 60, false),
        ("max-age=0", 0, 60, false),
        ("max-age=10", 9, 0, true),
        ("max-age=10", 10, 0, false),
        ("Max-Age = \"10\", min-fresh=5", 9, 5, true),
        ("max-age=10, min-fresh=5", 9, 4, false),
        ("max-age=x", 0, 60, false),
        ("min-fresh", 0, 60, false),
        ("max-stale=0, only-if-cached, private, x=y", 1_000, 0, true),
    ] {
        assert_eq!(takes(value, age, fresh_for), expected, "{value}");
    }
}

/// RFC 9111, section 4.4.
#[test]
fn a_change_forgets_what_begins_so_and_what_was_asked_for_before() {
    let mut cache = StaleCache::new(StaleOptions::default());
    assert!(!cache.is_outdated(b"a\0", second(0)), "nothing has changed");
    for key in [&b"a\0x"[..], b"a\0y", b"a", b"ab\0x", b"A\0x"] {
        cache.put(key, (), 10, second(1), for_error_only(60));
    }
    assert_eq!(cache.invalidate(b"a\0", second(5)), 2);
    assert_eq!(cache.invalidate(b"a\0", second(5)), 0);
    assert_eq!(cache.size().0, 3);
    assert!(cache.peek(b"a\0y").is_none() && cache.peek(b"ab\0x").is_some());
    for (asked, outdated) in [(4, true), (5, true), (6, false)] {
        assert_eq!(
            cache.is_outdated(b"a\0", second(asked)),
            outdated,
            "{asked}"
        );
    }
    assert!(!cache.is_outdated(b"b\0", second(4)));
}

#[test]
fn the_least_wanted_goes_first() {
    let options = StaleOptions {
        bytes: 3 * (OVERHEAD + 101),
        ..StaleOptions::default()
    };
    let mut cache = StaleCache::new(options);
    let hour = for_error_only(3_600);
    for key in [b"a", b"b", b"c"] {
        cache.put(key, key[0], 100, second(1), hour);
    }
    assert_eq!(
        cache
            .get(b"a", second(2))
            .map(|kept| (*kept.value, kept.age.as_secs())),
        Some((b'a', 1))
    );
    cache.put(b"d", b'd', 100, second(3), hour);
    assert!(cache.get(b"b", second(4)).is_none(), "it was not wanted");
    assert!(cache.get(b"a", second(4)).is_some());
    cache.put(b"e", b'e', 10_000, second(5), hour);
    assert_eq!(cache.size().0, 3, "one that is too large drives nobody out");
    assert!(cache.get(b"a", second(3_600)).is_some());
    assert!(cache.get(b"a", second(3_601)).is_none(), "its time is over");
    assert!(cache.is_recent(b"d", second(3), Duration::from_secs(1)));
    assert!(!cache.is_recent(b"d", second(4), Duration::from_secs(1)));
    cache.remove(b"d");
    cache.remove(b"c");
    assert_eq!(cache.size(), (0, 0));
}

proptest! {
    /// Whatever is put in and asked for: the bytes are those of what is there, and never too many.
    #[test]
    fn bytes_are_bounded(steps in proptest::collection::vec((0_u8..3, 0_u8..12, 0_usize..900), 1..200)) {
        let options = StaleOptions { bytes: 4_000, ..StaleOptions::default() };
        let mut cache = StaleCache::new(options);
        for (time, (what, key, bytes)) in (1..).zip(steps) {
            match what {
                0 => drop(cache.get(&[key], second(time))),
                1 => cache.remove(&[key]),
                _ => cache.put(&[key], (), bytes, second(time), for_error_only(50)),
            }
            let sum: usize = cache.entries.values().map(|entry| entry.bytes).sum();
            prop_assert_eq!(sum, cache.bytes);
            prop_assert!(cache.bytes <= 4_000);
            prop_assert_eq!(cache.order.len(), cache.entries.len());
        }
    }
}
