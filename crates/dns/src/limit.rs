//! How many answers go to the clients of one network over UDP: whoever sends queries with the address of another can use a DNS
//! server to flood it. Like the response rate limiting of other servers: of what is over the limit every second query gets an
//! empty answer that says "truncated", so that a real client comes back over TCP, where addresses cannot be made up.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;

use evenkeel_core::Instant;

use crate::zone::network;

/// Networks that are told apart; others share a place with one of them.
const PLACES: usize = 16_384;

/// What to do with a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Answer,
    /// Answer that the answer was cut off.
    Slip,
    Drop,
}

/// Counts of this second, by network.
#[derive(Debug)]
pub(crate) struct Limit {
    per_second: u32,
    places: Vec<Place>,
    /// Its own for each run, so that nobody can choose networks that share a place.
    hasher: RandomState,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    second: u64,
    count: u32,
}

impl Limit {
    /// 0 is no limit.
    pub(crate) fn new(per_second: u32) -> Self {
        let places = if per_second == 0 { 0 } else { PLACES };
        Self {
            per_second,
            places: vec![Place::default(); places],
            hasher: RandomState::new(),
        }
    }

    pub(crate) fn take(&mut self, client: IpAddr, now: Instant) -> Verdict {
        if self.places.is_empty() {
            return Verdict::Answer;
        }
        let hash = self.hasher.hash_one(network(client, 24, 56));
        let second = now.as_nanos() / 1_000_000_000 + 1;
        let length = self.places.len() as u64;
        let place = &mut self.places[(hash % length) as usize];
        if place.second != second {
            *place = Place { second, count: 0 };
        }
        place.count = place.count.saturating_add(1);
        match place.count.checked_sub(self.per_second) {
            None | Some(0) => Verdict::Answer,
            Some(over) if over % 2 == 1 => Verdict::Slip,
            Some(_) => Verdict::Drop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_limit_is_dropped_or_sent_to_tcp() {
        let mut limit = Limit::new(3);
        let client = |last: u8| IpAddr::from([192, 0, 2, last]);
        let at = Instant::from_millis;
        let took: Vec<Verdict> = (0..7).map(|n| limit.take(client(n), at(500))).collect();
        use Verdict::{Answer, Drop, Slip};
        assert_eq!(took, [Answer, Answer, Answer, Slip, Drop, Slip, Drop]);
        assert_eq!(limit.take(client(1), at(1_100)), Answer, "another second");
        assert_eq!(limit.take(IpAddr::from([198, 51, 100, 1]), at(500)), Answer);
        let mut off = Limit::new(0);
        assert!((0..1_000).all(|_| off.take(client(1), at(1)) == Answer));
    }
}
