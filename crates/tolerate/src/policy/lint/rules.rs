//! The checks of a policy as a whole: stability, times, counts.
//!
//! Stability depends on the load, so it is checked only where a [`Load`] is given.

use std::time::Duration;

use super::{Lint, Load, mechanisms};
use crate::policy::RecoveryOptions;
use crate::{HedgeAfter, LimitOptions};

/// All findings about `options`, at `load` if it is known.
#[must_use]
pub fn lint(options: &RecoveryOptions, load: Option<Load>) -> Vec<Lint> {
    let mut found = Vec::new();
    numbers(options, load, &mut found);
    mechanisms::numbers(options, &mut found);
    if found.is_empty() {
        found.extend(load.and_then(|load| stability(options, load)));
        times(options, &mut found);
        counts(options, &mut found);
        mechanisms::together(options, &mut found);
    }
    found
}

fn numbers(options: &RecoveryOptions, load: Option<Load>, found: &mut Vec<Lint>) {
    let mut check = |key, value: f64| {
        if !value.is_finite() || value < 0.0 {
            found.push(Lint::NotANumber(key));
        }
    };
    check("budget.ratio", options.budget.ratio);
    check("budget.floor", options.budget.floor_per_second);
    check("budget.burst", options.budget.burst);
    if let Some(load) = load {
        check("load.per-second", load.per_second);
        check("load.capacity", load.capacity);
    }
    if let Some(HedgeAfter::Quantile(quantile)) = options.hedge.map(|hedge| hedge.after) {
        check("hedge.after", quantile);
        check("hedge.after", 1.0 - quantile);
    }
}

/// λ(1+b)+m < C, for retries and hedges together, since both are paid from one budget.
fn stability(options: &RecoveryOptions, load: Load) -> Option<Lint> {
    let retries = options.retries > 0 || options.hedge.is_some();
    let (ratio, floor) = if retries {
        (options.budget.ratio, options.budget.floor_per_second)
    } else {
        (0.0, 0.0)
    };
    let sustained = load.per_second * (1.0 + ratio) + floor;
    (sustained >= load.capacity).then(|| Lint::Unstable {
        sustained,
        capacity: load.capacity,
        most_ratio: (load.capacity - floor) / load.per_second - 1.0,
    })
}

fn times(options: &RecoveryOptions, found: &mut Vec<Lint>) {
    let zero = Some(Duration::ZERO);
    if options.deadline == zero || options.attempt_timeout == zero {
        found.push(Lint::NoTime);
        return;
    }
    match (options.deadline, options.attempt_timeout) {
        (None, None) => found.push(Lint::Endless),
        (Some(deadline), Some(attempt)) if options.retries > 0 => {
            let worst = worst_case(options, attempt);
            if attempt >= deadline {
                found.push(Lint::AttemptFillsDeadline);
            } else if worst > deadline {
                found.push(Lint::BeyondDeadline { worst, deadline });
            }
        }
        _ => {}
    }
    if let Some(HedgeAfter::Delay(after)) = options.hedge.map(|hedge| hedge.after)
        && options
            .attempt_timeout
            .or(options.deadline)
            .is_some_and(|end| after >= end)
    {
        found.push(Lint::HedgeAfterTimeout);
    }
}

/// All attempts with their timeouts, and the longest back-offs between them.
fn worst_case(options: &RecoveryOptions, attempt: Duration) -> Duration {
    // Bounds the loop; nobody retries more often.
    let retries = options.retries.min(1_000);
    let waits = (0..retries).map(|n| options.backoff.longest(n));
    waits.fold(
        attempt.saturating_mul(retries + 1),
        Duration::saturating_add,
    )
}

fn counts(options: &RecoveryOptions, found: &mut Vec<Lint>) {
    let most = match options.limit {
        Some(LimitOptions::Fixed(most)) => Some(most),
        _ => None,
    };
    if most == Some(0) {
        found.push(Lint::LimitZero);
    }
    let pays = options.retries > 0 || options.hedge.is_some();
    if pays && options.budget.burst < 1.0 {
        found.push(Lint::BudgetBelowOne);
    }
    if options
        .hedge
        .is_some_and(|hedge| hedge.limit == 0 || most.is_some_and(|most| most < 2))
    {
        found.push(Lint::HedgeNever);
    }
    if options.retries_after_timeout > options.retries && options.retries > 0 {
        found.push(Lint::TimeoutsBeyondRetries);
    }
}
