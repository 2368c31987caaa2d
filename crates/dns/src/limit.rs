//! Response rate limiting for UDP, per client network: a sender of queries with a forged source address can abuse a DNS
//! server to flood a victim. As in other servers, every second query above the limit gets an empty truncated answer, so
//! that a real client retries over TCP, where addresses cannot be forged.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;

use evenkeel_core::Instant;

use crate::zone::network;

/// The number of networks that are counted separately; further ones share a counter with one of them.
const PLACES: usize = 16_384;

/// The rate limiter's decision on a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LimitDecision {
    Answer,
    /// Answer that the answer was cut off.
    Slip,
    Drop,
}

/// Counts of this second, by network.
#[derive(Debug)]
pub(crate) struct RateLimit {
    per_second: u32,
    places: Vec<NetworkCount>,
    /// Different for each run, so that nobody can choose networks that collide.
    hasher: RandomState,
}

#[derive(Debug, Clone, Copy, Default)]
struct NetworkCount {
    second: u64,
    count: u32,
}

impl RateLimit {
    /// 0 is no limit.
    pub(crate) fn new(per_second: u32) -> Self {
        let places = if per_second == 0 { 0 } else { PLACES };
        Self {
            per_second,
            places: vec![NetworkCount::default(); places],
            hasher: RandomState::new(),
        }
    }

    /// What it was made with.
    pub(crate) const fn per_second(&self) -> u32 {
        self.per_second
    }

    pub(crate) fn take(&mut self, client: IpAddr, now: Instant) -> LimitDecision {
        if self.places.is_empty() {
            return LimitDecision::Answer;
        }
        let hash = self.hasher.hash_one(network(client, 24, 56));
        let second = now.as_nanos() / 1_000_000_000 + 1;
        let length = self.places.len() as u64;
        let place = &mut self.places[(hash % length) as usize];
        if place.second != second {
            *place = NetworkCount { second, count: 0 };
        }
        place.count = place.count.saturating_add(1);
        match place.count.checked_sub(self.per_second) {
            None | Some(0) => LimitDecision::Answer,
            Some(over) if over % 2 == 1 => LimitDecision::Slip,
            Some(_) => LimitDecision::Drop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_limit_is_dropped_or_sent_to_tcp() {
        let mut limit = RateLimit::new(3);
        let client = |last: u8| IpAddr::from([192, 0, 2, last]);
        let at = Instant::from_millis;
        let took: Vec<LimitDecision> = (0..7).map(|n| limit.take(client(n), at(500))).collect();
        use LimitDecision::{Answer, Drop, Slip};
        assert_eq!(took, [Answer, Answer, Answer, Slip, Drop, Slip, Drop]);
        assert_eq!(limit.take(client(1), at(1_100)), Answer, "another second");
        assert_eq!(limit.take(IpAddr::from([198, 51, 100, 1]), at(500)), Answer);
        let mut off = RateLimit::new(0);
        assert!((0..1_000).all(|_| off.take(client(1), at(1)) == Answer));
    }
}
