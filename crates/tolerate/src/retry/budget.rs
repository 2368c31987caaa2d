//! The retry budget: what pays for the retries of a service. Shared by all workers.
//!
//! Intuition: a success earns a fifth of a retry, a retry costs one. While things go well the budget is full and hides a
//! burst of failures; in a lasting outage nothing is earned, the budget runs dry and retries stop adding load. Earned by
//! successes and not by requests, because a budget earned by requests answers a total outage with 20 % more load for as long
//! as it lasts. A small floor accrues with time, so that a service with little traffic can still retry.
//!
//! Tokens are counted in millionths, so that ratios are exact: 0.3 is 0.3.

use std::sync::atomic::{AtomicU64, Ordering};

use evenkeel_core::Instant;

use crate::BudgetOptions;

/// Millionths of a token.
const TOKEN: u64 = 1_000_000;
/// Upper bound of each option, in tokens.
const MOST: f64 = 1e9;
const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// A shared retry budget. All methods take `&self`, and none takes a lock.
#[derive(Debug)]
pub struct Budget {
    /// Earned by each success.
    earned: AtomicU64,
    /// Earned by each second.
    floor: AtomicU64,
    /// The maximum.
    burst: AtomicU64,
    /// Available tokens. May exceed `burst` by what workers earned at the same moment; every reader takes the lesser.
    tokens: AtomicU64,
    /// Until when the floor has been credited, in nanoseconds since the clock's zero.
    paid_until: AtomicU64,
}

impl Budget {
    /// A full budget.
    #[must_use]
    pub fn new(options: BudgetOptions, now: Instant) -> Self {
        let burst = millionths(options.burst);
        Self {
            earned: AtomicU64::new(millionths(options.ratio)),
            floor: AtomicU64::new(millionths(options.floor_per_second)),
            burst: AtomicU64::new(burst),
            tokens: AtomicU64::new(burst),
            paid_until: AtomicU64::new(now.as_nanos()),
        }
    }

    /// Replaces the options, for all that share it. Available tokens stay, up to the new burst.
    pub fn reconfigure(&self, options: BudgetOptions, now: Instant) {
        self.pay_floor(now);
        // What exceeds the present burst must not come back with a larger one.
        let (before, after) = (self.burst(), millionths(options.burst));
        let cap = |tokens: u64| Some(tokens.min(before).min(after));
        let _: Result<u64, u64> =
            self.tokens
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, cap);
        let store = |to: &AtomicU64, value| to.store(value, Ordering::Relaxed);
        store(&self.earned, millionths(options.ratio));
        store(&self.floor, millionths(options.floor_per_second));
        store(&self.burst, after);
    }

    /// A success: earns its share. One read if the budget is full, one relaxed addition if not.
    pub fn earn(&self) {
        if self.tokens.load(Ordering::Relaxed) < self.burst() {
            let earned = self.earned.load(Ordering::Relaxed);
            self.tokens.fetch_add(earned, Ordering::Relaxed);
        }
    }

    /// Takes one token for a retry, before its back-off. False if none is available.
    #[must_use]
    pub fn try_spend(&self, now: Instant) -> bool {
        self.spend_from(now, TOKEN)
    }

    /// Takes one token for a hedge, if at least half of the burst is available: the other half is for retries, which answer
    /// failures and not mere delay.
    #[must_use]
    pub fn try_spend_on_hedge(&self, now: Instant) -> bool {
        self.spend_from(now, self.least_for_hedge())
    }

    /// Whether [`Budget::try_spend_on_hedge`] would get a token now.
    #[must_use]
    pub fn affords_hedge(&self, now: Instant) -> bool {
        self.pay_floor(now);
        self.tokens.load(Ordering::Relaxed).min(self.burst()) >= self.least_for_hedge()
    }

    fn least_for_hedge(&self) -> u64 {
        (self.burst() / 2).max(TOKEN)
    }

    /// Takes one token if at least this many are available.
    fn spend_from(&self, now: Instant, least: u64) -> bool {
        self.pay_floor(now);
        let burst = self.burst();
        let spend = |tokens: u64| {
            let there = tokens.min(burst);
            (there >= least).then(|| there.saturating_sub(TOKEN))
        };
        self.tokens
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend)
            .is_ok()
    }

    fn burst(&self) -> u64 {
        self.burst.load(Ordering::Relaxed)
    }

    /// The available tokens.
    #[must_use]
    pub fn balance(&self, now: Instant) -> f64 {
        self.pay_floor(now);
        self.tokens.load(Ordering::Relaxed).min(self.burst()) as f64 / TOKEN as f64
    }

    /// Credits the floor for the time since the last credit. Whichever thread moves the time stamp adds the tokens, so none
    /// are added twice; the stamp moves by the time that was credited and not to `now`, so that fractions are kept for the
    /// next credit.
    fn pay_floor(&self, now: Instant) {
        let from = self.paid_until.load(Ordering::Relaxed);
        let elapsed = now.as_nanos().saturating_sub(from);
        let (floor, burst) = (self.floor.load(Ordering::Relaxed), self.burst());
        if floor == 0 || elapsed == 0 {
            return;
        }
        let due = u128::from(elapsed) * u128::from(floor) / NANOS_PER_SECOND;
        let (due, until) = match u64::try_from(due) {
            Ok(0) => return,
            Ok(due) if due < burst => (due, from.saturating_add(nanos_for(due, floor))),
            _ => (burst, now.as_nanos()),
        };
        if self
            .paid_until
            .compare_exchange(from, until, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
        {
            let add = |tokens: u64| Some(tokens.saturating_add(due).min(burst.max(tokens)));
            // The closure never declines, so this cannot fail.
            let _: Result<u64, u64> =
                self.tokens
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        }
    }
}

/// How long a floor takes to earn `due` millionths, rounded up.
fn nanos_for(due: u64, floor: u64) -> u64 {
    let nanos = (u128::from(due) * NANOS_PER_SECOND).div_ceil(u128::from(floor.max(1)));
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

/// Tokens in millionths; NaN and negative numbers are zero.
fn millionths(tokens: f64) -> u64 {
    // NaN stays NaN, and is zero as an integer.
    (tokens.clamp(0.0, MOST) * TOKEN as f64).round() as u64
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    fn budget(ratio: f64, floor_per_second: f64, burst: f64) -> Budget {
        Budget::new(
            BudgetOptions {
                ratio,
                floor_per_second,
                burst,
            },
            Instant::ZERO,
        )
    }

    fn spend_all(budget: &Budget, now: Instant) -> u32 {
        (0..).take_while(|_| budget.try_spend(now)).count() as u32
    }

    #[test]
    fn starts_full_and_stops_when_empty() {
        let budget = budget(0.2, 0.0, 35.0);
        assert_eq!(spend_all(&budget, Instant::ZERO), 35);
        assert!(!budget.try_spend(Instant::from_millis(60_000)));
    }

    #[test]
    fn ratios_are_exact() {
        for (ratio, successes, retries) in [
            (0.2, 1_000, 200),
            (0.3, 1_000, 300),
            (0.4, 1_000, 400),
            (0.6, 1_000, 600),
            (0.1, 99, 9),
            (0.25, 3, 0),
        ] {
            let budget = budget(ratio, 0.0, 1_000.0);
            spend_all(&budget, Instant::ZERO);
            for _ in 0..successes {
                budget.earn();
            }
            assert_eq!(spend_all(&budget, Instant::ZERO), retries, "ratio {ratio}");
        }
    }

    #[test]
    fn the_floor_accrues_with_time_without_losing_fractions() {
        let budget = budget(0.0, 1.0, 35.0);
        assert_eq!(spend_all(&budget, Instant::ZERO), 35);
        let mut spent = 0;
        // Asked every 7 ms: each step earns a fraction.
        for step in 1..=1_429 {
            spent += spend_all(&budget, Instant::from_millis(step * 7));
        }
        assert_eq!(spent, 10);
        assert_eq!(
            spend_all(&budget, Instant::from_millis(3_600_000)),
            35,
            "capped by the burst"
        );
    }

    #[test]
    fn never_holds_more_than_the_burst() {
        let budget = budget(0.7, 5.0, 3.0);
        for _ in 0..100 {
            budget.earn();
        }
        assert!(budget.balance(Instant::from_millis(100_000)) <= 3.0);
        assert_eq!(spend_all(&budget, Instant::from_millis(100_000)), 3);
    }

    #[test]
    fn hedges_leave_half_to_retries() {
        let budget = budget(0.0, 0.0, 35.0);
        let hedges = (0..100).filter(|_| budget.try_spend_on_hedge(Instant::ZERO));
        assert_eq!(hedges.count(), 18, "from 35 down to 17");
        assert!(!budget.affords_hedge(Instant::ZERO));
        assert_eq!(spend_all(&budget, Instant::ZERO), 17);
        let small = self::budget(0.0, 0.0, 1.0);
        assert!(small.affords_hedge(Instant::ZERO) && small.try_spend_on_hedge(Instant::ZERO));
        assert!(!self::budget(0.2, 0.0, 0.0).try_spend_on_hedge(Instant::ZERO));
    }

    #[test]
    fn new_options_keep_available_tokens() {
        let changing = budget(0.0, 0.0, 20.0);
        for _ in 0..15 {
            assert!(changing.try_spend(Instant::ZERO));
        }
        let options = |burst| BudgetOptions {
            ratio: 1.0,
            floor_per_second: 0.0,
            burst,
        };
        changing.reconfigure(options(100.0), Instant::ZERO);
        assert!((changing.balance(Instant::ZERO) - 5.0).abs() < 1e-9);
        changing.earn();
        changing.reconfigure(options(3.0), Instant::ZERO);
        changing.reconfigure(options(100.0), Instant::ZERO);
        assert_eq!(spend_all(&changing, Instant::ZERO), 3, "capped for good");
    }

    #[test]
    fn odd_options_give_no_tokens() {
        for burst in [0.0, -1.0, f64::NAN, 0.5] {
            assert!(!budget(0.2, 1.0, burst).try_spend(Instant::from_millis(10_000)));
        }
        assert!(budget(f64::INFINITY, f64::INFINITY, f64::INFINITY).try_spend(Instant::NEVER));
    }

    #[test]
    fn workers_together_spend_no_more_than_one_alone_could() {
        let budget = Arc::new(budget(0.0, 1_000.0, 500.0));
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let budget = Arc::clone(&budget);
                thread::spawn(move || {
                    (0..2_000_u64)
                        .filter(|n| budget.try_spend(Instant::from_nanos(n * 50_000)))
                        .count()
                })
            })
            .collect();
        let spent: usize = workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .sum();
        assert!(
            (590..=600).contains(&spent),
            "500 at the start and 1 per millisecond for 100 ms, not {spent}"
        );
    }

    proptest! {
        #[test]
        fn spends_no_more_than_was_there_or_earned(
            ratio in 0.0..2.0_f64, floor in 0.0..50.0_f64, burst in 0.0..40.0_f64,
            steps in proptest::collection::vec((0_u64..200, any::<bool>()), 0..300),
        ) {
            let budget = budget(ratio, floor, burst);
            let (mut now, mut spent, mut successes) = (0, 0.0, 0.0);
            for (wait, success) in steps {
                now += wait;
                if success {
                    budget.earn();
                    successes += 1.0;
                } else if budget.try_spend(Instant::from_millis(now)) {
                    spent += 1.0;
                }
                let earned = ratio.mul_add(successes, floor * now as f64 / 1_000.0);
                prop_assert!(spent <= burst + earned + 1e-3);
                prop_assert!(budget.balance(Instant::from_millis(now)) <= burst + 1e-6);
            }
        }
    }
}
