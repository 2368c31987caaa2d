//! Options and moments at the ends of what can be written: nothing panics, and what has no end does not end.
#![cfg(feature = "policy")]

use std::time::Duration;

use evenkeel_core::{Instant, Random};
use evenkeel_tolerate::breaker::{BreakerOutcome, SlowCallOptions, WindowKind};
use evenkeel_tolerate::limit::{
    AimdOptions, Gradient2Options, RemeasureOptions, VegasOptions, WindowOptions,
};
use evenkeel_tolerate::queue::CodelRule;
use evenkeel_tolerate::throttle::{AdmissionControlOptions, SreOptions};
use evenkeel_tolerate::{
    AdaptiveLimit, BackoffOptions, Breaker, BreakerOptions, Budget, BudgetOptions, Class,
    CodelOptions, Deadline, HedgeAfter, HedgeDelay, HedgeOptions, HedgeRace, Jitter, LimitOptions,
    Queue, QueueOptions, Rate, RateOptions, Throttle, ThrottleOptions,
};
use proptest::prelude::*;

/// It came back at all: that is what is tested.
fn ends<T>(value: T) {
    drop(value);
}

fn duration() -> impl Strategy<Value = Duration> + Clone {
    prop::sample::select(vec![
        Duration::ZERO,
        Duration::from_nanos(1),
        Duration::from_millis(7),
        Duration::from_secs(3_600),
        Duration::from_nanos(u64::MAX),
        Duration::MAX / 2,
        Duration::MAX,
    ])
}

fn number() -> impl Strategy<Value = f64> + Clone {
    prop::sample::select(vec![
        f64::NAN,
        f64::NEG_INFINITY,
        -1.0,
        0.0,
        1e-300,
        0.5,
        1.0,
        3.0,
        1e300,
        f64::INFINITY,
    ])
}

fn count() -> impl Strategy<Value = u32> + Clone {
    prop::sample::select(vec![0, 1, 2, 20, 100_000, u32::MAX])
}

fn moments() -> impl Strategy<Value = Vec<Instant>> {
    let moment = prop::sample::select(vec![
        Instant::ZERO,
        Instant::from_nanos(1),
        Instant::from_millis(5_000),
        Instant::from_nanos(u64::MAX / 2),
        Instant::NEVER,
    ]);
    prop::collection::vec(moment, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn breakers(
        (open_for, open_most, slow, length) in (duration(), duration(), duration(), duration()),
        (growth, jitter, ratio) in (number(), number(), number()),
        (consecutive, trials, attempts) in (count(), count(), count()),
        by_count in any::<bool>(), moments in moments(), took in duration(),
    ) {
        let window = if by_count { WindowKind::Count(attempts) } else { WindowKind::Time(length) };
        let options = BreakerOptions {
            consecutive: Some(consecutive),
            failure_ratio: Some(ratio),
            slow: Some(SlowCallOptions { after: slow, ratio }),
            window,
            minimum_attempts: attempts,
            open_for,
            growth,
            open_most,
            jitter,
            trials,
            good_trials: trials,
        };
        let breaker = Breaker::new(options, 1);
        for now in moments {
            for end in [BreakerOutcome::Bad, BreakerOutcome::Good, BreakerOutcome::Ignored] {
                if let Ok(admitted) = breaker.admit(now) {
                    breaker.ended(admitted, now, end, took);
                }
            }
            ends(breaker.snapshot(now));
        }
    }

    #[test]
    fn queues(
        (wait, target, interval, newest) in (duration(), duration(), duration(), duration()),
        (length, total, service) in (count(), duration(), duration()),
        rule in 0..3, moments in moments(),
    ) {
        let codel = CodelOptions { target, interval };
        let codel = match rule {
            0 => CodelRule::Off,
            1 => CodelRule::MinimumDelay(codel),
            _ => CodelRule::Rfc8289(codel),
        };
        let newest_first_after = Some(newest);
        let options = QueueOptions { length, wait, codel, newest_first_after };
        let mut queue: Queue<u8> = Queue::new(options);
        queue.expect(service);
        for now in moments {
            for class in Class::ALL {
                let deadline = Deadline::new(now, total).end();
                drop(queue.push(now, class, deadline, 1));
                drop(queue.push(now, class, deadline, 2));
                prop_assert!(queue.waits_until(now, deadline) <= deadline.max(now));
                let _left = queue.pop(now);
            }
            let _left = queue.expire(now);
        }
    }

    #[test]
    fn limits(
        (initial, min, max, queue) in (count(), count(), count(), count()),
        (smoothing, tolerance, backoff) in (number(), number(), number()),
        (every, within, timeout, least, most) in (duration(), duration(), duration(), duration(), duration()),
        kind in 0..3, moments in moments(), took in duration(),
    ) {
        let options = match kind {
            0 => LimitOptions::Aimd(AimdOptions { initial, min, max, backoff, timeout }),
            1 => LimitOptions::Vegas(VegasOptions {
                initial, min, max, smoothing, alpha: queue, beta: queue, shrink_to: Some(backoff), remeasure: queue,
            }),
            _ => LimitOptions::Gradient2(Gradient2Options {
                initial, min, max, smoothing, queue, tolerance, long_window: queue,
                remeasure: Some(RemeasureOptions { every, share: tolerance, floor: queue, within }),
                usual: Some(took),
            }),
        };
        let window = WindowOptions { min: least, max: most, samples: 1, ..WindowOptions::default() };
        let limit = AdaptiveLimit::with_window(&options, window, Instant::ZERO, 1);
        for now in moments {
            for dropped in [false, true, false] {
                limit.sample(now, took, initial, dropped);
            }
            ends(limit.snapshot(1));
            limit.reconfigure(&options, now, 1);
        }
    }

    #[test]
    fn rates(
        (per_second, ratio) in (number(), number()), burst in count(),
        window in duration(), moments in moments(),
    ) {
        let rate = Rate::new(RateOptions { per_second, burst });
        let budget = Budget::new(BudgetOptions { ratio, floor_per_second: per_second, burst: ratio }, Instant::ZERO);
        let sre = SreOptions { k: ratio, window, max: per_second, minimum_attempts: u64::from(burst) };
        let admission = AdmissionControlOptions {
            threshold: ratio, aggression: per_second, max: ratio, per_second, window, minimum_attempts: 0,
        };
        let throttles = [ThrottleOptions::Sre(sre), ThrottleOptions::Admission(admission)].map(Throttle::new);
        let mut random = Random::seeded(1);
        for now in moments {
            let _: Result<(), Duration> = rate.take(now);
            if let Ok(reserved) = rate.reserve(now, Instant::NEVER) {
                let _: Result<(), Duration> = rate.take(now);
                rate.give_back(reserved);
            }
            budget.earn();
            let _: bool = budget.try_spend(now) && budget.try_spend_on_hedge(now);
            for throttle in &throttles {
                throttle.allow(now, &mut random);
                throttle.note(now, false);
                ends(throttle.snapshot(now));
            }
        }
    }

    #[test]
    fn delays_survive_extreme_options(
        (base, cap, took) in (duration(), duration(), duration()), quantile in number(),
        limit in count(), moments in moments(),
    ) {
        let mut random = Random::seeded(1);
        for jitter in [Jitter::None, Jitter::Full] {
            let backoff = BackoffOptions::exponential(base, cap, jitter);
            for n in [0, 1, 2, 64, u32::MAX] {
                ends(backoff.delay(n, &mut random));
                ends(backoff.longest(n));
            }
        }
        let after = [HedgeAfter::Delay(base), HedgeAfter::Quantile(quantile)];
        let options = |after| HedgeOptions { after, limit, floor: cap, minimum_attempts: 1 };
        for mut hedge in after.map(options).map(HedgeDelay::new) {
            for &now in &moments {
                hedge.note(now, took);
                let delay = hedge.after(now).unwrap_or_default();
                let mut race = HedgeRace::new(now, delay, limit, now + cap);
                race.postpone(now);
                hedge.may_hedge();
                let deadline = Deadline::new(now, took);
                ends(deadline.leaves_room_for(now, base));
                ends(deadline.attempt_end(now, cap));
            }
        }
    }
}
