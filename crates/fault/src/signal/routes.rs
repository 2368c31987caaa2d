//! Outcomes by route over all servers of a service, so that a route that fails everywhere is told apart from a server
//! that fails.
//!
//! Bounded: the least requested routes are evicted first.

use std::time::Duration;

use evenkeel_core::{Instant, Outcome, RequestShape};

/// The maximum number of distinguished routes.
const ROUTES: usize = 64;

/// Whether a request of this shape is of the kind of one of these: of the same method and route.
#[must_use]
pub fn covers(kinds: &[RequestShape], shape: RequestShape) -> bool {
    kinds.iter().any(|one| one.route == shape.route)
}

/// A set of servers, exact for services of up to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FailedServers(u64);

impl FailedServers {
    /// Adds one.
    pub const fn insert(&mut self, index: u32) {
        self.0 |= 1 << (index % 64);
    }

    /// Whether it holds this one.
    #[must_use]
    pub const fn contains(self, index: u32) -> bool {
        self.0 & 1 << (index % 64) != 0
    }

    /// How many.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// How the attempts of one route ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteTally {
    /// Which.
    pub shape: RequestShape,
    /// Answered below 500.
    pub succeeded: u32,
    /// Answered with 503.
    pub refused: u32,
    /// Answered with another 5xx.
    pub errors: u32,
    /// Cut off, or not HTTP.
    pub broken: u32,
    /// Not answered in time.
    pub hung: u32,
    /// On which servers it succeeded.
    pub well_on: FailedServers,
    /// On which servers it failed.
    pub failed_on: FailedServers,
    /// When it failed first, of what is counted here.
    pub since: Instant,
}

impl RouteTally {
    const fn new(shape: RequestShape) -> Self {
        Self {
            shape,
            succeeded: 0,
            refused: 0,
            errors: 0,
            broken: 0,
            hung: 0,
            well_on: FailedServers(0),
            failed_on: FailedServers(0),
            since: Instant::NEVER,
        }
    }

    /// How many failed.
    #[must_use]
    pub const fn failed(&self) -> u32 {
        self.refused + self.errors + self.broken + self.hung
    }

    /// How many ended.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.succeeded + self.failed()
    }

    fn take(&mut self, at: Instant, server: u32, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Answered(503) => &mut self.refused,
            Outcome::Answered(status) if status >= 500 => &mut self.errors,
            Outcome::Answered(_) => {
                self.succeeded = self.succeeded.saturating_add(1);
                self.well_on.insert(server);
                return;
            }
            Outcome::Reset { .. } | Outcome::BadResponse | Outcome::Truncated => &mut self.broken,
            Outcome::AttemptTimeout => &mut self.hung,
            // Nothing of the request reached the server, or nobody is to blame.
            Outcome::ConnectRefused
            | Outcome::ConnectTimeout
            | Outcome::Unreachable
            | Outcome::Stale
            | Outcome::StreamRefused
            | Outcome::IdleTimeout
            | Outcome::Cancelled
            | Outcome::LocalError
            | Outcome::Superseded
            | Outcome::Rescued => return,
        };
        *counter = counter.saturating_add(1);
        self.failed_on.insert(server);
        self.since = self.since.min(at);
    }

    fn add(&mut self, other: &Self) {
        self.succeeded += other.succeeded;
        self.refused += other.refused;
        self.errors += other.errors;
        self.broken += other.broken;
        self.hung += other.hung;
        self.well_on = self.well_on.with(other.well_on);
        self.failed_on = self.failed_on.with(other.failed_on);
        self.since = self.since.min(other.since);
    }
}

/// All routes of a service, over a window that moves by halves.
#[derive(Debug, Clone)]
pub struct Routes {
    half: u64,
    turn: u64,
    /// When the next half begins, in nanoseconds.
    next: u64,
    now: Vec<RouteTally>,
    before: Vec<RouteTally>,
}

impl Routes {
    /// Over the last `window`: at least half of it, at most all.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self {
            half: u64::try_from(window.as_nanos() / 2)
                .unwrap_or(u64::MAX)
                .max(1),
            turn: 0,
            next: 0,
            now: Vec::new(),
            before: Vec::new(),
        }
    }

    /// Takes in the end of an attempt on the server at place `server`.
    pub fn take(&mut self, at: Instant, server: u32, shape: RequestShape, outcome: Outcome) {
        if !shape.is_known() {
            return;
        }
        self.turn(at);
        let slot = self
            .now
            .iter()
            .position(|tally| tally.shape.route == shape.route)
            .unwrap_or_else(|| self.make_room(shape));
        self.now[slot].take(at, server, outcome);
    }

    /// The current tallies, most failures first.
    pub fn tallies(&mut self, now: Instant) -> Vec<RouteTally> {
        self.turn(now);
        let mut all = self.now.clone();
        for tally in &self.before {
            match all
                .iter_mut()
                .find(|one| one.shape.route == tally.shape.route)
            {
                Some(one) => one.add(tally),
                None => all.push(*tally),
            }
        }
        all.retain(|tally| tally.total() > 0);
        all.sort_by_key(|tally| std::cmp::Reverse(tally.failed()));
        all
    }

    /// Forgets all.
    pub fn forget(&mut self) {
        self.now.clear();
        self.before.clear();
    }

    fn make_room(&mut self, shape: RequestShape) -> usize {
        if self.now.len() < ROUTES {
            self.now.push(RouteTally::new(shape));
            return self.now.len() - 1;
        }
        let least = (0..self.now.len()).min_by_key(|&slot| self.now[slot].total());
        let slot = least.unwrap_or(0);
        self.now[slot] = RouteTally::new(shape);
        slot
    }

    fn turn(&mut self, at: Instant) {
        if at.as_nanos() < self.next {
            return;
        }
        let turn = at.as_nanos() / self.half;
        self.next = turn.saturating_add(1).saturating_mul(self.half);
        if turn == self.turn {
            return;
        }
        std::mem::swap(&mut self.before, &mut self.now);
        self.now.clear();
        if turn > self.turn + 1 {
            self.before.clear();
        }
        self.turn = turn;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(target: &str) -> RequestShape {
        RequestShape::of(b"GET", target.as_bytes())
    }

    #[test]
    fn routes_are_counted_apart_over_all_servers_and_forgotten_by_halves() {
        let mut routes = Routes::new(Duration::from_secs(10));
        let at = Instant::from_millis;
        for server in 0..3 {
            routes.take(at(100), server, shape("/a"), Outcome::Answered(500));
            routes.take(at(4_000), server, shape("/b"), Outcome::Answered(200));
        }
        routes.take(at(6_000), 0, shape("/a"), Outcome::AttemptTimeout);
        routes.take(at(6_000), 0, shape("/a"), Outcome::ConnectRefused);
        let tallies = routes.tallies(at(6_100));
        assert_eq!(tallies.len(), 2);
        assert_eq!((tallies[0].errors, tallies[0].hung), (3, 1));
        assert_eq!(
            (tallies[0].failed_on.len(), tallies[0].well_on.len()),
            (3, 0)
        );
        assert_eq!(tallies[0].since, at(100));
        assert_eq!((tallies[1].succeeded, tallies[1].failed()), (3, 0));
        assert_eq!(routes.tallies(at(10_000))[0].total(), 1);
        assert!(routes.tallies(at(20_000)).is_empty());
    }

    #[test]
    fn what_is_asked_for_least_is_forgotten_first() {
        let mut routes = Routes::new(Duration::from_secs(10));
        let at = Instant::from_millis(1);
        for _ in 0..5 {
            routes.take(at, 0, shape("/often"), Outcome::Answered(500));
        }
        let names = (0..1000).map(|n| format!("/{}", "x".repeat(n % 30 + 1)));
        for name in names.chain((0..200).map(|n| format!("/{}", "y".repeat(n % 30 + 1)))) {
            routes.take(at, 0, shape(&name), Outcome::Answered(200));
        }
        for n in 0..100_u8 {
            let name = [b'/', b'a' + n % 26, b'a' + n / 26];
            let shape = RequestShape::of(b"GET", &name);
            routes.take(at, 0, shape, Outcome::Answered(200));
        }
        let tallies = routes.tallies(at);
        assert_eq!(tallies.len(), ROUTES);
        assert_eq!(tallies[0].errors, 5);
    }
}
