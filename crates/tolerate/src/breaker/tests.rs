//! What opens and closes a breaker, by the vectors of others and by chance.

use std::sync::Barrier;
use std::thread;

use proptest::prelude::*;

use super::*;

const STEP: Duration = Duration::from_millis(10);

fn second(second: u64) -> Instant {
    Instant::from_millis(second * 1_000)
}

fn options() -> BreakerOptions {
    BreakerOptions {
        consecutive: None,
        failure_ratio: None,
        jitter: 0.0,
        ..BreakerOptions::default()
    }
}

fn pass(breaker: &Breaker, now: Instant, end: BreakerOutcome) -> Option<Transition> {
    breaker
        .try_pass(now)
        .expect("it lets through")
        .finish(now, end)
}

/// resilience4j's vectors for a window of four: E, S, S, S, and another S.
#[test]
fn the_shares_of_a_window_by_count() {
    let mut window = AttemptWindow::new(WindowKind::Count(4));
    let mut shares = Vec::new();
    for is_bad in [true, false, false, false, false] {
        window.add(second(1), is_bad, false);
        shares.push(window.ratios(second(1)).failed());
    }
    let expected = [1.0, 0.5, 1.0 / 3.0, 0.25, 0.0];
    for (share, expected) in shares.iter().zip(expected) {
        assert!((share - expected).abs() < 1e-12, "{shares:?}");
    }
    assert_eq!(window.ratios(second(99)).total, 4, "time does not matter");
}

#[test]
fn a_window_by_time_forgets() {
    let mut window = AttemptWindow::new(WindowKind::Time(Duration::from_secs(10)));
    window.add(second(1), true, true);
    window.add(second(8), false, true);
    let at = |window: &mut AttemptWindow, time| {
        let ratios = window.ratios(second(time));
        (ratios.total, ratios.bad, ratios.slow)
    };
    assert_eq!(at(&mut window, 9), (2, 1, 2));
    assert_eq!(at(&mut window, 12), (1, 0, 1));
    assert_eq!(at(&mut window, 30), (0, 0, 0));
}

#[test]
fn failures_in_a_row_open_it_and_a_good_trial_closes_it() {
    let breaker = Breaker::new(
        BreakerOptions {
            consecutive: Some(3),
            ..options()
        },
        1,
    );
    let now = second(1);
    for end in [
        BreakerOutcome::Bad,
        BreakerOutcome::Bad,
        BreakerOutcome::Good,
        BreakerOutcome::Bad,
        BreakerOutcome::Bad,
        BreakerOutcome::Ignored,
    ] {
        assert_eq!(pass(&breaker, now, end), None);
    }
    let until = now + Duration::from_secs(5);
    let opened = Transition::Opened(OpenReason::Consecutive, until);
    assert_eq!(pass(&breaker, now, BreakerOutcome::Bad), Some(opened));
    let refused = BreakerOpen { until: Some(until) };
    assert_eq!(
        breaker.admit(now + Duration::from_millis(4_999)),
        Err(refused)
    );

    let trial = breaker.try_pass(until).expect("its time is over");
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    assert_eq!(breaker.admit(until), Err(BreakerOpen { until: None }));
    assert_eq!(
        trial.finish(until + STEP, BreakerOutcome::Good),
        Some(Transition::Closed)
    );
    assert_eq!(pass(&breaker, until + STEP, BreakerOutcome::Good), None);
    let snapshot = breaker.snapshot(until + STEP);
    assert_eq!(snapshot.changes, [1, 1, 1, 0, 0]);
    assert_eq!((snapshot.refused, snapshot.ratios.total), (2, 1));
}

#[test]
fn it_stays_open_longer_each_time_until_it_was_closed() {
    let breaker = Breaker::new(
        BreakerOptions {
            consecutive: Some(1),
            open_most: Duration::from_secs(12),
            ..options()
        },
        1,
    );
    let mut now = second(1);
    let mut times = Vec::new();
    for _ in 0..4 {
        let Some(Transition::Opened(_, until)) = pass(&breaker, now, BreakerOutcome::Bad) else {
            panic!("it opens")
        };
        times.push((until - now).as_secs());
        now = until;
    }
    assert_eq!(times, [5, 10, 12, 12]);
    assert_eq!(
        pass(&breaker, now, BreakerOutcome::Good),
        Some(Transition::Closed)
    );
    let Some(Transition::Opened(_, until)) = pass(&breaker, now, BreakerOutcome::Bad) else {
        panic!("it opens")
    };
    assert_eq!((until - now).as_secs(), 5);
}

#[test]
fn shares_need_enough_attempts() {
    let breaker = Breaker::new(
        BreakerOptions {
            failure_ratio: Some(0.5),
            minimum_attempts: 10,
            ..options()
        },
        1,
    );
    let now = second(1);
    for _ in 0..4 {
        assert_eq!(pass(&breaker, now, BreakerOutcome::Bad), None);
        assert_eq!(pass(&breaker, now, BreakerOutcome::Good), None);
    }
    assert_eq!(pass(&breaker, now, BreakerOutcome::Good), None);
    assert!(matches!(
        pass(&breaker, now, BreakerOutcome::Bad),
        Some(Transition::Opened(OpenReason::Ratio, _))
    ));
}

#[test]
fn slow_attempts_open_it_though_they_succeed() {
    let breaker = Breaker::new(
        BreakerOptions {
            slow: Some(SlowCallOptions {
                after: Duration::from_millis(100),
                ratio: 0.6,
            }),
            minimum_attempts: 5,
            ..options()
        },
        1,
    );
    let took = |millis| {
        let admitted = breaker.admit(second(1)).expect("it lets through");
        breaker.ended(
            admitted,
            second(1),
            BreakerOutcome::Good,
            Duration::from_millis(millis),
        )
    };
    for millis in [50, 100, 200, 300] {
        assert_eq!(took(millis), None);
    }
    assert!(matches!(
        took(101),
        Some(Transition::Opened(OpenReason::Slow, _))
    ));
}

#[test]
fn an_attempt_from_before_a_transition_decides_nothing_after_it() {
    let breaker = Breaker::new(
        BreakerOptions {
            consecutive: Some(1),
            ..options()
        },
        1,
    );
    let early = breaker.try_pass(second(1)).expect("closed");
    let late = breaker.try_pass(second(1)).expect("closed");
    assert!(pass(&breaker, second(1), BreakerOutcome::Bad).is_some());
    let trial = breaker.try_pass(second(6)).expect("half-open");
    assert_eq!(early.finish(second(6), BreakerOutcome::Good), None);
    assert_eq!(late.finish(second(6), BreakerOutcome::Bad), None);
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    assert_eq!(
        trial.finish(second(6), BreakerOutcome::Good),
        Some(Transition::Closed)
    );
}

#[test]
fn a_dropped_trial_releases_its_permit() {
    let breaker = Arc::new(Breaker::new(
        BreakerOptions {
            consecutive: Some(1),
            ..options()
        },
        1,
    ));
    assert!(pass(&breaker, second(1), BreakerOutcome::Bad).is_some());
    for _ in 0..3 {
        drop(breaker.try_pass_owned(second(6)).expect("half-open"));
    }
    let ignored = breaker.try_pass(second(6)).expect("half-open");
    assert_eq!(ignored.finish(second(6), BreakerOutcome::Ignored), None);
    assert_eq!(breaker.snapshot(second(6)).trials, 0);
    // One that is forgotten altogether blocks the others, but not for ever.
    let lost = breaker.admit(second(6)).expect("half-open");
    assert!(breaker.admit(second(300)).is_err());
    assert!(breaker.admit(second(307)).is_ok());
    breaker.abandoned(lost);
}

#[test]
fn a_forced_state_holds_until_reset() {
    let breaker = Breaker::new(BreakerOptions::default(), 1);
    breaker.force(true);
    assert_eq!(
        breaker.admit(second(9_999)),
        Err(BreakerOpen { until: None })
    );
    breaker.force(false);
    for _ in 0..100 {
        assert_eq!(pass(&breaker, second(1), BreakerOutcome::Bad), None);
    }
    assert_eq!(breaker.snapshot(second(1)).ratios.bad, 100);
    breaker.reset();
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert_eq!(pass(&breaker, second(1), BreakerOutcome::Bad), None);
}

#[test]
fn jitter_adds_a_part() {
    let mut seen = Vec::new();
    for seed in 0..200 {
        let options = BreakerOptions {
            consecutive: Some(1),
            jitter: 0.2,
            ..options()
        };
        let breaker = Breaker::new(options, seed);
        let Some(Transition::Opened(_, until)) = pass(&breaker, second(0), BreakerOutcome::Bad)
        else {
            panic!("it opens")
        };
        seen.push(until.as_nanos() as f64 / 1e9);
    }
    seen.sort_by(f64::total_cmp);
    assert!(
        seen[0] >= 5.0 && seen[0] < 5.05 && seen[199] <= 6.0 && seen[199] > 5.95,
        "{seen:?}"
    );
}

#[test]
fn options_are_plain_data() {
    let options = BreakerOptions::default();
    let text = serde_json::to_string(&options).expect("data");
    assert_eq!(
        serde_json::from_str::<BreakerOptions>(&text).expect("the same"),
        options
    );
    assert!(serde_json::from_str::<BreakerOptions>("{\"consequtive\": 3}").is_err());
}

proptest! {
    /// Whatever happens in whatever order: never more trials at once than allowed, and it does not stay shut.
    #[test]
    fn trials_never_exceed_their_number(
        trials in 1_u32..4,
        steps in proptest::collection::vec((0_u8..5, 0_usize..8, 0_u64..3_000), 1..200),
    ) {
        let breaker = Breaker::new(
            BreakerOptions { consecutive: Some(2), trials, good_trials: 2, ..options() },
            7,
        );
        let mut now = second(1);
        let mut passes: Vec<BreakerPermit<&Breaker>> = Vec::new();
        for (what, which, wait) in steps {
            now += Duration::from_millis(wait);
            if what == 0 || passes.is_empty() {
                passes.extend(breaker.try_pass(now));
            } else {
                let pass = passes.swap_remove(which % passes.len());
                match what {
                    1 => drop(pass),
                    2 => _ = pass.finish(now, BreakerOutcome::Good),
                    3 => _ = pass.finish(now, BreakerOutcome::Bad),
                    _ => _ = pass.finish(now, BreakerOutcome::Ignored),
                }
            }
            let snapshot = breaker.snapshot(now);
            prop_assert!(snapshot.trials <= trials);
            prop_assert!(snapshot.state != BreakerState::HalfOpen || passes.len() >= snapshot.trials as usize);
        }
        passes.clear();
        prop_assert_eq!(breaker.snapshot(now).trials, 0);
        let later = now + Duration::from_secs(400);
        prop_assert!(breaker.try_pass(later).is_ok());
    }
}

/// Options that open it for nothing.
fn never() -> BreakerOptions {
    BreakerOptions {
        consecutive: None,
        failure_ratio: None,
        slow: Some(SlowCallOptions {
            after: Duration::from_millis(10),
            ratio: 2.0,
        }),
        ..BreakerOptions::default()
    }
}

#[test]
fn every_end_is_counted_whatever_the_threads_do() {
    const THREADS: u64 = 8;
    const EACH: u64 = 20_000;
    let breaker = Arc::new(Breaker::new(never(), 1));
    let start = Arc::new(Barrier::new(THREADS as usize));
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (breaker, start) = (Arc::clone(&breaker), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                for n in 0..EACH {
                    let admitted = breaker.admit(second(1)).expect("nothing opens it");
                    let end = if n % 4 == 0 {
                        BreakerOutcome::Bad
                    } else {
                        BreakerOutcome::Good
                    };
                    let took = Duration::from_millis(9 + (n + thread) % 2 * 2);
                    assert_eq!(breaker.ended(admitted, second(1), end, took), None);
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().expect("no panic"));
    let ratios = breaker.snapshot(second(1)).ratios;
    let all = THREADS * EACH;
    let counted = (ratios.total, ratios.bad, ratios.slow);
    assert_eq!(counted, (all, all / 4, all / 2));
}

#[test]
fn threads_that_fail_together_open_it_once() {
    const THREADS: u64 = 8;
    const EACH: u64 = 50;
    for round in 0..50 {
        let options = BreakerOptions {
            consecutive: Some((THREADS * EACH) as u32),
            failure_ratio: None,
            ..BreakerOptions::default()
        };
        let breaker = Arc::new(Breaker::new(options, round));
        let start = Arc::new(Barrier::new(THREADS as usize));
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (breaker, start) = (Arc::clone(&breaker), Arc::clone(&start));
                thread::spawn(move || {
                    start.wait();
                    let end = |_| {
                        let admitted = breaker.admit(second(1)).expect("closed");
                        breaker.ended(admitted, second(1), BreakerOutcome::Bad, Duration::ZERO)
                    };
                    (0..EACH).filter_map(end).count()
                })
            })
            .collect();
        let told: usize = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .sum();
        // Only the very last one opens it, and somebody is told.
        assert_eq!((told, breaker.state()), (1, BreakerState::Open), "{round}");
    }
}

#[test]
fn times_without_end_are_no_error() {
    let options = BreakerOptions {
        consecutive: Some(1),
        open_for: Duration::MAX,
        open_most: Duration::MAX,
        growth: f64::INFINITY,
        jitter: 1.0,
        ..BreakerOptions::default()
    };
    let breaker = Breaker::new(options, 1);
    let change = pass(&breaker, second(1), BreakerOutcome::Bad);
    assert_eq!(
        change,
        Some(Transition::Opened(OpenReason::Consecutive, Instant::NEVER))
    );
    assert!(breaker.try_pass(second(1_000_000)).is_err());
}
