//! Compares the share of a service's answers that fail with the usual share.
//!
//! Failures are counted in slots of 10 s. Three windows (1, 2 and 10 minutes) are evaluated, as in burn-rate alerts
//! (Google, *The Site Reliability Workbook*, 2018, chapter 5): short ones detect severe failures quickly, the long one
//! sparse ones. A window indicates a slow burn if all of this holds:
//!
//! - its share of failures is at least three times the usual one, and at least two percentage points above it: less is
//!   not worth an incident;
//! - it is not chance: by the bound of Chernoff and Hoeffding (Hoeffding 1963, theorem 1), a service that fails with
//!   probability *p* shows a share *q* > *p* of failures among *n* answers with probability at most
//!   exp(−*n*·D(*q*‖*p*)), where D(*q*‖*p*) = *q* ln(*q*/*p*) + (1−*q*) ln((1−*q*)/(1−*p*)). With *p* one and a half
//!   times the usual share plus half a point, it must be below one in ten million: there are 8,640 evaluations per day;
//! - it is spread out: at least half of the slots that have answers, and at least three, show it. A burst of failures
//!   at one moment, however large, is not a slow burn.
//!
//! The usual share is a mean over hours with a half-life of one hour. It learns from slots that are ten minutes old, so
//! that a new failure does not count as usual, and not from incidents.

use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_core::stat::divergence;

/// The length of a slot.
const SLOT: Duration = Duration::from_secs(10);
/// So many slots are remembered one by one.
const SLOTS: usize = 60;
/// The windows, in slots.
const WINDOWS: [usize; 3] = [6, 12, SLOTS];
/// It is over when this many latest slots are as usual.
const OVER: usize = 3;
/// Fewer failures tell nothing.
const LEAST: u32 = 10;
/// Fewer slots that show it tell nothing.
const LEAST_SLOTS: usize = 3;
/// How many times the usual share, and how much above it, is worth an incident.
const TIMES: f64 = 3.0;
const ABOVE: f64 = 0.02;
/// The logarithm of one in ten millions.
const CHANCE: f64 = 16.1;
/// The decay of a slot's weight until the next slot: a half-life of one hour.
const DECAY: f64 = 0.998_076;
/// Before anything is known: two failures among 200 answers.
const PRIOR: (f64, f64) = (200.0, 2.0);

#[derive(Debug, Clone, Copy, Default)]
struct TimeSlot {
    total: u32,
    failed: u32,
}

/// A share of failures that is not the usual one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Burn {
    /// Over so long.
    pub within: Duration,
    /// Answers.
    pub total: u32,
    /// Of these, failures.
    pub failed: u32,
    /// The share that usually fails.
    pub usual: f64,
    /// The first slot that shows it.
    pub since: Instant,
}

impl Burn {
    /// In words.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "{} of {} answers failed within {} s ({:.1} %), usually {:.1} % do",
            self.failed,
            self.total,
            self.within.as_secs(),
            f64::from(self.failed) * 100.0 / f64::from(self.total.max(1)),
            self.usual * 100.0
        )
    }
}

/// How a service's answers end, over the last ten minutes and usually.
#[derive(Debug, Clone)]
pub struct ErrorShare {
    slots: [TimeSlot; SLOTS],
    newest: u64,
    /// When the slot after the newest begins, in nanoseconds.
    next: u64,
    usual: (f64, f64),
}

impl Default for ErrorShare {
    fn default() -> Self {
        Self {
            slots: [TimeSlot::default(); SLOTS],
            newest: 0,
            next: 0,
            usual: PRIOR,
        }
    }
}

impl ErrorShare {
    /// Counts an answer.
    pub fn add(&mut self, at: Instant, failed: bool) {
        self.add_many(at, 1, u32::from(failed));
    }

    /// Counts answers.
    pub fn add_many(&mut self, at: Instant, total: u32, failed: u32) {
        self.turn(at);
        let slot = &mut self.slots[(self.newest % SLOTS as u64) as usize];
        slot.total = slot.total.saturating_add(total);
        slot.failed = slot.failed.saturating_add(failed);
    }

    /// The share that usually fails.
    #[must_use]
    pub fn usual(&self) -> f64 {
        let (total, failed) = self.usual;
        (failed / total.max(1.0)).clamp(0.001, 0.5)
    }

    /// Whether more fails than usually, by the shortest window that tells.
    pub fn judge(&mut self, now: Instant) -> Option<Burn> {
        self.turn(now);
        let usual = self.usual();
        WINDOWS
            .into_iter()
            .find_map(|length| self.burn(length, usual))
    }

    /// Whether the last half minute was as usual, with answers that tell.
    pub fn is_over(&mut self, now: Instant) -> bool {
        self.turn(now);
        let (total, failed) = self.sum(OVER);
        let usual = self.usual();
        let limit = (usual * 2.0).max(usual + ABOVE / 2.0);
        total > 0 && f64::from(failed) <= f64::from(total) * limit
    }

    /// Forgets the slots: what they hold was an incident, and is not usual.
    pub fn forget(&mut self) {
        self.slots = [TimeSlot::default(); SLOTS];
    }

    /// An operator confirms the current state as normal.
    pub fn accept(&mut self) {
        let (total, failed) = self.sum(SLOTS);
        self.usual = (PRIOR.0 + f64::from(total), PRIOR.1 + f64::from(failed));
        self.forget();
    }

    fn burn(&self, length: usize, usual: f64) -> Option<Burn> {
        let (total, failed) = self.sum(length);
        let share = f64::from(failed) / f64::from(total.max(1));
        let is_much = failed >= LEAST && share >= usual * TIMES && share >= usual + ABOVE;
        let at_worst = usual.mul_add(1.5, 0.005);
        let is_chance =
            share <= at_worst || f64::from(total) * divergence(share, at_worst) < CHANCE;
        if !is_much || is_chance {
            return None;
        }
        let is_bad = |slot: &TimeSlot| {
            let limit = (usual * 2.0).max(usual + ABOVE / 2.0);
            slot.failed > 0 && f64::from(slot.failed) >= f64::from(slot.total) * limit
        };
        let slots: Vec<(u64, TimeSlot)> = self.latest(length).collect();
        let used = slots.iter().filter(|(_, slot)| slot.total > 0).count();
        let bad: Vec<u64> = slots
            .iter()
            .filter(|(_, slot)| is_bad(slot))
            .map(|(number, _)| *number)
            .collect();
        let first = bad.iter().min()?;
        (bad.len() >= LEAST_SLOTS && bad.len() * 2 >= used).then(|| Burn {
            within: SLOT * u32::try_from(length).unwrap_or(u32::MAX),
            total,
            failed,
            usual,
            since: Instant::from_millis(first * SLOT.as_secs() * 1_000),
        })
    }

    fn sum(&self, length: usize) -> (u32, u32) {
        let all = self.latest(length);
        all.fold((0, 0), |(total, failed), (_, slot)| {
            (
                slot.total.saturating_add(total),
                slot.failed.saturating_add(failed),
            )
        })
    }

    /// The last slots with their numbers, the newest first.
    fn latest(&self, length: usize) -> impl Iterator<Item = (u64, TimeSlot)> {
        let numbers =
            (0..length.min(SLOTS) as u64).filter_map(|back| self.newest.checked_sub(back));
        numbers.map(|number| (number, self.slots[(number % SLOTS as u64) as usize]))
    }

    fn turn(&mut self, at: Instant) {
        const SLOT_NANOS: u64 = SLOT.as_secs() * 1_000_000_000;
        if at.as_nanos() < self.next {
            return;
        }
        let number = at.as_nanos() / SLOT_NANOS;
        let steps = number.saturating_sub(self.newest).min(SLOTS as u64);
        for step in 1..=steps {
            let slot = (number - steps + step) % SLOTS as u64;
            let slot = std::mem::take(&mut self.slots[slot as usize]);
            let (total, failed) = &mut self.usual;
            *total = total.mul_add(DECAY, f64::from(slot.total));
            *failed = failed.mul_add(DECAY, f64::from(slot.failed));
        }
        self.newest = number;
        self.next = number.saturating_add(1).saturating_mul(SLOT_NANOS);
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_core::Random;

    use super::*;

    const fn at(second: u64) -> Instant {
        Instant::from_millis(second * 1_000)
    }

    /// A rate of answers per second, with this many failures in a thousand, for this many seconds; returns the time of
    /// the first report.
    fn feed(
        errors: &mut ErrorShare,
        random: &mut Random,
        (from, seconds): (u64, u64),
        (rate, permille): (u64, u64),
    ) -> Option<u64> {
        let mut told = None;
        for second in from..from + seconds {
            let failed = (0..rate)
                .filter(|_| (random.below(1_000) as u64) < permille)
                .count();
            let failed = u32::try_from(failed).unwrap();
            errors.add_many(at(second), u32::try_from(rate).unwrap(), failed);
            if told.is_none() && errors.judge(at(second)).is_some() {
                told = Some(second - from);
            }
        }
        told
    }

    #[test]
    fn five_of_a_hundred_that_fail_are_told_within_two_minutes_and_one_is_not() {
        for seed in 0..100 {
            let mut random = Random::seeded(seed);
            for rate in [50, 100, 250] {
                let mut errors = ErrorShare::default();
                assert_eq!(feed(&mut errors, &mut random, (0, 1_200), (rate, 10)), None);
                let told = feed(&mut errors, &mut random, (1_200, 120), (rate, 50));
                assert!(told.is_some(), "seed {seed}, {rate}");
                assert!(!errors.is_over(at(1_319)));
                feed(&mut errors, &mut random, (1_320, 40), (rate, 10));
                assert!(errors.is_over(at(1_360)), "seed {seed}, {rate}");
            }
        }
    }

    #[test]
    fn what_is_thin_takes_longer() {
        for seed in 0..100 {
            let (mut errors, mut random) = (ErrorShare::default(), Random::seeded(seed));
            assert_eq!(feed(&mut errors, &mut random, (0, 1_200), (2, 10)), None);
            let told = feed(&mut errors, &mut random, (1_200, 1_800), (2, 100));
            assert!(told.is_some_and(|told| told < 900), "seed {seed}: {told:?}");
        }
    }

    #[test]
    fn a_burst_is_none_and_what_is_usual_is_none() {
        let (mut errors, mut random) = (ErrorShare::default(), Random::seeded(1));
        feed(&mut errors, &mut random, (0, 600), (100, 1));
        assert_eq!(feed(&mut errors, &mut random, (600, 19), (100, 900)), None);
        assert_eq!(feed(&mut errors, &mut random, (620, 600), (100, 1)), None);
        // It fails as ever.
        let mut errors = ErrorShare::default();
        feed(&mut errors, &mut random, (0, 600), (100, 60));
        errors.accept();
        assert_eq!(
            feed(&mut errors, &mut random, (600, 7_200), (100, 60)),
            None
        );
        assert!(feed(&mut errors, &mut random, (7_800, 120), (100, 250)).is_some());
    }

    /// A month of a service with 1 % of errors in the background: load that doubles and halves, thin nights, deploys of a few
    /// seconds in which much fails.
    #[test]
    fn a_healthy_month_has_no_slow_burn() {
        let mut random = Random::seeded(7);
        let mut errors = ErrorShare::default();
        let days = std::env::var("EVENKEEL_LONG").map_or(30, |days| days.parse().unwrap_or(30));
        for slot in 0..days * 8_640 {
            let hour = slot / 360 % 24;
            let rate = if hour < 6 {
                3
            } else {
                600_u64 << random.below(2)
            };
            let permille = if slot % 4_320 == 0 { 300 } else { 10 };
            let failed = if rate > 100 {
                // Nearly normal: the sum of twelve.
                let normal: usize = (0..12).map(|_| random.below(1_000)).sum();
                let mean = rate * permille / 1_000;
                let spread = (mean as f64).sqrt() * (normal as f64 / 1_000.0 - 6.0);
                (mean as f64 + spread).max(0.0) as u64
            } else {
                (0..rate)
                    .filter(|_| (random.below(1_000) as u64) < permille)
                    .count() as u64
            };
            let (total, failed) = (u32::try_from(rate).unwrap(), u32::try_from(failed).unwrap());
            errors.add_many(at(slot * 10), total, failed);
            assert_eq!(errors.judge(at(slot * 10 + 9)), None, "slot {slot}");
        }
    }
}
