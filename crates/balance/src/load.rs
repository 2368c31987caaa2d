//! The load that a server reports about itself, which request counts cannot show, such as other work on its machine.
//!
//! Only the latest report is kept, with its time; the reader decides how long it remains valid.

use std::sync::atomic::Ordering;
use std::time::Duration;

use evenkeel_core::Instant;

use crate::{Pool, ServerState};

impl ServerState {
    /// It says how much of what it can do it is doing: 0 is idle, 1 is all, and more than that is too much. What is not
    /// a number, or is below zero, is not taken.
    pub fn report_load(&self, now: Instant, utilization: f64) {
        if !utilization.is_finite() || utilization < 0.0 {
            return;
        }
        let reported = &self.load.reported;
        reported
            .utilization
            .store(utilization.to_bits(), Ordering::Relaxed);
        reported.at.store(now.as_nanos().max(1), Ordering::Release);
    }

    /// Its latest load report, and when; nothing if there was none.
    #[must_use]
    pub fn reported_load(&self) -> Option<(f64, Instant)> {
        let at = self.load.reported.at.load(Ordering::Acquire);
        let utilization = f64::from_bits(self.load.reported.utilization.load(Ordering::Relaxed));
        (at > 0).then(|| (utilization, Instant::from_nanos(at)))
    }
}

/// A report counts for this long (gRPC proposal A58).
const WORTH: Duration = Duration::from_secs(180);
/// A server that begins to report is weighed by it only after this long, when its rate is known (gRPC proposal A58).
const BLACKOUT: Duration = Duration::from_secs(10);
/// How much errors count beside the load (gRPC proposal A58).
const ERROR_PENALTY: f64 = 1.0;
/// Rates are averaged over about this long.
const SMOOTH: Duration = Duration::from_secs(5);
/// No server gets less than this part of its share because of its reports: its recovery must be noticed.
const LEAST: f64 = 0.05;

/// A server's attempt counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AttemptTotals {
    /// Attempts that have ended.
    pub attempts: u64,
    /// Of these, those that count against the server.
    pub failures: u64,
}

/// Turns the loads that servers report into the parts of their shares, once in a while.
///
/// The weight is that of gRPC's weighted round robin (proposal A58): requests per second ÷ (utilization + errors per request
/// × penalty), which is what the server could do at full load. The server that could do most for its own weight takes all of
/// its share, the others a part. Servers without a weight count as the mean. With fewer than two weights all take their share.
#[derive(Debug, Default)]
pub struct WeightUpdater {
    last: Option<Instant>,
    servers: Vec<Rates>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Rates {
    counted: AttemptTotals,
    attempts: f64,
    failures: f64,
    /// The start of its current series of recent reports.
    since: Option<Instant>,
}

impl WeightUpdater {
    /// Looks at all servers of a pool; `counted` is what has been counted of the member at a place so far.
    pub fn step(&mut self, pool: &Pool, now: Instant, counted: impl Fn(usize) -> AttemptTotals) {
        self.servers.resize(pool.members().len(), Rates::default());
        let elapsed = self.last.map_or(0.0, |last| now.since(last).as_secs_f64());
        self.last = Some(now);
        let weights: Vec<Option<f64>> = (pool.members().iter().zip(&mut self.servers).enumerate())
            .map(|(slot, (member, rates))| {
                rates.renew(counted(slot), elapsed);
                let load = member.state.reported_load();
                rates.weight(load, now)
            })
            .collect();
        let of_members = pool
            .members()
            .iter()
            .map(|member| f64::from(member.weight()));
        let known: Vec<f64> = weights.iter().flatten().copied().collect();
        if known.len() < 2 {
            pool.members()
                .iter()
                .for_each(|member| member.state.set_load_share(1.0));
            return;
        }
        let mean = known.iter().sum::<f64>() / known.len() as f64;
        let parts: Vec<f64> = weights
            .into_iter()
            .zip(of_members)
            .map(|(weight, own)| weight.unwrap_or(mean) / own)
            .collect();
        let most = parts.iter().copied().fold(0.0, f64::max);
        for (member, part) in pool.members().iter().zip(parts) {
            member.state.set_load_share((part / most).max(LEAST));
        }
    }
}

impl Rates {
    fn renew(&mut self, counted: AttemptTotals, elapsed: f64) {
        let (before, first) = (self.counted, elapsed <= 0.0);
        self.counted = counted;
        if first {
            return;
        }
        let keep = (-elapsed / SMOOTH.as_secs_f64()).exp();
        let mix = |old: f64, new: u64, before: u64| {
            let rate = new.saturating_sub(before) as f64 / elapsed;
            old.mul_add(keep, rate * (1.0 - keep))
        };
        self.attempts = mix(self.attempts, counted.attempts, before.attempts);
        self.failures = mix(self.failures, counted.failures, before.failures);
    }

    fn weight(&mut self, load: Option<(f64, Instant)>, now: Instant) -> Option<f64> {
        let fresh = load.filter(|(_, at)| now.since(*at) <= WORTH);
        let Some((utilization, _)) = fresh else {
            self.since = None;
            return None;
        };
        let since = *self.since.get_or_insert(now);
        let errors = if self.attempts > 0.0 {
            self.failures / self.attempts
        } else {
            0.0
        };
        let cost = errors.mul_add(ERROR_PENALTY, utilization);
        let known = now.since(since) >= BLACKOUT && self.attempts > 0.0 && cost > 0.0;
        known.then(|| self.attempts / cost)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{BalanceOptions, Member, Policy};

    fn pool(weights: &[u32]) -> Pool {
        let options = BalanceOptions {
            policy: Policy::Random,
            panic_below: 0.5,
            slow_start: Duration::ZERO,
            bounded_load: None,
            maglev_table: 65_537,
            overprovisioning: 1.4,
            subset: None,
        };
        let member = |(slot, &weight): (usize, &u32)| Member {
            identity: format!("{slot}").into(),
            state: Arc::new(ServerState::new()),
            weight,
            tier: 0,
            near: false,
            max_requests: 0,
        };
        Pool::new(options, weights.iter().enumerate().map(member).collect())
    }

    /// Steps once a second from `from` to `to`; each server does `rate` requests in each and reports `load`.
    fn run(
        weigher: &mut WeightUpdater,
        pool: &Pool,
        (from, to): (u64, u64),
        servers: &[(u64, Option<f64>)],
    ) {
        for second in from..to {
            let now = Instant::from_millis(second * 1_000);
            for (member, (_, load)) in pool.members().iter().zip(servers) {
                if let Some(load) = load {
                    member.state.report_load(now, *load);
                }
            }
            weigher.step(pool, now, |slot| AttemptTotals {
                attempts: servers[slot].0 * second,
                failures: 0,
            });
        }
    }

    fn shares(pool: &Pool) -> Vec<f64> {
        let members = pool.members().iter();
        members.map(|member| member.state.load_share()).collect()
    }

    #[test]
    fn a_server_with_spare_capacity_gets_more() {
        let (pool, mut weigher) = (pool(&[1, 1, 1]), WeightUpdater::default());
        let loads = [(100, Some(0.2)), (100, Some(0.8)), (100, None)];
        run(&mut weigher, &pool, (0, 9), &loads);
        assert_eq!(shares(&pool), [1.0, 1.0, 1.0], "not yet known");
        run(&mut weigher, &pool, (9, 60), &loads);
        // 500 and 125 requests per second at full load, and the mean of the two.
        for (share, expected) in shares(&pool).into_iter().zip([1.0, 0.25, 0.625]) {
            assert!((share - expected).abs() < 0.05, "{:?}", shares(&pool));
        }
    }

    #[test]
    fn the_weights_of_the_file_are_in_the_policy_already() {
        let (pool, mut weigher) = (pool(&[1, 4]), WeightUpdater::default());
        run(
            &mut weigher,
            &pool,
            (0, 60),
            &[(100, Some(0.5)), (400, Some(0.5))],
        );
        for share in shares(&pool) {
            assert!(share > 0.94, "{:?}", shares(&pool));
        }
    }

    #[test]
    fn old_load_reports_are_ignored() {
        let (pool, mut weigher) = (pool(&[1, 1]), WeightUpdater::default());
        run(
            &mut weigher,
            &pool,
            (0, 60),
            &[(100, Some(0.1)), (100, Some(0.9))],
        );
        assert!(shares(&pool)[1] < 0.2);
        run(&mut weigher, &pool, (60, 300), &[(100, None), (100, None)]);
        assert_eq!(shares(&pool), [1.0, 1.0]);
    }

    #[test]
    fn no_share_falls_below_a_twentieth() {
        let (pool, mut weigher) = (pool(&[1, 1]), WeightUpdater::default());
        run(
            &mut weigher,
            &pool,
            (0, 60),
            &[(100, Some(0.001)), (100, Some(1.0))],
        );
        assert!(
            (shares(&pool)[1] - 0.05).abs() < 1e-9,
            "{:?}",
            shares(&pool)
        );
    }

    #[test]
    fn the_latest_load_report_counts() {
        let state = ServerState::new();
        assert_eq!(state.reported_load(), None);
        state.report_load(Instant::from_nanos(5), 0.5);
        state.report_load(Instant::from_nanos(7), 1.25);
        let last = Some((1.25, Instant::from_nanos(7)));
        assert_eq!(state.reported_load(), last);
        for none in [f64::NAN, f64::INFINITY, -0.1] {
            state.report_load(Instant::from_nanos(9), none);
            assert_eq!(state.reported_load(), last);
        }
    }
}
