//! The impact of an incident on requests: the difference of the service's totals between onset and recovery.

use std::time::Duration;

use evenkeel_core::{Instant, Recent};

use crate::contract::Totals;
use crate::incident::Impact;
use crate::policy::Objective;

/// Totals are remembered this often …
const STEP: Duration = Duration::from_millis(100);
/// … and this many times, which covers a minute.
const REMEMBERED: usize = 600;

/// One service's totals over the last minute.
#[derive(Debug, Clone)]
pub struct ServiceTraffic {
    /// The latest totals.
    pub latest: Totals,
    before: Recent<(Instant, Totals)>,
    noted: Option<Instant>,
}

impl Default for ServiceTraffic {
    fn default() -> Self {
        Self {
            latest: Totals::default(),
            before: Recent::new(REMEMBERED),
            noted: None,
        }
    }
}

impl ServiceTraffic {
    /// Takes in the totals at `now`.
    pub fn note(&mut self, now: Instant, totals: Totals) {
        self.latest = totals;
        if self.noted.is_none_or(|noted| now.since(noted) >= STEP) {
            self.before.push((now, totals));
            self.noted = Some(now);
        }
    }

    /// The totals at `moment`, or the oldest that are remembered.
    #[must_use]
    pub fn at(&self, moment: Instant) -> Totals {
        let known = self.before.iter().rev().find(|(at, _)| *at <= moment);
        known
            .or_else(|| self.before.iter().next())
            .map_or(self.latest, |(_, totals)| *totals)
    }

    /// Requests of the last two seconds as a multiple of what came, in the same time, in the minute before the last ten; one
    /// where too little is known.
    #[must_use]
    pub fn load(&self, now: Instant) -> f64 {
        const LATELY: Duration = Duration::from_secs(2);
        const BEFORE: Duration = Duration::from_secs(10);
        let Some((oldest, first)) = self.before.iter().next() else {
            return 1.0;
        };
        let until = now.before(BEFORE);
        let length = until.since(*oldest);
        let usual = self.at(until).requests.saturating_sub(first.requests);
        if length < Duration::from_secs(5) || usual < 10 {
            return 1.0;
        }
        let before = self.at(now.before(LATELY)).requests;
        let lately = self.latest.requests.saturating_sub(before);
        (lately as f64 / LATELY.as_secs_f64()) / (usual as f64 / length.as_secs_f64())
    }

    /// The difference from `start` until now. `budget_spent` takes the requests of the objective's period to be as many
    /// as the rate since the start of the program (`now` after it) gives.
    #[must_use]
    pub fn impact(&self, start: Totals, now: Instant, objective: Option<&Objective>) -> Impact {
        let requests = self.latest.requests.saturating_sub(start.requests);
        // Counters of several threads are not read at one moment.
        let among = |now: u64, then: u64| now.saturating_sub(then).min(requests);
        let failed = among(self.latest.failed, start.failed);
        let budget_spent = objective.map_or(0.0, |objective| {
            let periods =
                objective.window.as_secs_f64() / now.since(Instant::ZERO).as_secs_f64().max(1.0);
            let budget = self.latest.requests as f64 * periods * (1.0 - objective.availability);
            if budget > 0.0 {
                failed as f64 / budget
            } else {
                0.0
            }
        });
        Impact {
            requests,
            failed,
            saved_by_retry: among(self.latest.saved_by_retry, start.saved_by_retry),
            budget_spent,
        }
    }
}
