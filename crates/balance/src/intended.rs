//! The share that each member is intended to get, and when it will change by itself: shown to operators who ask why a
//! server gets its share.
//!
//! Separate from the eligible set because it is computed a few times per second rather than per pick, so it may
//! allocate. It takes the members from the eligible set and adds no rule of its own. Retries and load-aware policies
//! make actual shares differ from it.

use evenkeel_core::Instant;

use crate::eligible::EligibleSet;
use crate::{Policy, Pool};

impl Pool {
    /// The intended share of attempts for each member at `now`, in the order of [`Pool::members`]: by weight, if the
    /// policy uses weights, and by the part of its share that it takes. Sums to 1, or to 0 if no member is usable.
    #[must_use]
    pub fn intended(&self, now: Instant) -> Vec<f64> {
        let mut eligible = EligibleSet::default();
        eligible.renew(self, now);
        let mut intended = vec![0.0; self.members().len()];
        for slice in eligible.slices.iter().filter(|slice| slice.share > 0.0) {
            let parts: Vec<f64> = slice
                .list
                .iter()
                .map(|&index| self.part(index, now))
                .collect();
            let sum: f64 = parts.iter().sum();
            for (&index, part) in slice.list.iter().zip(parts) {
                intended[index as usize] = slice.share * part / sum.max(f64::MIN_POSITIVE);
            }
        }
        intended
    }

    /// How much a member is meant to take beside others of its slice.
    fn part(&self, index: u32, now: Instant) -> f64 {
        let member = self.member(index);
        // A suspected one is there because of panic, with all of its share.
        let part = if member.state.standing(now).is_usable() {
            member.state.share(now)
        } else {
            1.0
        };
        let weight = if self.options().policy.uses_weights() {
            member.weight()
        } else {
            1
        };
        part * f64::from(weight)
    }

    /// When the standing of the member at `index` changes next by itself, if it will: something expires.
    #[must_use]
    pub fn next_change(&self, index: usize, now: Instant) -> Option<Instant> {
        let at = self.members().get(index)?.state.next_change(now);
        (at != Instant::NEVER).then_some(at)
    }
}

impl Policy {
    /// Whether a server of twice the weight gets twice as much.
    #[must_use]
    pub const fn uses_weights(self) -> bool {
        !matches!(self, Self::Random | Self::RoundRobin)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use evenkeel_core::{Directive, EjectionReason, ServerId};

    use super::*;
    use crate::{BalanceOptions, Member, ServerState};

    const NOW: Instant = Instant::from_millis(1_000);

    fn pool(policy: Policy, members: &[(u32, u8)]) -> Pool {
        let options = BalanceOptions {
            policy,
            panic_below: 0.5,
            slow_start: Duration::from_secs(10),
            bounded_load: None,
            maglev_table: 251,
            overprovisioning: 1.4,
            subset: None,
        };
        let member = |(slot, &(weight, tier)): (usize, &(u32, u8))| Member {
            identity: format!("server-{slot}").into(),
            state: Arc::new(ServerState::new()),
            weight,
            tier,
            near: false,
            max_requests: 0,
        };
        Pool::new(options, members.iter().enumerate().map(member).collect())
    }

    fn eject(pool: &Pool, index: u32, verdict: EjectionReason) {
        let until = NOW + Duration::from_secs(5);
        let server = ServerId::new(0, index);
        let directive = Directive::Eject {
            server,
            verdict,
            until,
        };
        pool.member(index).state.apply(&directive, NOW);
    }

    fn shares(pool: &Pool, now: Instant) -> Vec<u32> {
        let thousandths = |share: f64| (share * 1000.0).round() as u32;
        pool.intended(now).into_iter().map(thousandths).collect()
    }

    #[test]
    fn by_weight_where_the_policy_uses_weights() {
        let members = [(1, 0), (3, 0), (0, 0), (9, 1)];
        let by_weight = pool(Policy::WeightedRoundRobin, &members);
        assert_eq!(shares(&by_weight, NOW), [200, 600, 200, 0]);
        let equal = pool(Policy::RoundRobin, &members);
        assert_eq!(shares(&equal, NOW), [333, 333, 333, 0]);
    }

    #[test]
    fn by_the_part_that_each_takes() {
        let pool = pool(Policy::PowerOfTwo, &[(1, 0), (1, 0), (1, 0)]);
        pool.member(0).state.relieve(NOW, Duration::from_secs(12));
        eject(&pool, 1, EjectionReason::Known);
        assert_eq!(shares(&pool, NOW), [91, 0, 909], "a tenth against a whole");
        assert_eq!(
            pool.next_change(0, NOW),
            Some(NOW + Duration::from_secs(12))
        );
        assert_eq!(pool.next_change(2, NOW), None);
        assert_eq!(pool.next_change(3, NOW), None);
        let later = NOW + Duration::from_secs(13);
        assert_eq!(shares(&pool, later), [333, 333, 333], "directives expire");
    }

    #[test]
    fn no_server_and_panic() {
        let alone = pool(Policy::Random, &[(1, 0), (1, 0)]);
        eject(&alone, 0, EjectionReason::Known);
        eject(&alone, 1, EjectionReason::Known);
        assert_eq!(shares(&alone, NOW), [0, 0]);
        let panic = pool(Policy::LeastRequests, &[(1, 0), (1, 0), (2, 0)]);
        eject(&panic, 1, EjectionReason::Suspected);
        eject(&panic, 2, EjectionReason::Suspected);
        assert_eq!(shares(&panic, NOW), [250, 250, 500]);
    }
}
