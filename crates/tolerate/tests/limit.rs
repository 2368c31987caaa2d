//! Limits in front of a server with a queue, in virtual time: requests come whether or not the last ones were answered.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use evenkeel_core::{Instant, Random};
use evenkeel_tolerate::limit::{AimdOptions, Gradient2Options, RemeasureOptions, VegasOptions};
use evenkeel_tolerate::{Limit, LimitOptions, LimitOutcome};

/// Places of the server, and what a request takes in one of them: 1,000 requests a second at most.
const PLACES: usize = 10;
const WORK: Duration = Duration::from_millis(10);

/// What a run gave in its second half.
#[derive(Debug)]
struct Seen {
    per_second: f64,
    /// Mean time from permit to answer.
    took: Duration,
    /// The limit at its largest and at the end.
    largest: u32,
    last: u32,
}

/// `offered` requests a second for `seconds`; times between them and work are exponential.
fn run(options: &LimitOptions, offered: f64, seconds: u64) -> Seen {
    let mut rng = Random::seeded(7);
    let mut draw = |mean: f64| Duration::from_secs_f64(-mean * (1.0 - rng.unit()).ln());
    let limit = Limit::new(options, Instant::ZERO, 1);
    let end = Instant::from_millis(seconds * 1_000);
    let half = Instant::from_millis(seconds * 500);
    // Each place of the server is free at some time; first come, first served.
    let mut free: BinaryHeap<Reverse<Instant>> =
        (0..PLACES).map(|_| Reverse(Instant::ZERO)).collect();
    let mut running = Vec::new();
    let mut answers: BinaryHeap<Reverse<(Instant, usize)>> = BinaryHeap::new();
    let (mut now, mut done, mut spent, mut largest) = (Instant::ZERO, 0_u32, Duration::ZERO, 0);
    while now < end {
        now += draw(1.0 / offered);
        while let Some(&Reverse((at, id))) = answers.peek().filter(|Reverse((at, _))| *at <= now) {
            answers.pop();
            let (permit, began): (evenkeel_tolerate::Permit<&Limit>, Instant) =
                Option::take(&mut running[id]).expect("answered once");
            permit.finish(at, LimitOutcome::Good);
            if at > half {
                done += 1;
                spent += at - began;
                largest = largest.max(limit.limit());
            }
        }
        if let Some(permit) = limit.try_acquire(now) {
            let Reverse(place) = free.pop().expect("as many as there are");
            let answer = place.max(now) + draw(WORK.as_secs_f64());
            free.push(Reverse(answer));
            answers.push(Reverse((answer, running.len())));
            running.push(Some((permit, now)));
        }
    }
    drop(running);
    assert_eq!(limit.in_flight(), 0, "no permit leaked");
    Seen {
        per_second: f64::from(done) / (seconds as f64 / 2.0),
        took: spent / done.max(1),
        largest,
        last: limit.limit(),
    }
}

fn gradient2(remeasure: Option<RemeasureOptions>) -> LimitOptions {
    LimitOptions::Gradient2(Gradient2Options {
        min: 1,
        remeasure,
        ..Gradient2Options::default()
    })
}

#[test]
fn twice_what_a_server_can_do_is_held_to_what_it_can_do() {
    let fixed = run(&LimitOptions::Fixed(200), 2_000.0, 120);
    assert!(fixed.took > WORK * 18, "all of it waits: {fixed:?}");
    for options in [
        gradient2(Some(RemeasureOptions::default())),
        LimitOptions::Vegas(VegasOptions::default()),
    ] {
        let seen = run(&options, 2_000.0, 600);
        assert!(seen.per_second > 900.0, "{options:?}: {seen:?}");
        assert!(seen.took < WORK * 4, "{options:?}: {seen:?}");
    }
}

#[test]
fn only_the_remeasured_baseline_keeps_the_queue_short_for_long() {
    let creeping = run(&gradient2(None), 1_200.0, 1_500);
    let steady = run(
        &gradient2(Some(RemeasureOptions::default())),
        1_200.0,
        1_500,
    );
    assert!(creeping.largest > 100, "{creeping:?}");
    assert!(steady.largest < 50, "{steady:?}");
    assert!(steady.per_second > 930.0, "{steady:?}");
}

#[test]
fn little_load_leaves_the_limit_where_it_is() {
    for options in [
        gradient2(Some(RemeasureOptions::default())),
        LimitOptions::Aimd(AimdOptions::default()),
    ] {
        let seen = run(&options, 300.0, 120);
        assert!((295.0..305.0).contains(&seen.per_second), "{seen:?}");
        assert!(seen.last <= 25, "{options:?}: {seen:?}");
    }
}
