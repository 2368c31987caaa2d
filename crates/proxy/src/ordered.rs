//! What the way of a fault orders about a service as a whole: routes are closed but for trials, bounds are found for servers that
//! have more to do than they can, and the servers of the first tier give way to those behind it. What the first means for a request is
//! decided by [`evenkeel_request::closed`], the others make another [`Roster`](crate::roster::Roster); where nothing is ordered, a
//! request pays one load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use evenkeel_core::metric::Sink;
use evenkeel_core::{Instant, Outcome, ServiceOrders};
use evenkeel_request::Cause;
use evenkeel_request::closed::{ClosedRoutes, Entry, Shown};

use crate::drive::Journey;
use crate::state::ProxyState;

/// What is ordered about one service.
#[derive(Debug, Default)]
pub(crate) struct Ordered {
    /// Whether anything is ordered.
    is_on: AtomicBool,
    closed: ArcSwap<ClosedRoutes>,
    /// Requests that were answered since their route is closed.
    refused: AtomicU64,
    /// By what they have shown.
    trials: [AtomicU64; TRIALS.len()],
    /// What the roster follows: [`FINDS_LIMITS`], [`FAILS_OVER`].
    roster: AtomicU8,
    /// While it follows anything: until when, in nanoseconds; else zero.
    roster_until: AtomicU64,
}

/// Bounds are found for servers.
const FINDS_LIMITS: u8 = 1;
/// The first tier gives way.
const FAILS_OVER: u8 = 2;

/// What trials have shown, by the words of metrics.
const TRIALS: [&str; 4] = ["answered", "hung", "nothing", "failed"];

impl Ordered {
    fn set(&self, orders: &ServiceOrders) {
        let closed = self.closed.load().follow(orders);
        self.closed.store(Arc::new(closed));
        self.is_on.store(!orders.is_none(), Ordering::Release);
    }

    /// Whether another roster is needed from now on.
    fn roster_changes(&self, orders: &ServiceOrders) -> bool {
        let finds_limits = if orders.limits.is_empty() {
            0
        } else {
            FINDS_LIMITS
        };
        let fails_over = if orders.fails_over { FAILS_OVER } else { 0 };
        let follows = finds_limits | fails_over;
        let until = match follows {
            0 => 0,
            _ => orders.until.as_nanos(),
        };
        let before = self.roster.swap(follows, Ordering::AcqRel);
        let held_until = self.roster_until.swap(until, Ordering::AcqRel);
        (before, held_until == 0) != (follows, until == 0)
    }

    /// Whether what the roster follows was not renewed in time. Says so once.
    fn has_run_out(&self, now: Instant) -> bool {
        let until = self.roster_until.load(Ordering::Acquire);
        let order = Ordering::AcqRel;
        until != 0
            && now.as_nanos() >= until
            && (self.roster_until)
                .compare_exchange(until, 0, order, Ordering::Relaxed)
                .is_ok()
    }

    /// Whether the roster follows orders, also if nobody has said yet that their time is over.
    pub(crate) fn holds(&self) -> bool {
        self.roster_until.load(Ordering::Acquire) != 0
    }

    pub(crate) fn collect(&self, sink: &mut dyn Sink, service: &str, now: Instant) {
        let labels = [("service", service)];
        let about = "Whether bounds are found for servers without a configured one, since more comes than they can do.";
        let holds = self.roster_until.load(Ordering::Relaxed) > now.as_nanos();
        let follows = if holds {
            self.roster.load(Ordering::Relaxed)
        } else {
            0
        };
        let is = |what| f64::from(u8::from(follows & what != 0));
        sink.gauge("evenkeel_limits_found", about, &labels, is(FINDS_LIMITS));
        let about =
            "Whether the servers of the first tier give way to those behind it, since they fail.";
        sink.gauge("evenkeel_failed_over", about, &labels, is(FAILS_OVER));
        let about =
            "Routes that are closed but for trials: they hang on all servers, or are answered for.";
        let number = self.closed.load().count(now);
        sink.gauge("evenkeel_routes_closed", about, &labels, number as f64);
        let about = "Requests that no server got, since their route is closed.";
        let value = self.refused.load(Ordering::Relaxed);
        sink.counter("evenkeel_route_refused_total", about, &labels, value);
        for (word, trials) in TRIALS.iter().zip(&self.trials) {
            let labels = [("service", service), ("outcome", *word)];
            let about = "Requests of closed routes that servers got, to see how they end.";
            let value = trials.load(Ordering::Relaxed);
            sink.counter("evenkeel_route_trials_total", about, &labels, value);
        }
    }
}

impl ProxyState {
    /// What holds for a service as a whole from now on. Replaces what was ordered before.
    pub fn set_service(&self, orders: &ServiceOrders) {
        if let Some(service) = self.services().get(orders.service.0 as usize) {
            service.ordered.set(orders);
            if service.ordered.roster_changes(orders) {
                service.follow(orders, self.now());
            }
        }
    }
}

impl Journey<'_> {
    /// Whether a server may get it. Asked before each attempt: what hung when its route was closed is not tried again.
    ///
    /// # Errors
    /// Why none may.
    pub(crate) fn kept_out(&mut self, now: Instant) -> Result<(), Cause> {
        let ordered = &self.service.ordered;
        if !ordered.is_on.load(Ordering::Acquire) {
            return Ok(());
        }
        if ordered.has_run_out(now) {
            self.service.orders_have_run_out(now);
        }
        if self.trial.is_some() {
            return Ok(());
        }
        let patience = self.policies.timeout.attempt;
        match ordered.closed.load().entry(self.shape, now, patience) {
            Entry::Usual => Ok(()),
            Entry::Trial(trial) => {
                self.trial = Some(trial);
                Ok(())
            }
            Entry::Refused(cause) => {
                ordered.refused.fetch_add(1, Ordering::Relaxed);
                Err(cause)
            }
        }
    }

    /// An attempt has ended, which may have been a trial.
    pub(crate) fn tried(&mut self, outcome: Outcome, now: Instant) {
        let Some(trial) = self.trial.take() else {
            return;
        };
        let place = match trial.ended(outcome, now) {
            Shown::Answered => 0,
            Shown::Hung => 1,
            Shown::Nothing => 2,
            Shown::Failed => 3,
        };
        self.service.ordered.trials[place].fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use evenkeel_config::resolve::Surroundings;
    use evenkeel_core::{LimitHint, ServiceId};
    use evenkeel_runtime::Clock;

    use super::*;

    fn state() -> ProxyState {
        let text = "[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n[service.shop]\nservers = [\"127.0.0.1:1\"]\n";
        let around = Surroundings {
            base_dir: Path::new("."),
            state_dir: Path::new("."),
            cores: 1,
            descriptors: 65_536,
            resolver: &|name| Err(format!("{name} is not to be resolved")),
        };
        let loaded = evenkeel_config::load(text, "test.toml", &around);
        let loaded = loaded.unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        ProxyState::new(&loaded.plan, Clock::start(), 1)
    }

    fn order(state: &ProxyState, until: Instant) {
        let initial = 7;
        state.set_service(&ServiceOrders {
            limits: vec![LimitHint {
                initial,
                ..LimitHint::default()
            }],
            until,
            ..ServiceOrders::none(ServiceId(0))
        });
    }

    fn bound(state: &ProxyState) -> Option<u32> {
        state.services()[0].roster().pool().members()[0].bound()
    }

    /// A worker sees that the orders have run out, they are renewed, and only then does it come to take the bounds off.
    #[test]
    fn bounds_that_are_renewed_while_a_worker_takes_them_off_stay() {
        let state = state();
        let service = &state.services()[0];
        order(&state, Instant::from_millis(1));
        let late = Instant::from_millis(2);
        assert!(service.ordered.has_run_out(late));
        order(&state, Instant::NEVER);
        service.orders_have_run_out(late);
        assert_eq!(bound(&state), Some(7));
        assert!(!service.ordered.has_run_out(late));
    }

    #[test]
    fn bounds_that_are_renewed_after_a_worker_took_them_off_are_found_anew() {
        let state = state();
        let service = &state.services()[0];
        order(&state, Instant::from_millis(1));
        let late = Instant::from_millis(2);
        assert!(service.ordered.has_run_out(late));
        assert!(!service.ordered.has_run_out(late), "once");
        service.orders_have_run_out(late);
        assert_eq!(bound(&state), None);
        order(&state, Instant::NEVER);
        assert_eq!(bound(&state), Some(7));
    }
}
