//! What pays for retries: a budget that all workers of a service share.
//!
//! Intuition: a success earns a fifth of a retry, a retry costs one. While things go well the budget is full and a burst
//! of failures is hidden; in a lasting outage nothing is earned, the budget runs dry and retries stop adding load. Fed by
//! successes and not by requests, because a budget fed by requests lets a total outage be met with 20 % more load for as
//! long as it lasts. A small floor accrues with time, so that a service with little traffic is not left without retries.
//!
//! Tokens are counted in millionths, so that ratios are exact: 0.3 is 0.3 and not a third.

use std::sync::atomic::{AtomicU64, Ordering};

use evenkeel_core::Instant;

use crate::BudgetOptions;

/// Millionths in a token.
const TOKEN: u64 = 1_000_000;
/// No option is taken to be more tokens than this.
const MOST: f64 = 1e9;
const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// A shared retry budget. Every method takes `&self` and none takes a lock.
#[derive(Debug)]
pub struct Budget {
    /// What each success earns.
    earned: AtomicU64,
    /// What each second earns.
    floor: AtomicU64,
    /// What can be saved up.
    burst: AtomicU64,
    /// What is there. It may lie above `burst` by what racing workers earned at once; every reader takes the lesser.
    tokens: AtomicU64,
    /// Up to when the floor has been paid, in nanoseconds since the clock started.
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

    /// Other options from now on, for all who share it. The tokens that are there stay, up to the new burst.
    pub fn reconfigure(&self, options: BudgetOptions, now: Instant) {
        self.pay_floor(now);
        // What lies above the burst of now is none: it must not come back with a larger one.
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

    /// A success: earns its part. Costs a read when the budget is full, one relaxed addition when it is not.
    pub fn earn(&self) {
        if self.tokens.load(Ordering::Relaxed) < self.burst() {
            let earned = self.earned.load(Ordering::Relaxed);
            self.tokens.fetch_add(earned, Ordering::Relaxed);
        }
    }

    /// Takes one token for a retry, before its back-off. False if there is none.
    #[must_use]
    pub fn try_spend(&self, now: Instant) -> bool {
        self.spend_from(now, TOKEN)
    }

    /// Takes one token for a hedge, if at least half of what can be saved up is there: the rest is for retries, which answer failures and
    /// not mere delay.
    #[must_use]
    pub fn try_spend_on_hedge(&self, now: Instant) -> bool {
        self.spend_from(now, self.least_for_hedge())
    }

    /// Whether [`Budget::try_spend_on_hedge`] would find a token now.
    #[must_use]
    pub fn affords_hedge(&self, now: Instant) -> bool {
        self.pay_floor(now);
        self.tokens.load(Ordering::Relaxed).min(self.burst()) >= self.least_for_hedge()
    }

    fn least_for_hedge(&self) -> u64 {
        (self.burst() / 2).max(TOKEN)
    }

    /// Takes one token if so many are there.
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

    /// The tokens that are there now.
    #[must_use]
    pub fn balance(&self, now: Instant) -> f64 {
        self.pay_floor(now);
        self.tokens.load(Ordering::Relaxed).min(self.burst()) as f64 / TOKEN as f64
    }

    /// Adds what the time since the last payment earned. Whoever moves the stamp pays, so nothing is paid twice; the stamp
    /// moves by the time that was paid for and not to `now`, so fractions are kept for the next payment.
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

/// Tokens in millionths; what is no number or negative is nothing.
fn millionths(tokens: f64) -> u64 {
    // What is not a number stays so, and is zero as an integer.
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
    fn other_options_keep_what_is_there() {
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
