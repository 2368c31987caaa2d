//! Prequal with load probes.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::time::Duration;

use common::*;
use evenkeel_balance::{Member, Picker, Policy, Pool, ProbedLoad};
use evenkeel_core::{EjectionReason, Outcome};

fn said(in_flight: f64) -> Option<ProbedLoad> {
    let latency = None;
    Some(ProbedLoad { in_flight, latency })
}

fn quick(in_flight: f64, millis: u64) -> Option<ProbedLoad> {
    let latency = Some(Duration::from_millis(millis));
    Some(ProbedLoad { in_flight, latency })
}

/// All servers have taken this many milliseconds so far.
fn took(pool: &Pool, millis: impl Fn(usize) -> u64) {
    for (slot, member) in pool.members().iter().enumerate() {
        for _ in 0..4 {
            let typical = Duration::from_millis(10);
            answer(
                &member.state,
                at(0),
                Outcome::Answered(200),
                millis(slot),
                typical,
            );
        }
    }
}

/// How often each server is picked, ten picks per millisecond from `from`; with each pick a server is asked and answers at
/// once. Attempts end before the next pick and leave the estimates as they are.
fn run(
    (picker, pool): (&mut Picker, &Pool),
    (from, picks): (u64, usize),
    mut says: impl FnMut(usize) -> Option<ProbedLoad>,
) -> Vec<f64> {
    let mut counts = vec![0; pool.members().len()];
    for n in 0..picks {
        let now = at(from + n as u64 / 10);
        let pick = picker.pick(pool, now, &[]).expect("somebody is usable");
        counts[pick.index as usize] += 1;
        if let Some(asked) = picker.to_ask(pool, now) {
            match says(asked as usize) {
                Some(answer) => picker.heard(pool, now, asked, answer),
                None => picker.unheard(),
            }
        }
    }
    let parts = counts
        .into_iter()
        .map(|count: usize| count as f64 / picks as f64);
    parts.collect()
}

#[test]
fn a_server_that_is_busy_for_others_is_avoided() {
    for servers in [2, 3, 5, 10, 100] {
        let pool = pool(Policy::Prequal, servers);
        // As quick as the others, or even quicker.
        for millis in [10, 6] {
            took(&pool, |slot| if slot == 0 { millis } else { 10 });
            let mut picker = Picker::new(&pool, 5);
            let says = |slot| said(if slot == 0 { 1_000.0 } else { 3.0 });
            let parts = run((&mut picker, &pool), (0, 4_000), says);
            let fair = 1.0 / servers as f64;
            assert!(parts[0] < fair / 5.0, "{servers} servers: {parts:?}");
            assert!(parts[1] > 0.0, "{servers} servers: {parts:?}");
        }
    }
}

#[test]
fn the_fastest_of_the_servers_with_low_reported_load_is_picked() {
    let pool = pool(Policy::Prequal, 4);
    took(&pool, |_| 10);
    let mut picker = Picker::new(&pool, 5);
    let mut turn = 0;
    let says = |slot| {
        turn += 1;
        match slot {
            0 => quick(90.0, 2),
            1 => quick(f64::from(turn % 4), 5),
            _ => quick(f64::from(turn % 8), 50),
        }
    };
    let parts = run((&mut picker, &pool), (0, 4_000), says);
    assert!(parts[1] > 0.6 && parts[0] < 0.1, "{parts:?}");
}

#[test]
fn an_answer_is_used_for_a_second() {
    let pool = pool(Policy::Prequal, 3);
    took(&pool, |_| 10);
    let mut picker = Picker::new(&pool, 5);
    let says = |slot| said(if slot == 0 { 50.0 } else { 0.0 });
    run((&mut picker, &pool), (0, 100), says);
    let mut later = |millis| {
        // A few picks only: an answer is good for sixteen.
        let counts = counts(&mut picker, &pool, at(millis), &[], 12);
        counts[0]
    };
    assert_eq!(later(900), 0);
    assert!(later(1_100) > 0, "by own counts all are alike");
}

#[test]
fn with_fewer_than_two_probe_results_it_picks_without_them() {
    let pool = pool(Policy::Prequal, 3);
    took(&pool, |_| 10);
    for answering in [0, 1] {
        let mut picker = Picker::new(&pool, 5);
        let says = |slot| (slot < answering).then(|| said(0.0)).flatten();
        let parts = run((&mut picker, &pool), (0, 6_000), says);
        assert_close(&parts, &[1.0 / 3.0; 3], 0.05);
    }
}

/// In the middle of an upgrade two of ten servers can be asked: those that cannot are not left out.
#[test]
fn servers_that_do_not_answer_probes_keep_about_their_share() {
    let pool = pool(Policy::Prequal, 10);
    took(&pool, |_| 10);
    let mut picker = Picker::new(&pool, 5);
    let says = |slot| if slot < 2 { said(4.0) } else { None };
    let parts = run((&mut picker, &pool), (0, 10_000), says);
    assert!(parts[0] + parts[1] < 0.4, "{parts:?}");
    for part in &parts[2..] {
        assert!(*part > 0.05, "{parts:?}");
    }
}

#[test]
fn a_failing_server_that_reports_no_load_is_not_preferred() {
    for servers in [3, 10] {
        let pool = pool(Policy::Prequal, servers);
        took(&pool, |_| 10);
        let typical = Duration::from_millis(10);
        let failed = Outcome::Answered(500);
        answer(&pool.members()[0].state, at(0), failed, 1, typical);
        let mut picker = Picker::new(&pool, 5);
        let mut turn = 0;
        let says = |slot| {
            turn += 1;
            if slot == 0 {
                quick(0.0, 1)
            } else {
                quick(f64::from(4 + turn % 5), 10)
            }
        };
        let parts = run((&mut picker, &pool), (0, 4_000), says);
        assert!(parts[0] < 0.5 / servers as f64, "{servers}: {parts:?}");
    }
}

#[test]
fn what_is_known_to_be_in_flight_is_the_least_that_is_believed() {
    let pool = pool(Policy::Prequal, 3);
    took(&pool, |_| 10);
    (0..50).for_each(|_| pool.members()[0].state.begin());
    let mut picker = Picker::new(&pool, 5);
    let says = |slot| said(if slot == 0 { 0.0 } else { 4.0 });
    let parts = run((&mut picker, &pool), (0, 2_000), says);
    assert!(parts[0] < 0.05, "{parts:?}");
}

#[test]
fn what_an_answer_draws_to_a_server_is_counted_until_the_next_answer() {
    let pool = pool(Policy::Prequal, 2);
    took(&pool, |_| 10);
    let mut picker = Picker::new(&pool, 5);
    for index in [0, 1] {
        let answer = said(f64::from(index) * 4.0).unwrap();
        picker.heard(&pool, at(1), index, answer);
    }
    // Eight picks level them out, and none of them was begun as far as the counts of this side know.
    let counts = counts(&mut picker, &pool, at(2), &[], 8);
    assert!((5..=7).contains(&counts[0]), "{counts:?}");
}

#[test]
fn a_server_on_trial_takes_about_its_part() {
    for servers in [3, 10] {
        let pool = pool(Policy::Prequal, servers);
        took(&pool, |_| 10);
        trial(&pool, 0, 0.1, 10_000);
        let mut picker = Picker::new(&pool, 5);
        let says = |slot| said(if slot == 0 { 0.0 } else { 4.0 });
        let parts = run((&mut picker, &pool), (0, 20_000), says);
        assert!((0.002..0.11).contains(&parts[0]), "{servers}: {parts:?}");
    }
}

#[test]
fn those_that_may_be_picked_are_asked_by_weight() {
    let pool = weighted(Policy::Prequal, &[1, 3, 4, 2]);
    eject(&pool, 2, EjectionReason::Known, 1 << 40);
    let mut picker = Picker::new(&pool, 5);
    let mut asked = [0.0; 4];
    for _ in 0..6_000 {
        let index = picker.to_ask(&pool, at(5)).expect("there is a choice");
        asked[index as usize] += 1.0 / 6_000.0;
    }
    assert_close(&asked, &[1.0 / 6.0, 0.5, 0.0, 1.0 / 3.0], 0.03);
}

#[test]
fn no_probe_is_sent_where_it_cannot_change_the_pick() {
    for policy in ALL.into_iter().filter(|policy| *policy != Policy::Prequal) {
        let pool = pool(policy, 3);
        assert_eq!(Picker::new(&pool, 5).to_ask(&pool, at(5)), None);
    }
    for servers in [0, 1] {
        let pool = pool(Policy::Prequal, servers);
        assert_eq!(Picker::new(&pool, 5).to_ask(&pool, at(5)), None);
    }
}

#[test]
fn answers_of_a_tier_are_for_picks_of_that_tier() {
    let far = |slot| Member {
        near: slot < 4,
        ..member(1, 0)
    };
    let pool = Pool::new(options(Policy::Prequal), (0..8).map(far).collect());
    took(&pool, |_| 10);
    eject(&pool, 0, EjectionReason::Known, 1 << 40);
    eject(&pool, 1, EjectionReason::Known, 1 << 40);
    let mut picker = Picker::new(&pool, 5);
    // The far ones look better, but get only their three tenths.
    let says = |slot| said(if slot < 4 { 9.0 } else { 1.0 });
    let parts = run((&mut picker, &pool), (0, 10_000), says);
    let near: f64 = parts[..4].iter().sum();
    assert!((near - 0.7).abs() < 0.03, "{parts:?}");
}

#[test]
fn probe_results_of_ejected_servers_and_invalid_numbers_are_ignored() {
    let pool = pool(Policy::Prequal, 3);
    took(&pool, |_| 10);
    let mut picker = Picker::new(&pool, 5);
    eject(&pool, 0, EjectionReason::Known, 1 << 40);
    picker.heard(&pool, at(1), 0, said(1.0).unwrap());
    picker.heard(&pool, at(1), 99, said(1.0).unwrap());
    for wrong in [-1.0, f64::NAN, f64::INFINITY] {
        picker.heard(&pool, at(1), 1, said(wrong).unwrap());
    }
    let last = |slot: usize| pool.members()[slot].state.answered();
    assert_eq!((last(0), last(1)), (None, None));
    picker.heard(&pool, at(7), 1, quick(2.5, 0).unwrap());
    assert_eq!(last(1), quick(2.5, 0).map(|answer| (answer, at(7))));
    picker.heard(&pool, at(8), 1, said(0.0).unwrap());
    assert_eq!(last(1), said(0.0).map(|answer| (answer, at(8))));
}

#[test]
fn servers_that_have_as_many_as_they_may_are_passed_over() {
    let bounded = |slot| Member {
        max_requests: u32::from(slot == 0),
        ..member(1, 0)
    };
    let pool = Pool::new(options(Policy::Prequal), (0..3).map(bounded).collect());
    took(&pool, |_| 10);
    assert!(pool.members()[0].begin());
    let mut picker = Picker::new(&pool, 5);
    let says = |slot| said(if slot == 0 { 0.0 } else { 40.0 });
    let parts = run((&mut picker, &pool), (0, 1_000), says);
    assert!(parts[0] <= 0.0, "{parts:?}");
}
