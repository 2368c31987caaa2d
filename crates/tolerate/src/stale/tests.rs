//! For how long values are served, who fetches a new one, and which are removed.

use proptest::prelude::*;

use super::*;

fn second(second: u64) -> Instant {
    Instant::from_millis(second * 1_000)
}

fn if_error_for(seconds: u64) -> Lifetimes {
    Lifetimes {
        fresh: Duration::ZERO,
        while_revalidating: Duration::ZERO,
        if_error: Duration::from_secs(seconds),
    }
}

/// RFC 5861, section 3.1: fresh for 600 s, then for another 30 s served while it is revalidated.
#[test]
fn one_caller_revalidates_and_the_others_get_the_stored_value() {
    let mut store = StaleStore::new(&StaleOptions::default());
    let lifetimes = Lifetimes {
        fresh: Duration::from_secs(600),
        while_revalidating: Duration::from_secs(630),
        if_error: Duration::from_secs(4_200),
    };
    store.put(b"a", 1, 10, second(0), lifetimes);
    let timeout = Duration::from_secs(5);
    let mut at = |time| {
        store
            .get_servable(b"a", second(time), timeout)
            .map(|found| (found.stored.fresh_for.as_secs(), found.revalidate))
    };
    assert_eq!(at(0), Some((600, false)));
    assert_eq!(at(599), Some((1, false)));
    assert_eq!(at(600), Some((0, true)), "this one revalidates");
    assert_eq!(at(604), Some((0, false)));
    assert_eq!(at(605), Some((0, true)), "the first one did not return");
    assert_eq!(at(609), Some((0, false)));
    assert_eq!(at(630), None);
    assert_eq!(
        at(630),
        None,
        "too old to be served while it is revalidated"
    );
    assert!(
        store.get(b"a", second(4_199)).is_some(),
        "but not if a call fails"
    );
    assert!(store.get(b"a", second(4_200)).is_none());
    assert!(store.get_servable(b"b", second(0), timeout).is_none());
}

/// A response that took long to read does not replace one that arrived later.
#[test]
fn a_newer_value_stays() {
    let mut store = StaleStore::new(&StaleOptions::default());
    store.put(b"a", 2, 10, second(5), if_error_for(60));
    store.put(b"a", 1, 10, second(4), if_error_for(60));
    let found = store.get(b"a", second(8)).expect("it is stored");
    assert_eq!((*found.value, found.age.as_secs()), (2, 3));
    assert_eq!(
        (found.fresh_for.as_secs(), found.stale_for.as_secs()),
        (0, 3)
    );
}

#[test]
fn a_prefix_removes_the_keys_that_begin_with_it() {
    let mut store = StaleStore::new(&StaleOptions::default());
    for key in [&b"a\0x"[..], b"a\0y", b"a", b"ab\0x", b"A\0x"] {
        store.put(key, (), 10, second(1), if_error_for(60));
    }
    assert_eq!(store.remove_prefix(b"a\0"), 2);
    assert_eq!(store.remove_prefix(b"a\0"), 0);
    assert_eq!(store.size().0, 3);
    assert!(store.get(b"a\0y", second(2)).is_none() && store.get(b"ab\0x", second(2)).is_some());
}

#[test]
fn the_least_recently_used_is_removed_first() {
    let options = StaleOptions {
        bytes: 3 * (OVERHEAD + 101),
        ..StaleOptions::default()
    };
    let mut store = StaleStore::new(&options);
    let hour = if_error_for(3_600);
    for key in [b"a", b"b", b"c"] {
        store.put(key, key[0], 100, second(1), hour);
    }
    assert_eq!(
        store
            .get(b"a", second(2))
            .map(|found| (*found.value, found.age.as_secs())),
        Some((b'a', 1))
    );
    store.put(b"d", b'd', 100, second(3), hour);
    assert!(store.get(b"b", second(4)).is_none(), "least recently used");
    assert!(store.get(b"a", second(4)).is_some());
    store.put(b"e", b'e', 10_000, second(5), hour);
    assert_eq!(store.size().0, 3, "one that is too large evicts nothing");
    assert!(store.get(b"a", second(3_600)).is_some());
    assert!(store.get(b"a", second(3_601)).is_none(), "expired");
    assert!(store.is_recent(b"d", second(3), Duration::from_secs(1)));
    assert!(!store.is_recent(b"d", second(4), Duration::from_secs(1)));
    store.remove(b"d");
    store.remove(b"c");
    assert_eq!(store.size(), (0, 0));
}

proptest! {
    /// Whatever is stored and looked up: the bytes are those of the entries, and never too many.
    #[test]
    fn bytes_are_bounded(steps in proptest::collection::vec((0_u8..3, 0_u8..12, 0_usize..900), 1..200)) {
        let options = StaleOptions { bytes: 4_000, ..StaleOptions::default() };
        let mut store = StaleStore::new(&options);
        for (time, (what, key, bytes)) in (1..).zip(steps) {
            match what {
                0 => drop(store.get(&[key], second(time))),
                1 => store.remove(&[key]),
                _ => store.put(&[key], (), bytes, second(time), if_error_for(50)),
            }
            let sum: usize = store.entries.values().map(|entry| entry.bytes).sum();
            prop_assert_eq!(sum, store.bytes);
            prop_assert!(store.bytes <= 4_000);
            prop_assert_eq!(store.order.len(), store.entries.len());
        }
    }
}
