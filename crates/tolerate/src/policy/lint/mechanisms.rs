//! The checks of the mechanisms' options: breaker, throttle, rate, limit with its queue, fault injection. The bounds are those of
//! their pages in the documentation.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Lint;
use crate::breaker::WindowKind;
use crate::policy::RecoveryOptions;
use crate::queue::CodelRule;
use crate::{BreakerOptions, InjectOptions, QueueOptions, ShedOptions, ThrottleOptions};

/// Bounds of shares and factors.
const PART: RangeInclusive<f64> = 0.0..=1.0;
const FROM_ONE: RangeInclusive<f64> = 1.0..=f64::MAX;
const FROM_ZERO: RangeInclusive<f64> = 0.0..=f64::MAX;

/// Collects findings, one value after the other.
struct OptionCheck<'f>(&'f mut Vec<Lint>);

impl OptionCheck<'_> {
    fn within(&mut self, key: &'static str, value: f64, bounds: &RangeInclusive<f64>) {
        if !bounds.contains(&value) {
            self.0.push(Lint::NotANumber(key));
        }
    }

    /// The same, where 0 makes no sense.
    fn above_zero(&mut self, key: &'static str, value: f64, bounds: &RangeInclusive<f64>) {
        if value == 0.0 {
            self.0.push(Lint::Zero(key));
        } else {
            self.within(key, value, bounds);
        }
    }

    fn count(&mut self, key: &'static str, value: u32) {
        if value == 0 {
            self.0.push(Lint::Zero(key));
        }
    }

    fn time(&mut self, key: &'static str, value: Duration) {
        if value.is_zero() {
            self.0.push(Lint::Zero(key));
        }
    }
}

/// Each value by itself.
pub(super) fn numbers(options: &RecoveryOptions, found: &mut Vec<Lint>) {
    let mut check = OptionCheck(found);
    shares(&options.shares, &mut check);
    if let Some(rate) = &options.rate {
        check.above_zero("rate.per-second", rate.per_second, &FROM_ZERO);
        check.count("rate.burst", rate.burst);
    }
    if let Some(queue) = &options.queue {
        self::queue(queue, &mut check);
    }
    if let Some(breaker) = &options.breaker {
        self::breaker(breaker, &mut check);
    }
    if let Some(throttle) = &options.throttle {
        self::throttle(throttle, &mut check);
    }
    if let Some(inject) = &options.inject {
        self::inject(inject, &mut check);
    }
}

/// Options that contradict each other.
pub(super) fn together(options: &RecoveryOptions, found: &mut Vec<Lint>) {
    if let Some(queue) = &options.queue {
        if options.limit.is_none() {
            found.push(Lint::QueueWithoutLimit);
        }
        if options.deadline.is_some_and(|total| queue.wait >= total) {
            found.push(Lint::QueueFillsDeadline);
        }
    }
    if let Some(breaker) = &options.breaker {
        let rules = (breaker.consecutive, breaker.failure_ratio, breaker.slow);
        if matches!(rules, (None, None, None)) {
            found.push(Lint::BreakerNever);
        }
        if options.throttle.is_some() {
            found.push(Lint::BreakerAndThrottle);
        }
    }
}

fn shares(shares: &ShedOptions, check: &mut OptionCheck<'_>) {
    check.within("shares.critical-plus", shares.critical_plus, &PART);
    check.within("shares.critical", shares.critical, &PART);
    check.within("shares.sheddable-plus", shares.sheddable_plus, &PART);
    check.within("shares.sheddable", shares.sheddable, &PART);
}

fn queue(queue: &QueueOptions, check: &mut OptionCheck<'_>) {
    check.count("queue.length", queue.length);
    check.time("queue.wait", queue.wait);
    if let CodelRule::MinimumDelay(codel) | CodelRule::Rfc8289(codel) = queue.codel {
        check.time("queue.codel.target", codel.target);
        check.time("queue.codel.interval", codel.interval);
    }
}

fn breaker(breaker: &BreakerOptions, check: &mut OptionCheck<'_>) {
    if let Some(consecutive) = breaker.consecutive {
        check.count("breaker.consecutive", consecutive);
    }
    if let Some(ratio) = breaker.failure_ratio {
        check.above_zero("breaker.failure-ratio", ratio, &PART);
    }
    if let Some(slow) = breaker.slow {
        check.above_zero("breaker.slow.ratio", slow.ratio, &PART);
    }
    match breaker.window {
        WindowKind::Time(time) => check.time("breaker.window", time),
        WindowKind::Count(count) => check.count("breaker.window", count),
    }
    check.time("breaker.open-for", breaker.open_for);
    check.within("breaker.growth", breaker.growth, &FROM_ONE);
    check.within("breaker.jitter", breaker.jitter, &PART);
    check.count("breaker.trials", breaker.trials);
    check.count("breaker.good-trials", breaker.good_trials);
}

fn throttle(throttle: &ThrottleOptions, check: &mut OptionCheck<'_>) {
    match throttle {
        ThrottleOptions::Sre(sre) => {
            check.within("throttle.k", sre.k, &FROM_ONE);
            check.time("throttle.window", sre.window);
        }
        ThrottleOptions::Admission(admission) => {
            check.above_zero("throttle.threshold", admission.threshold, &PART);
            check.within("throttle.aggression", admission.aggression, &FROM_ONE);
            check.within("throttle.max", admission.max, &PART);
            check.within("throttle.per-second", admission.per_second, &FROM_ZERO);
            check.time("throttle.window", admission.window);
        }
    }
}

fn inject(inject: &InjectOptions, check: &mut OptionCheck<'_>) {
    if let Some(delay) = &inject.delay {
        check.within("inject.delay.share", delay.share, &PART);
    }
    if let Some(abort) = &inject.abort {
        check.within("inject.abort.share", abort.share, &PART);
    }
}
