//! Detects a route or a method that fails on all servers while everything else works.

use evenkeel_core::{Instant, RequestShape};

use crate::signal::{RouteTally, covers};

/// A route fails if this many of its requests failed, and at least half of all.
const FAILED: u32 = 5;
/// So many are named, at most.
const ROUTES: usize = 64;
/// So many other requests must have succeeded for a route to be alone in failing.
const OTHERS: u32 = 10;

/// Routes that fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// Which; the one that failed most often first.
    pub shapes: Vec<RequestShape>,
    /// Every route of their method fails, and none of another.
    pub is_method: bool,
    /// Requests of them that ended.
    pub total: u32,
    /// Of these, those that failed.
    pub failed: u32,
    /// Of these, those that were not answered in time.
    pub hung: u32,
    /// On how many servers.
    pub servers: usize,
    /// Other requests that ended.
    pub others_total: u32,
    /// Of these, those that succeeded.
    pub others_succeeded: u32,
    /// The first failure.
    pub since: Instant,
}

impl Failing {
    /// Whether it is about such requests.
    #[must_use]
    pub fn covers(&self, shape: RequestShape) -> bool {
        let is_its_method = |one: &RequestShape| one.method == shape.method;
        covers(&self.shapes, shape) || self.is_method && self.shapes.iter().any(is_its_method)
    }

    /// Whether its requests hold places at servers for nothing, until their time is over.
    #[must_use]
    pub const fn hangs(&self) -> bool {
        self.hung * 2 > self.failed
    }

    /// Takes in what is seen later: further routes, and how their requests fail now.
    pub(crate) fn take_in(&mut self, later: &Self) {
        if later.is_method == self.is_method {
            for shape in &later.shapes {
                if !self.covers(*shape) && self.shapes.len() < ROUTES {
                    self.shapes.push(*shape);
                }
            }
        }
        (self.failed, self.hung) = (later.failed, later.hung);
    }

    /// Whether all failures that `routes` tell of are its own: then what servers show is this, and no other cause.
    #[must_use]
    pub fn is_all(&self, routes: &[RouteTally]) -> bool {
        let mut failed = routes.iter().filter(|tally| tally.failed() > 0);
        failed.all(|tally| self.covers(tally.shape))
    }

    /// Whether most other requests fail as well: then the cause is graver than these routes.
    #[must_use]
    pub fn is_outgrown(&self, routes: &[RouteTally]) -> bool {
        let others = routes.iter().filter(|tally| !self.covers(tally.shape));
        let (failed, total) = others.fold((0, 0), |(failed, total), tally| {
            (failed + tally.failed(), total + tally.total())
        });
        failed >= FAILED && failed * 2 >= total
    }

    /// Whether the server at place `server` fails for other requests, too, as far as `routes` tell: then it has a fault of its own.
    #[must_use]
    pub fn is_not_all(&self, routes: &[RouteTally], server: u32) -> bool {
        let others = routes.iter().filter(|tally| !self.covers(tally.shape));
        let fails = |tally: &RouteTally| {
            tally.failed_on.contains(server) && !tally.well_on.contains(server)
        };
        others.into_iter().any(fails)
    }
}

/// The routes that fail on at least half of the `members`, if all others work.
#[must_use]
pub fn failing(routes: &[RouteTally], members: usize) -> Option<Failing> {
    let fails =
        |tally: &&RouteTally| tally.failed() >= FAILED && tally.failed() * 2 >= tally.total();
    let (bad, good): (Vec<&RouteTally>, Vec<&RouteTally>) = routes.iter().partition(fails);
    let sum = |of: &[&RouteTally], what: fn(&RouteTally) -> u32| of.iter().map(|t| what(t)).sum();
    let (total, failed): (u32, u32) = (sum(&bad, RouteTally::total), sum(&bad, RouteTally::failed));
    let others_total: u32 = sum(&good, RouteTally::total);
    let others_succeeded: u32 = sum(&good, |tally| tally.succeeded);
    let others_well = others_succeeded >= OTHERS && others_succeeded * 10 >= others_total * 9;
    // If it succeeds on a server at least half of the time, the other servers are at fault.
    let everywhere = bad.iter().all(|tally| {
        let (failed_on, well_on) = (tally.failed_on.len(), tally.well_on.len());
        failed_on * 2 >= members.max(1)
            && (failed_on > well_on || tally.failed() * 5 >= tally.total() * 4)
    });
    if bad.is_empty() || !others_well || !everywhere {
        return None;
    }
    let method = bad[0].shape.method;
    let is_method = bad.len() > 1
        && bad.iter().all(|tally| tally.shape.method == method)
        && good.iter().all(|tally| tally.shape.method != method);
    Some(Failing {
        is_method,
        total,
        failed,
        hung: sum(&bad, |tally| tally.hung),
        servers: bad
            .iter()
            .map(|tally| tally.failed_on.len())
            .max()
            .unwrap_or(0),
        others_total,
        others_succeeded,
        since: bad
            .iter()
            .map(|tally| tally.since)
            .min()
            .unwrap_or(Instant::NEVER),
        shapes: bad.into_iter().map(|tally| tally.shape).collect(),
    })
}
