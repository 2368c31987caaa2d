//! A breaker in virtual time, and under threads; apart for their length.

use std::sync::Arc;
use std::thread;

use proptest::prelude::*;

use super::*;

const QUICK: Duration = Duration::from_millis(1);

const fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// Open for exactly 5 s.
fn exact() -> BreakerOptions {
    BreakerOptions {
        open: OpenOptions {
            jitter: 0.0,
            ..OpenOptions::default()
        },
        ..BreakerOptions::default()
    }
}

fn breaker(options: BreakerOptions) -> Breaker {
    Breaker::new(options, Instant::ZERO, 1)
}

fn end(breaker: &Breaker, now: Instant, mark: Mark) -> Option<Change> {
    breaker.try_pass(now).unwrap().finish(now, mark, QUICK)
}

fn opened(options: BreakerOptions) -> Breaker {
    let breaker = breaker(options);
    while breaker.state() == State::Closed {
        end(&breaker, Instant::ZERO, Mark::Bad);
    }
    breaker
}

#[test]
fn five_in_a_row_open_it_and_one_good_on_trial_closes_it() {
    let breaker = breaker(exact());
    for mark in [
        Mark::Bad,
        Mark::Bad,
        Mark::Bad,
        Mark::Bad,
        Mark::Good,
        Mark::Neutral,
    ] {
        assert_eq!(end(&breaker, at(0), mark), None);
    }
    for _ in 0..4 {
        assert_eq!(end(&breaker, at(10), Mark::Bad), None);
    }
    // What says nothing does not break the row.
    end(&breaker, at(10), Mark::Neutral);
    let change = Change {
        to: State::Open,
        why: Why::Consecutive,
    };
    assert_eq!(end(&breaker, at(10), Mark::Bad), Some(change));
    let refused = Refused {
        until: at(5_010),
        state: State::Open,
    };
    assert_eq!(breaker.try_pass(at(5_009)).unwrap_err(), refused);

    let pass = breaker.try_pass(at(5_010)).unwrap();
    assert!(pass.is_trial());
    assert_eq!(
        breaker.try_pass(at(5_011)).unwrap_err().state,
        State::HalfOpen
    );
    let change = Change {
        to: State::Closed,
        why: Why::TrialPassed,
    };
    assert_eq!(pass.finish(at(5_020), Mark::Good, QUICK), Some(change));
    assert!(!breaker.try_pass(at(5_021)).unwrap().is_trial());
    let snapshot = breaker.snapshot(at(5_021));
    assert_eq!(
        (snapshot.opened, snapshot.half_opened, snapshot.closed),
        (1, 1, 1)
    );
    assert_eq!(
        (snapshot.refused, snapshot.bad, snapshot.neutral),
        (2, 9, 3)
    );
}

/// Polly's advanced breaker: from the least throughput on, a failing share opens it; below that nothing does.
#[test]
fn a_share_opens_it_once_there_are_enough() {
    let options = BreakerOptions {
        consecutive: None,
        minimum_attempts: 4,
        ..exact()
    };
    let breaker = breaker(options);
    for mark in [Mark::Bad, Mark::Bad, Mark::Good] {
        assert_eq!(end(&breaker, at(0), mark), None);
    }
    let change = Change {
        to: State::Open,
        why: Why::FailureRatio,
    };
    assert_eq!(end(&breaker, at(0), Mark::Bad), Some(change));

    let breaker = Breaker::new(options, at(0), 1);
    for _ in 0..3 {
        assert_eq!(end(&breaker, at(0), Mark::Bad), None);
    }
    // The three are out of the window.
    assert_eq!(end(&breaker, at(10_000), Mark::Bad), None);
    // One of four is less than half.
    let breaker = Breaker::new(options, at(0), 1);
    for mark in [Mark::Good, Mark::Good, Mark::Good, Mark::Bad] {
        assert_eq!(end(&breaker, at(0), mark), None);
    }
}

#[test]
fn a_small_window_by_count_is_judged_when_it_is_full() {
    let breaker = breaker(BreakerOptions {
        consecutive: None,
        window: WindowOptions::Attempts(4),
        ..exact()
    });
    for mark in [Mark::Good, Mark::Bad, Mark::Bad] {
        assert_eq!(end(&breaker, at(0), mark), None);
    }
    assert!(end(&breaker, at(0), Mark::Good).is_some());
}

#[test]
fn slow_attempts_open_it_even_if_they_are_good() {
    let breaker = breaker(BreakerOptions {
        minimum_attempts: 2,
        slow: Some(SlowOptions {
            after: Duration::from_millis(100),
            ratio: 1.0,
        }),
        ..exact()
    });
    let slow = Duration::from_millis(101);
    let finish = |now: u64, took| {
        breaker
            .try_pass(at(now))
            .unwrap()
            .finish(at(now), Mark::Good, took)
    };
    assert_eq!(finish(0, slow), None);
    let change = Change {
        to: State::Open,
        why: Why::SlowRatio,
    };
    assert_eq!(finish(0, slow), Some(change));
    // A slow trial fails.
    assert_eq!(finish(5_000, slow).unwrap().why, Why::TrialFailed);
    assert_eq!(
        finish(10_000, Duration::from_millis(100)).unwrap().to,
        State::Closed
    );
    assert_eq!(breaker.snapshot(at(10_000)).slow, 3);
}

#[test]
fn each_failed_trial_makes_it_wait_longer_up_to_a_bound() {
    let mut options = exact();
    options.open = OpenOptions {
        first: Duration::from_secs(1),
        factor: 2.0,
        longest: Duration::from_secs(5),
        jitter: 0.0,
    };
    let breaker = opened(options);
    let mut now = at(0);
    for seconds in [1, 2, 4, 5, 5] {
        let until = breaker.try_pass(now).unwrap_err().until;
        assert_eq!(until, now + Duration::from_secs(seconds));
        now = until;
        end(&breaker, now, Mark::Bad);
    }
    let until = breaker.try_pass(now).unwrap_err().until;
    end(&breaker, until, Mark::Good);
    for _ in 0..5 {
        end(&breaker, until, Mark::Bad);
    }
    assert_eq!(
        breaker.try_pass(until).unwrap_err().until,
        until + Duration::from_secs(1),
        "from the start again"
    );
}

#[test]
fn jitter_makes_it_longer_only() {
    let mut longest = at(0);
    for seed in 0..200 {
        let breaker = Breaker::new(BreakerOptions::default(), at(0), seed);
        for _ in 0..5 {
            end(&breaker, at(0), Mark::Bad);
        }
        let until = breaker.try_pass(at(0)).unwrap_err().until;
        assert!(until >= at(5_000) && until <= at(5_500), "{until:?}");
        longest = longest.max(until);
    }
    assert!(longest > at(5_400));
}

#[test]
fn a_trial_is_decided_as_soon_as_it_can_be() {
    let options = BreakerOptions {
        trial: TrialOptions {
            permits: 4,
            attempts: 10,
            good_ratio: 0.7,
            ..TrialOptions::default()
        },
        ..exact()
    };
    let breaker = opened(options);
    let passes: Vec<_> = (0..4)
        .map(|_| breaker.try_pass(at(5_000)).unwrap())
        .collect();
    assert!(breaker.try_pass(at(5_000)).is_err(), "four at once");
    drop(passes);
    for n in 0..6 {
        let mark = if n < 3 { Mark::Bad } else { Mark::Good };
        assert_eq!(end(&breaker, at(5_001), mark), None);
    }
    for n in 0..4 {
        assert_eq!(
            end(&breaker, at(5_002), Mark::Good).is_some(),
            n == 3,
            "the seventh good one"
        );
    }
    let breaker = opened(options);
    for n in 0..4 {
        assert_eq!(
            end(&breaker, at(5_000), Mark::Bad).is_some(),
            n == 3,
            "the fourth bad one"
        );
    }
}

#[test]
fn cancelled_trials_give_back_their_place_and_lost_ones_are_forgiven() {
    let breaker = opened(exact());
    for _ in 0..10_000 {
        drop(breaker.try_pass(at(5_000)).unwrap());
    }
    let lost = breaker.admit(at(5_000)).unwrap();
    assert_eq!(
        breaker.admit(at(64_999)),
        Err(Refused {
            until: at(65_000),
            state: State::HalfOpen
        })
    );
    let other = breaker.admit(at(65_000)).unwrap();
    assert_eq!(breaker.snapshot(at(65_000)).why, Why::TrialLapsed);
    // The lost one comes back after all: it neither decides nor frees the place of the other.
    assert_eq!(breaker.record(lost, at(65_001), Mark::Good, QUICK), None);
    breaker.release(lost);
    assert!(breaker.admit(at(65_001)).is_err());
    assert_eq!(
        breaker
            .record(other, at(65_002), Mark::Good, QUICK)
            .unwrap()
            .to,
        State::Closed
    );
    assert_eq!(breaker.snapshot(at(65_002)).late, 2);
}

#[test]
fn results_of_before_a_change_say_nothing_after_it() {
    let breaker = breaker(exact());
    let early: Vec<_> = (0..8).map(|_| breaker.try_pass(at(0)).unwrap()).collect();
    let mut changes = 0;
    for pass in early {
        changes += u32::from(pass.finish(at(1), Mark::Bad, QUICK).is_some());
    }
    assert_eq!(changes, 1);
    assert_eq!(breaker.snapshot(at(1)).late, 3);
}

#[test]
fn what_is_forced_holds_until_it_is_lifted() {
    let breaker = breaker(exact());
    breaker.force(Some(Forced::Open), at(0));
    assert_eq!(
        breaker.try_pass(at(9_000_000)).unwrap_err().until,
        Instant::NEVER
    );
    for forced in [Forced::Closed, Forced::MetricsOnly] {
        breaker.force(Some(forced), at(0));
        for _ in 0..50 {
            assert_eq!(end(&breaker, at(1), Mark::Bad), None);
        }
        let measured = if forced == Forced::Closed { 0 } else { 50 };
        assert_eq!(breaker.snapshot(at(1)).window.bad, measured);
    }
    let before = breaker.try_pass(at(1)).unwrap();
    breaker.force(None, at(2));
    assert_eq!(before.finish(at(3), Mark::Bad, QUICK), None);
    for n in 0..5 {
        assert_eq!(end(&breaker, at(3), Mark::Bad).is_some(), n == 4);
    }
    assert_eq!(breaker.snapshot(at(3)).forced, None);
}

#[test]
fn odd_options_are_survived() {
    let nothing = OpenOptions {
        first: Duration::MAX,
        factor: f64::NAN,
        longest: Duration::MAX,
        jitter: f64::INFINITY,
    };
    for ratio in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let breaker = breaker(BreakerOptions {
            consecutive: Some(0),
            window: WindowOptions::Attempts(0),
            minimum_attempts: 0,
            failure_ratio: Some(ratio),
            slow: Some(SlowOptions {
                after: Duration::MAX,
                ratio,
            }),
            open: nothing,
            trial: TrialOptions {
                permits: 0,
                attempts: 0,
                good_ratio: ratio,
                longest: Duration::ZERO,
            },
        });
        // Zero in a row is as one, and good attempts alone open nothing.
        breaker.row.store(0, Ordering::Relaxed);
        assert_eq!(end(&breaker, at(0), Mark::Good), None);
        assert!(end(&breaker, at(0), Mark::Bad).is_some());
        assert!(breaker.try_pass(at(1_000)).is_err());
    }
}

#[test]
fn threads_never_have_more_on_trial_than_allowed() {
    let options = BreakerOptions {
        consecutive: Some(3),
        open: OpenOptions {
            first: Duration::from_micros(20),
            jitter: 0.0,
            ..OpenOptions::default()
        },
        trial: TrialOptions {
            permits: 2,
            attempts: 1_000,
            ..TrialOptions::default()
        },
        ..BreakerOptions::default()
    };
    let breaker = Arc::new(breaker(options));
    let on_trial = Arc::new(AtomicU32::new(0));
    let workers: Vec<_> = (0..4)
        .map(|worker: u64| {
            let (breaker, on_trial) = (Arc::clone(&breaker), Arc::clone(&on_trial));
            thread::spawn(move || {
                for n in 0..20_000_u64 {
                    let now = Instant::from_nanos(n * 1_000);
                    let Ok(pass) = breaker.try_pass_owned(now) else {
                        continue;
                    };
                    if pass.is_trial() {
                        // Neutral ends only, so one trial lasts to the end.
                        assert!(on_trial.fetch_add(1, Ordering::SeqCst) < 2);
                        on_trial.fetch_sub(1, Ordering::SeqCst);
                        drop(pass);
                    } else {
                        let mark = if (n + worker).is_multiple_of(7) {
                            Mark::Good
                        } else {
                            Mark::Bad
                        };
                        pass.finish(now, mark, QUICK);
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    assert_eq!(breaker.state(), State::HalfOpen);
    assert_eq!(breaker.word().out(), 0, "no place is lost");
}

proptest! {
    /// Whatever happens: no more on trial than allowed, none passes while it is open, and it never stays stuck.
    #[test]
    fn permits_never_leak(
        permits in 1_u32..4, attempts in 1_u32..6, good_ratio in 0.1..1.0_f64,
        steps in proptest::collection::vec((0_u8..6, 0_u64..3_000), 0..300),
    ) {
        let breaker = breaker(BreakerOptions {
            trial: TrialOptions { permits, attempts, good_ratio, longest: Duration::from_secs(20) },
            ..BreakerOptions::default()
        });
        let (mut now, mut held) = (Instant::ZERO, Vec::new());
        for (what, wait) in steps {
            now += Duration::from_millis(wait);
            if what < 3 {
                let until = breaker.until.load(Ordering::Relaxed);
                let was_open = breaker.state() == State::Open && until > now.as_nanos();
                let pass = breaker.try_pass(now);
                prop_assert!(!(was_open && pass.is_ok()));
                held.extend(pass.ok());
            } else if let Some(pass) = held.pop() {
                match what {
                    3 => drop(pass),
                    4 => drop(pass.finish(now, Mark::Good, QUICK)),
                    _ => drop(pass.finish(now, Mark::Bad, QUICK)),
                }
            }
            prop_assert!(breaker.word().out() <= permits.min(attempts));
        }
        // Even if those who are out never come back.
        held.into_iter().for_each(std::mem::forget);
        now += Duration::from_secs(400);
        prop_assert!(breaker.try_pass(now).is_ok());
    }
}
