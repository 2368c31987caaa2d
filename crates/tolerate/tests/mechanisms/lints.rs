//! Each lint of options is found.

use crate::common::millis;
use crate::common::retrying;
use crate::injects;
use evenkeel_tolerate::BreakerOptions;
use evenkeel_tolerate::LimitOptions;
use evenkeel_tolerate::QueueOptions;
use evenkeel_tolerate::RateOptions;
use evenkeel_tolerate::Recovery;
use evenkeel_tolerate::RecoveryOptions;
use evenkeel_tolerate::ThrottleOptions;
use evenkeel_tolerate::breaker::SlowCallOptions;
use evenkeel_tolerate::policy::Lint;
use evenkeel_tolerate::policy::lint;
use evenkeel_tolerate::throttle::SreOptions;
use std::time::Duration;

fn lints_with(change: impl FnOnce(&mut RecoveryOptions)) -> Vec<Lint> {
    let mut options = retrying();
    options.attempt_timeout = Some(millis(100));
    change(&mut options);
    lint(&options, None)
}

#[test]
fn each_lint_of_queues_rates_and_shares_is_found() {
    assert_eq!(
        lints_with(|it| it.queue = Some(QueueOptions::default())),
        [Lint::QueueWithoutLimit, Lint::QueueFillsDeadline]
    );
    let none = QueueOptions {
        length: 0,
        wait: Duration::ZERO,
        ..QueueOptions::default()
    };
    assert_eq!(
        lints_with(|it| (it.limit, it.queue) = (Some(LimitOptions::Fixed(3)), Some(none))),
        [Lint::Zero("queue.length"), Lint::Zero("queue.wait")]
    );
    let rate =
        |per_second, burst| lints_with(|it| it.rate = Some(RateOptions { per_second, burst }));
    assert_eq!(rate(1.0, 1), []);
    assert_eq!(rate(0.0, 1), [Lint::Zero("rate.per-second")]);
    assert_eq!(rate(f64::NAN, 1), [Lint::NotANumber("rate.per-second")]);
    assert_eq!(rate(f64::INFINITY, 0).len(), 2);
    assert_eq!(
        lints_with(|it| it.shares.sheddable = -0.1),
        [Lint::NotANumber("shares.sheddable")]
    );
    let queue = RecoveryOptions {
        queue: Some(QueueOptions::default()),
        ..RecoveryOptions::default()
    };
    let built = Recovery::named("wrong").options(queue).build();
    let errors = built.expect_err("no limit").to_string();
    assert_eq!(errors, "a queue without a limit: nothing waits in it");
}

#[test]
fn each_lint_of_breakers_is_found() {
    let with = |change: fn(&mut BreakerOptions)| {
        let mut breaker = BreakerOptions::default();
        change(&mut breaker);
        lints_with(|it| it.breaker = Some(breaker))
    };
    assert_eq!(with(|_| ()), []);
    assert_eq!(
        with(|it| it.failure_ratio = Some(1.5)),
        [Lint::NotANumber("breaker.failure-ratio")]
    );
    assert_eq!(with(|it| it.trials = 0), [Lint::Zero("breaker.trials")]);
    assert_eq!(
        with(|it| it.growth = 0.5),
        [Lint::NotANumber("breaker.growth")]
    );
    assert_eq!(
        with(|it| (it.consecutive, it.failure_ratio) = (None, None)),
        [Lint::BreakerNever]
    );
    let slow = |it: &mut BreakerOptions| {
        it.slow = Some(SlowCallOptions {
            after: millis(10),
            ratio: 0.0,
        });
    };
    assert_eq!(with(slow), [Lint::Zero("breaker.slow.ratio")]);
}

#[test]
fn each_lint_of_throttles_and_faults_is_found() {
    assert_eq!(
        lints_with(|it| {
            it.breaker = Some(BreakerOptions::default());
            it.throttle = Some(ThrottleOptions::default());
        }),
        [Lint::BreakerAndThrottle]
    );
    let sre = SreOptions {
        k: 0.5,
        ..SreOptions::default()
    };
    assert_eq!(
        lints_with(|it| it.throttle = Some(ThrottleOptions::Sre(sre))),
        [Lint::NotANumber("throttle.k")]
    );
    assert_eq!(
        lints_with(|it| it.inject = injects(Some((1.1, 5)), Some(f64::NAN))),
        [
            Lint::NotANumber("inject.delay.share"),
            Lint::NotANumber("inject.abort.share")
        ]
    );
}
