//! What watches a server's attempts beside the balancer: what finds its bound, and its breaker. Both say what they find to the server's
//! state, which is what picks go by.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use evenkeel_balance::{Member, ServerState};
use evenkeel_config::plan::ServicePlan;
use evenkeel_core::metric::Sink;
use evenkeel_core::{Instant, LimitHint, Outcome};
use evenkeel_tolerate::breaker::{Admitted, Change, End};
use evenkeel_tolerate::limit::{Adaptive, Gradient2Options, Typical, WindowOptions};
use evenkeel_tolerate::{Breaker, BreakerOptions, BreakerSnapshot, BreakerState, LimitOptions};

use crate::load;
use crate::roster::Roster;

/// A bound is looked at again when so much time and ten answers have passed: a tenth of Netflix's second, since the stall that it is to
/// notice is over after seconds.
const WINDOWS: WindowOptions = WindowOptions {
    min: Duration::from_millis(100),
    max: Duration::from_secs(1),
    samples: 10,
    typical: Typical::Mean,
};

/// What is to be watched of each server of a service.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Watching {
    bounds: Option<LimitOptions>,
    breaker: Option<BreakerOptions>,
}

/// What watches one server.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) adaptive: Option<Adaptive>,
    pub(crate) breaker: Option<Arc<Guard>>,
    /// What finds the bound does so no more: nobody wants one any longer.
    is_over: AtomicBool,
}

/// A server's breaker.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) breaker: Breaker,
    /// How many attempts it lets through at once when it is half-open.
    trials: u32,
    /// Whose it is, for the log.
    server: Arc<str>,
}

/// What an attempt that is under way owes to who watches.
#[derive(Debug)]
pub(crate) struct Watched<'a> {
    watch: &'a Watch,
    /// How many were in flight when it began.
    in_flight: u32,
    admitted: Option<Admitted>,
}

impl Watching {
    pub(crate) const fn of(plan: &ServicePlan) -> Self {
        Self {
            bounds: plan.limit.adaptive,
            breaker: plan.breaker,
        }
    }

    pub(crate) const fn finds_bounds(self) -> bool {
        self.bounds.is_some()
    }

    /// The bound of a server as the balancer needs it: a breaker bounds its trials also where nothing else does.
    pub(crate) const fn most(self, bound: u32) -> u32 {
        match (bound, self.breaker) {
            (0, Some(_)) => u32::MAX,
            (bound, _) => bound,
        }
    }

    /// For a server that comes. The chances of one differ from those of another by its identity.
    pub(crate) fn begin(
        self,
        now: Instant,
        server: &Arc<str>,
        member: &Member,
    ) -> Option<Arc<Watch>> {
        if self.bounds.is_none() && self.breaker.is_none() {
            return None;
        }
        let seed = evenkeel_balance::key(member.identity.as_bytes());
        let adaptive =
            (self.bounds).map(|bounds| Adaptive::with_window(&bounds, WINDOWS, now, seed));
        if let Some(adaptive) = &adaptive {
            member.state.set_bound(adaptive.limit());
        }
        let breaker = self.breaker.map(|options| {
            Arc::new(Guard {
                breaker: Breaker::new(options, seed),
                trials: options.trials,
                server: Arc::clone(server),
            })
        });
        Some(Arc::new(Watch {
            adaptive,
            breaker,
            is_over: AtomicBool::new(false),
        }))
    }
}

impl Watch {
    /// What also finds a bound for a server that has none, for the time of an overload; beside what watches it already.
    pub(crate) fn relieving(
        before: Option<&Self>,
        member: &Member,
        hint: LimitHint,
        now: Instant,
    ) -> Arc<Self> {
        let options = Gradient2Options::for_overload(hint.initial, hint.usual);
        let seed = evenkeel_balance::key(member.identity.as_bytes());
        let adaptive = Adaptive::with_window(&LimitOptions::Gradient2(options), WINDOWS, now, seed);
        member.state.set_bound(adaptive.limit());
        Arc::new(Self {
            adaptive: Some(adaptive),
            breaker: before.and_then(|watch| watch.breaker.clone()),
            is_over: AtomicBool::new(false),
        })
    }

    /// The overload is over: the server has no bound any more. What watches it beside goes on.
    pub(crate) fn relieved(&self, member: &Member) -> Option<Arc<Self>> {
        self.is_over.store(true, Ordering::SeqCst);
        member.state.set_bound(0);
        let breaker = self.breaker.clone()?;
        Some(Arc::new(Self {
            adaptive: None,
            breaker: Some(breaker),
            is_over: AtomicBool::new(false),
        }))
    }

    fn set_bound(&self, state: &ServerState, bound: u32) {
        // A late answer to what began in an overload that is over: the next one may have its own bound by now.
        if self.is_over.load(Ordering::SeqCst) {
            return;
        }
        state.set_bound(bound);
        // It may have ended in this moment; whoever comes second sees the other.
        if self.is_over.load(Ordering::SeqCst) {
            state.set_bound(0);
        }
    }
}

impl Watch {
    /// An attempt that has been counted in at `member` begins; nothing if the breaker does not let it through.
    pub(crate) fn begin(&self, member: &Member, now: Instant) -> Option<Watched<'_>> {
        let admitted = match &self.breaker {
            None => None,
            Some(guard) => Some(guard.breaker.admit(now).ok()?),
        };
        Some(Watched {
            watch: self,
            in_flight: member.state.in_flight(),
            admitted,
        })
    }
}

impl Watched<'_> {
    /// It ended like this.
    pub(crate) fn ended(
        self,
        state: &ServerState,
        at: Instant,
        outcome: Outcome,
        latency: Duration,
    ) {
        if let Some((adaptive, dropped)) = self.watch.adaptive.as_ref().zip(is_dropped(outcome))
            && let Some(bound) = adaptive.sample(at, latency, self.in_flight, dropped)
        {
            self.watch.set_bound(state, bound);
        }
        let Some((guard, admitted)) = self.watch.breaker.as_ref().zip(self.admitted) else {
            return;
        };
        let server = &*guard.server;
        match guard.breaker.ended(admitted, at, end_of(outcome), latency) {
            Some(Change::Opened(why, until)) => {
                state.break_until(until, guard.trials);
                let seconds = until.since(at).as_secs_f64();
                tracing::warn!(server, reason = why.word(), seconds, "a breaker has opened");
            }
            Some(Change::Closed) => {
                state.mend();
                tracing::info!(server, "a breaker has closed");
            }
            None => {}
        }
    }
}

/// Whether the server had more than it could do; nothing if the attempt says nothing about that.
const fn is_dropped(outcome: Outcome) -> Option<bool> {
    match outcome {
        Outcome::Answered(429 | 503) | Outcome::AttemptTimeout | Outcome::ConnectTimeout => {
            Some(true)
        }
        Outcome::Answered(200..=499) => Some(false),
        // A fast error of the application's says nothing about how busy it is, and neither does what never reached it.
        _ => None,
    }
}

/// What a breaker counts. That a server asks for less (429) is no failure, and no sign that it is well either.
const fn end_of(outcome: Outcome) -> End {
    match outcome {
        Outcome::Answered(429)
        | Outcome::Cancelled
        | Outcome::Stale
        | Outcome::IdleTimeout
        | Outcome::LocalError
        | Outcome::Rescued => End::Ignored,
        outcome if outcome.is_failure() => End::Bad,
        _ => End::Good,
    }
}

/// How a server is: what is in flight and may be, its weight, the load that it reports, its breaker.
pub(crate) fn collect(
    sink: &mut dyn Sink,
    labels: &[(&str, &str); 2],
    roster: &Roster,
    index: u32,
    now: Instant,
) {
    let Some(member) = roster.pool().members().get(index as usize) else {
        return;
    };
    let about = "Attempts that are under way on a server.";
    let in_flight = f64::from(member.state.in_flight());
    sink.gauge("evenkeel_server_in_flight", about, labels, in_flight);
    if let Some(bound) = member.bound() {
        let about = "The most attempts that a server may have at once now.";
        sink.gauge("evenkeel_server_limit", about, labels, f64::from(bound));
    }
    load::collect(sink, labels, &member.state);
    let about = "A server's weight.";
    let weight = f64::from(member.weight);
    sink.gauge("evenkeel_server_weight", about, labels, weight);
    if let Some(snapshot) = roster.breaker(index, now) {
        collect_breaker(sink, labels, &snapshot);
    }
}

fn collect_breaker(sink: &mut dyn Sink, labels: &[(&str, &str); 2], snapshot: &BreakerSnapshot) {
    for (state, changes) in BreakerState::ALL.into_iter().zip(snapshot.changes).take(3) {
        let labels = [labels[0], labels[1], ("state", state.word())];
        let is = f64::from(u8::from(snapshot.state == state));
        let about = "Whether a server's breaker is in this state.";
        sink.gauge("evenkeel_breaker_state", about, &labels, is);
        let about = "How often a server's breaker came to this state.";
        sink.counter("evenkeel_breaker_changes_total", about, &labels, changes);
    }
    let about = "Attempts that a server's breaker did not let through although it was picked.";
    sink.counter(
        "evenkeel_breaker_refused_total",
        about,
        labels,
        snapshot.refused,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_answer_of_an_overload_that_is_over_leaves_the_next_bound_alone() {
        let member = Member {
            identity: "127.0.0.1:1".into(),
            state: Arc::new(ServerState::new()),
            weight: 1,
            tier: 0,
            near: true,
            max_requests: u32::MAX,
        };
        let hint = |initial| LimitHint {
            initial,
            ..LimitHint::default()
        };
        let old = Watch::relieving(None, &member, hint(7), Instant::ZERO);
        old.set_bound(&member.state, 9);
        assert_eq!(member.bound(), Some(9));
        assert!(old.relieved(&member).is_none());
        let new = Watch::relieving(None, &member, hint(5), Instant::ZERO);
        old.set_bound(&member.state, 9);
        assert_eq!(member.bound(), Some(5));
        new.set_bound(&member.state, 6);
        assert_eq!(member.bound(), Some(6));
    }
}
