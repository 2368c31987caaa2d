//! Whether a request is one that no server gets, since such requests crash servers.
//!
//! The fault path says which, by hashes; here is only decided what that means for a request. A quarantine is about exactly one
//! path, or one path with one query: a route that does well otherwise stays open.

use std::time::Duration;

use evenkeel_core::{ExactShape, Instant, ShapeOrders};

use crate::Cause;

/// The longest that a client is asked to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// What is ordered about the requests of one service.
#[derive(Debug, Clone, Default)]
pub struct Quarantine {
    /// Until when each, in the order of the hashes.
    refused: Vec<(u64, Instant)>,
    /// In order.
    watched: Vec<u64>,
    until: Instant,
}

/// What is to be done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// What is always done.
    Usual,
    /// The same, and its attempts are told of.
    Watched,
    /// No server gets it.
    Refused(Cause),
}

impl Quarantine {
    /// By these orders.
    #[must_use]
    pub fn new(orders: &ShapeOrders) -> Self {
        let (mut refused, mut watched) = (orders.refused.clone(), orders.watched.clone());
        refused.sort_unstable();
        watched.sort_unstable();
        Self {
            refused,
            watched,
            until: orders.until,
        }
    }

    /// Whether nothing is ordered, so that nothing need be asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.refused.is_empty() && self.watched.is_empty()
    }

    /// How many are refused now.
    #[must_use]
    pub fn refuses(&self, now: Instant) -> usize {
        let is_on = |until: Instant| now < until && now < self.until;
        self.refused.iter().filter(|one| is_on(one.1)).count()
    }

    /// What is done with such a request at `now`. Orders that were not renewed are none.
    #[must_use]
    pub fn treatment(&self, shape: ExactShape, now: Instant) -> Treatment {
        if now >= self.until {
            return Treatment::Usual;
        }
        for hash in [shape.path, shape.target] {
            let place = self.refused.binary_search_by_key(&hash, |one| one.0);
            let until = place.ok().map(|place| self.refused[place].1);
            if let Some(until) = until.filter(|until| now < *until) {
                let left = until.since(now).min(LONGEST_WAIT);
                let seconds = u32::try_from(left.as_secs().max(1)).unwrap_or(u32::MAX);
                return Treatment::Refused(Cause::Quarantined { seconds });
            }
        }
        let is_watched = |hash| self.watched.binary_search(&hash).is_ok();
        if is_watched(shape.path) || is_watched(shape.target) {
            return Treatment::Watched;
        }
        Treatment::Usual
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasherDefault, DefaultHasher};

    use evenkeel_core::ServiceId;

    use super::*;

    type Keys = BuildHasherDefault<DefaultHasher>;

    fn shape(target: &str) -> ExactShape {
        ExactShape::of(&Keys::default(), b"GET", target.as_bytes())
    }

    #[test]
    fn exactly_what_is_ordered_is_refused_or_watched_for_as_long_as_it_is() {
        let at = Instant::from_millis;
        let quarantine = Quarantine::new(&ShapeOrders {
            service: ServiceId(0),
            refused: vec![
                (shape("/crash").path, at(60_000)),
                (shape("/find?q=1").target, at(3_000)),
            ],
            watched: vec![shape("/slow").path],
            until: at(5_000),
        });
        let refused = |seconds| Treatment::Refused(Cause::Quarantined { seconds });
        for (target, time, expected) in [
            ("/crash", 0, refused(60)),
            ("/crash?x", 4_999, refused(55)),
            ("/crash", 5_000, Treatment::Usual),
            ("/crash/", 0, Treatment::Usual),
            ("/find?q=1", 2_500, refused(1)),
            ("/find?q=1", 3_000, Treatment::Usual),
            ("/find?q=2", 0, Treatment::Usual),
            ("/find", 0, Treatment::Usual),
            ("/slow?x", 0, Treatment::Watched),
            ("/", 0, Treatment::Usual),
        ] {
            let found = quarantine.treatment(shape(target), at(time));
            assert_eq!(found, expected, "{target} at {time}");
        }
        assert_eq!(
            [0, 3_000, 5_000].map(|time| quarantine.refuses(at(time))),
            [2, 1, 0]
        );
        assert!(Quarantine::default().is_empty() && !quarantine.is_empty());
    }
}
