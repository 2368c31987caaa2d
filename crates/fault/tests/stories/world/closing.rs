//! Closed routes, as the proxy implements them.

use std::time::Duration;

use evenkeel_core::{Instant, Outcome, RequestShape, ServiceOrders};
use evenkeel_request::closed::{ClosedRoutes, RouteAdmission, Trial};

use super::ms;

/// How long an attempt may take.
pub(super) const HANG: Duration = ms(500);

#[derive(Debug, Default)]
pub(crate) struct Closing {
    pub(crate) routes: ClosedRoutes,
    /// Requests that were not sent to a server.
    pub(crate) refused: u64,
    /// Trials in flight, with when and how they end.
    trials: Vec<(Instant, Trial, Outcome)>,
}

/// It is answered at once.
pub(super) struct Refused;

impl Closing {
    pub(super) fn follow(&mut self, orders: &ServiceOrders, now: Instant) {
        assert!(orders.until > now, "they do not expire at once");
        self.routes = self.routes.follow(orders);
    }

    /// Whether an attempt may be made, and as what.
    pub(super) fn ask(
        &mut self,
        shape: RequestShape,
        now: Instant,
    ) -> Result<Option<Trial>, Refused> {
        self.trials.sort_by_key(|(at, ..)| *at);
        while self.trials.first().is_some_and(|(at, ..)| *at <= now) {
            let (at, trial, outcome) = self.trials.remove(0);
            trial.ended(outcome, at);
        }
        match self.routes.entry(shape, now, HANG) {
            RouteAdmission::Usual => Ok(None),
            RouteAdmission::Trial(trial) => Ok(Some(trial)),
            RouteAdmission::Refused(_) => {
                self.refused += 1;
                Err(Refused)
            }
        }
    }

    /// An attempt is made, which ends like this.
    pub(super) fn begun(&mut self, trial: Option<Trial>, ends: Instant, outcome: Outcome) {
        let trial = trial.map(|trial| (ends, trial, outcome));
        self.trials.extend(trial);
    }
}
