//! What worked before is shown.

use crate::CALL;
use crate::common::Crowd;
use crate::common::millis;
use crate::common::options;
use crate::common::policy;
use evenkeel_tolerate::StaleOptions;
use evenkeel_tolerate::clock::Clock;
use evenkeel_tolerate::policy::StaleValues;
use evenkeel_tolerate::stale::Lifetimes;
use std::cell::Cell;
use std::cell::RefCell;
use std::future::ready;
use std::time::Duration;

#[test]
fn a_stale_value_is_returned_when_a_call_fails() {
    let (clock, policy) = policy(options());
    let prices: StaleValues<u32> = StaleValues::new(StaleOptions {
        if_error: Duration::from_secs(60),
        ..StaleOptions::default()
    });
    let call = |key: &[u8], result: Result<u32, &'static str>| {
        clock.run(
            policy
                .call(CALL)
                .run_or_stale(&prices, key, |_| ready(result)),
        )
    };
    assert_eq!(call(b"tea", Ok(7)).into_result().ok(), Some(7));
    clock.pass(Duration::from_secs(30));
    let old = call(b"tea", Err("down"));
    assert!(!old.is_good() && old.report().fell_back());
    assert_eq!(old.report().stale_age(), Some(Duration::from_secs(30)));
    assert_eq!(old.into_result().ok(), Some(7));
    let other = call(b"coffee", Err("down"));
    assert_eq!(
        other.into_result().expect_err("nothing is kept").error,
        Some("down")
    );
    clock.pass(Duration::from_secs(30));
    assert!(call(b"tea", Err("down")).into_result().is_err(), "too old");
    let counted = policy.counters();
    assert_eq!((counted.fallbacks, counted.fallbacks_failed), (3, 2));
    let blocking = policy
        .call(CALL)
        .run_blocking_or_stale(&prices, b"tea", |_| Ok::<_, ()>(8));
    assert_eq!(blocking.into_result().ok(), Some(8));
    assert_eq!(
        prices.get(b"tea", clock.now()).map(|stale| stale.value),
        Some(8)
    );
    prices.remove(b"tea");
    assert!(prices.get(b"tea", clock.now()).is_none());
}

#[test]
fn while_one_caller_revalidates_the_others_get_the_stale_value() {
    let (clock, policy) = policy(options());
    let seconds = Duration::from_secs;
    let prices: StaleValues<String> = StaleValues::new(StaleOptions {
        answer_first: true,
        object: 10,
        ..StaleOptions::default()
    })
    .lifetimes(Lifetimes {
        fresh: seconds(10),
        while_revalidating: seconds(60),
        if_error: seconds(600),
    })
    .sized_by(String::len);
    let asked = Cell::new(0);
    let ends = RefCell::new(Vec::new());
    let at_once = |count: usize, value: &'static str| {
        let mut crowd = Crowd::default();
        for _ in 0..count {
            let (policy, clock, prices, asked, ends) = (&policy, &clock, &prices, &asked, &ends);
            crowd.add(async move {
                let run = policy.call(CALL).run_or_stale(prices, b"tea", |_| {
                    asked.set(asked.get() + 1);
                    async move {
                        clock.sleep(millis(100)).await;
                        Ok::<_, ()>(value.to_owned())
                    }
                });
                let recovered = run.await;
                let took = recovered.report().took().as_millis();
                ends.borrow_mut()
                    .push((recovered.into_result().expect("a value"), took));
            });
        }
        clock.run(crowd);
        (asked.take(), ends.take())
    };
    assert_eq!(at_once(1, "7").0, 1);
    clock.pass(seconds(5));
    assert_eq!(
        at_once(2, "8"),
        (0, vec![("7".to_owned(), 0), ("7".to_owned(), 0)]),
        "fresh"
    );
    clock.pass(seconds(20));
    let (asked, ends) = at_once(3, "9");
    let old = || ("7".to_owned(), 0);
    assert_eq!(
        (asked, ends),
        (1, vec![old(), old(), ("9".to_owned(), 100)])
    );
    assert_eq!(at_once(1, "10").1, [("9".to_owned(), 0)]);
    // What is too large is not kept.
    clock.pass(seconds(700));
    assert_eq!(at_once(1, "much too large").0, 1);
    assert_eq!(at_once(1, "11").0, 1);
}
