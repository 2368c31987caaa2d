//! A queue does no worse than none, whatever the load and however long the callers wait.

use std::cell::Cell;
use std::time::Duration;

use evenkeel_core::{Instant, Random};
use evenkeel_tolerate::clock::AsyncClock;
use evenkeel_tolerate::{Call, Deadline, LimitOptions, QueueOptions, RecoveryOptions};

use super::common::{Crowd, millis, options, policy};

const PLACES: u32 = 4;
const CALLS: u32 = 500;

/// What a request takes, in milliseconds.
#[derive(Debug, Clone, Copy)]
enum Takes {
    Always(u64),
    Exponential(u64),
}

impl Takes {
    const fn mean(self) -> u64 {
        match self {
            Self::Always(mean) | Self::Exponential(mean) => mean,
        }
    }

    fn draw(self, random: &mut Random) -> Duration {
        match self {
            Self::Always(time) => millis(time),
            Self::Exponential(mean) => {
                let factor = -(1.0 - random.unit()).ln();
                Duration::from_secs_f64(mean as f64 / 1e3 * factor)
            }
        }
    }
}

/// How many of the calls are done before their deadlines, at so many times the capacity.
fn good(queue: Option<QueueOptions>, takes: Takes, load: f64, deadline: u64) -> u32 {
    let options = RecoveryOptions {
        deadline: None,
        limit: Some(LimitOptions::Fixed(PLACES)),
        queue,
        ..options()
    };
    let (clock, policy) = policy(options);
    let good = Cell::new(0);
    let mut random = Random::seeded(9);
    let mut crowd = Crowd::default();
    let mut came = 0.0;
    for _ in 0..CALLS {
        let apart = takes.mean() as f64 / f64::from(PLACES) / load;
        came -= apart * (1.0 - random.unit()).ln();
        let at = Instant::from_nanos((came * 1e6) as u64);
        let work = takes.draw(&mut random);
        let (clock, policy, good) = (&clock, &policy, &good);
        crowd.add(async move {
            clock.sleep_until(at).await;
            let call = Call::idempotent("get").until(Deadline::new(at, millis(deadline)));
            let run = policy.call(call).run(|_| {
                let work = clock.sleep(work);
                async move {
                    work.await;
                    Ok::<_, ()>(())
                }
            });
            let is_good = run.await.is_good();
            good.set(good.get() + u32::from(is_good));
        });
    }
    clock.run(crowd);
    good.get()
}

#[test]
fn a_queue_is_never_worse_than_none() {
    let queue = Some(QueueOptions::default());
    let mut worse = Vec::new();
    for takes in [
        Takes::Always(30),
        Takes::Always(250),
        Takes::Exponential(30),
        Takes::Exponential(100),
    ] {
        for load in [0.5, 1.0, 1.2, 2.0] {
            for deadline in [300, 1_000] {
                let (with, without) = (
                    good(queue, takes, load, deadline),
                    good(None, takes, load, deadline),
                );
                // A hundredth of the calls is chance.
                if with + CALLS / 100 < without {
                    worse.push((takes, load, deadline, with, without));
                }
            }
        }
    }
    assert!(worse.is_empty(), "{worse:#?}");
}

#[test]
fn a_fifth_too_much_costs_little_more_than_a_fifth() {
    let queue = Some(QueueOptions::default());
    for takes in [Takes::Always(30), Takes::Exponential(30)] {
        let good = good(queue, takes, 1.2, 300);
        assert!(good >= CALLS * 3 / 4, "{takes:?}: {good} of {CALLS}");
    }
}
