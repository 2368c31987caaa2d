//! Routes that fail on one server while it serves all others, and while other servers serve the route: a few failures
//! among many answers, below every limit of the server.
//!
//! Only pairs that have failed are remembered, so nothing is looked up while nothing fails. A pair is reported when at
//! least five of its requests, and nine in ten, have failed since its first failure: with one failure in a hundred,
//! chance does that once in 10¹⁰.

use std::time::Duration;

use evenkeel_core::{Instant, Outcome, RequestShape};

use crate::signal::RouteTally;

/// So many pairs are remembered; the one whose last failure is longest ago goes first.
const PAIRS: usize = 64;
/// A pair without a failure for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(120);
/// So many failures tell.
const ENOUGH: u32 = 5;
/// So many of the route's requests must have succeeded on others lately.
const ON_OTHERS: u32 = 3;

/// A route on one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerRoute {
    /// The server's place.
    pub server: u32,
    /// The route.
    pub shape: RequestShape,
    /// Its requests that failed there, since the first that did.
    pub failed: u32,
    /// Of these, those that got no answer in time.
    pub hung: u32,
    /// Its requests that succeeded there, since then.
    pub succeeded: u32,
    /// The first failure.
    pub since: Instant,
    latest: Instant,
}

/// All pairs of a service.
#[derive(Debug, Clone, Default)]
pub struct ServerRoutes {
    all: Vec<ServerRoute>,
}

impl ServerRoutes {
    /// Takes in the end of an attempt.
    pub fn take(&mut self, at: Instant, server: u32, shape: RequestShape, outcome: Outcome) {
        let failed = outcome.is_failure();
        if !shape.is_known() || !failed && (self.all.is_empty() || !outcome.is_success()) {
            return;
        }
        let is_it = |pair: &ServerRoute| pair.server == server && pair.shape.route == shape.route;
        let slot = match self.all.iter().position(is_it) {
            Some(slot) => slot,
            None if failed => self.insert(at, server, shape),
            None => return,
        };
        let pair = &mut self.all[slot];
        if failed {
            pair.failed = pair.failed.saturating_add(1);
            pair.hung += u32::from(outcome == Outcome::AttemptTimeout);
            pair.latest = at;
        } else {
            pair.succeeded = pair.succeeded.saturating_add(1);
            if pair.succeeded > pair.failed {
                self.all.swap_remove(slot);
            }
        }
    }

    /// A pair that fails, if one does, where `routes` are the latest tallies of all servers.
    pub fn judge(&mut self, now: Instant, routes: &[RouteTally]) -> Option<ServerRoute> {
        self.all.retain(|pair| now.since(pair.latest) < FORGOTTEN);
        let fails = |pair: &&ServerRoute| {
            let route = routes
                .iter()
                .find(|one| one.shape.route == pair.shape.route);
            let others_serve = route.is_some_and(|route| {
                route.succeeded >= ON_OTHERS
                    && !route.well_on.contains(pair.server)
                    && route.well_on.len() >= route.failed_on.len()
            });
            pair.failed >= ENOUGH && pair.succeeded * 9 <= pair.failed && others_serve
        };
        self.all.iter().find(fails).copied()
    }

    /// Forgets all.
    pub fn forget(&mut self) {
        self.all.clear();
    }

    fn insert(&mut self, at: Instant, server: u32, shape: RequestShape) -> usize {
        let pair = ServerRoute {
            server,
            shape,
            failed: 0,
            hung: 0,
            succeeded: 0,
            since: at,
            latest: at,
        };
        if self.all.len() < PAIRS {
            self.all.push(pair);
            return self.all.len() - 1;
        }
        let oldest = (0..self.all.len()).min_by_key(|&slot| self.all[slot].latest);
        let slot = oldest.unwrap_or(0);
        self.all[slot] = pair;
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Routes;

    const HUNG: Outcome = Outcome::AttemptTimeout;
    const WELL: Outcome = Outcome::Answered(200);

    fn told(script: &[(u32, Outcome)]) -> Option<(u32, u32)> {
        let (mut pairs, mut routes) = (
            ServerRoutes::default(),
            Routes::new(Duration::from_secs(10)),
        );
        let shape = RequestShape::of(b"POST", b"/orders");
        let now = Instant::from_millis(100);
        for (server, outcome) in script {
            pairs.take(now, *server, shape, *outcome);
            routes.take(now, *server, shape, *outcome);
        }
        let found = pairs.judge(now, &routes.tallies(now))?;
        Some((found.server, found.failed))
    }

    #[test]
    fn a_route_that_fails_on_one_server_and_succeeds_on_others() {
        let well = [(0, WELL), (2, WELL), (0, WELL)];
        for (script, expected) in [
            ([&well[..], &[(1, HUNG); 5]].concat(), Some((1, 5))),
            ([&well[..], &[(1, HUNG); 4]].concat(), None),
            // It serves it now and then.
            ([&well[..], &[(1, HUNG); 5], &[(1, WELL)]].concat(), None),
            // Others do not serve it either, or are not asked.
            (vec![(1, HUNG); 9], None),
            (
                [&[(0, HUNG); 5][..], &[(1, HUNG); 5], &[(2, HUNG); 5]].concat(),
                None,
            ),
            (well.to_vec(), None),
        ] {
            assert_eq!(told(&script), expected, "{script:?}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten() {
        let mut pairs = ServerRoutes::default();
        for n in 0..1_000_u32 {
            let name = format!("/{}", char::from(b'a' + u8::try_from(n % 26).unwrap()));
            let shape = RequestShape::of(b"GET", name.as_bytes());
            pairs.take(Instant::from_millis(u64::from(n)), n, shape, HUNG);
        }
        assert_eq!(pairs.all.len(), PAIRS);
        assert_eq!(pairs.judge(Instant::from_millis(200_000), &[]), None);
        assert!(pairs.all.is_empty());
    }
}
