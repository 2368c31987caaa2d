//! What watches a server's attempts beside the balancer: what finds its concurrency limit, and its circuit breaker. Both write their
//! result to the server's state, which the balancer reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use evenkeel_balance::{Member, ServerState};
use evenkeel_core::{Instant, LimitHint, Outcome};
use evenkeel_tolerate::breaker::{Admitted, BreakerOutcome, Transition};
use evenkeel_tolerate::limit::{
    AdaptiveLimit, Gradient2Options, LimitSnapshot, WindowOptions, WindowStatistic,
};
use evenkeel_tolerate::{Breaker, BreakerOptions, BreakerSnapshot, LimitOptions};

/// A bound is looked at again when so much time and ten answers have passed: a tenth of Netflix's second, since the stall that it is to
/// notice is over after seconds.
const WINDOWS: WindowOptions = WindowOptions {
    min: Duration::from_millis(100),
    max: Duration::from_secs(1),
    samples: 10,
    statistic: WindowStatistic::Mean,
};

/// What is watched of each server of a service.
#[derive(Debug, Clone, Copy, Default)]
pub struct WatchOptions {
    /// How its concurrency limit is found, if it is.
    pub limit: Option<LimitOptions>,
    /// When it is not asked because it has failed lately, if ever.
    pub breaker: Option<BreakerOptions>,
    /// Who is told that a breaker has opened or closed.
    pub log: Option<BreakerLog>,
}

/// ReportedDeadline that the breaker of a server (`service/server`) has opened or closed.
pub type BreakerLog = fn(&str, BreakerChange);

/// What has become of a breaker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BreakerChange {
    /// It has opened, for this reason and this time.
    Opened(&'static str, Duration),
    /// It has closed.
    Closed,
}

/// What watches one server.
#[derive(Debug)]
pub(crate) struct Watch {
    adaptive: Option<Arc<AdaptiveLimit>>,
    breaker: Option<Arc<ServerBreaker>>,
    /// The limit is not looked for any more: the overload is over.
    is_over: AtomicBool,
}

/// A server's breaker.
#[derive(Debug)]
struct ServerBreaker {
    breaker: Breaker,
    /// How many attempts it lets through at once when it is half-open.
    trials: AtomicU32,
    /// The service has breakers no more: attempts that began before say nothing.
    is_off: AtomicBool,
    /// Whose it is, for the log.
    server: Arc<str>,
    log: Option<BreakerLog>,
}

/// What an attempt under way reports to what watches its server when it ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watched {
    /// How many were in flight when it began.
    in_flight: u32,
    admitted: Option<Admitted>,
}

impl WatchOptions {
    pub(super) const fn finds_limits(self) -> bool {
        self.limit.is_some()
    }

    /// The limit of a server as the balancer needs it: a breaker limits its trials also where nothing else does.
    pub(super) const fn max_requests(self, limit: u32) -> u32 {
        match (limit, self.breaker) {
            (0, Some(_)) => u32::MAX,
            (limit, _) => limit,
        }
    }

    /// For a server that joins. Its identity seeds what is random in it.
    pub(super) fn begin(
        self,
        now: Instant,
        server: &Arc<str>,
        member: &Member,
    ) -> Option<Arc<Watch>> {
        if self.limit.is_none() && self.breaker.is_none() {
            return None;
        }
        let seed = evenkeel_balance::key(member.identity.as_bytes());
        let adaptive =
            (self.limit).map(|limit| AdaptiveLimit::with_window(&limit, WINDOWS, now, seed));
        if let Some(adaptive) = &adaptive {
            member.state.set_bound(adaptive.limit());
        }
        let breaker = self
            .breaker
            .map(|options| self.new_breaker(options, server, seed));
        Some(Arc::new(Watch {
            adaptive: adaptive.map(Arc::new),
            breaker: breaker.map(Arc::new),
            is_over: AtomicBool::new(false),
        }))
    }

    fn new_breaker(self, options: BreakerOptions, server: &Arc<str>, seed: u64) -> ServerBreaker {
        ServerBreaker {
            breaker: Breaker::new(options, seed),
            trials: AtomicU32::new(options.trials),
            is_off: AtomicBool::new(false),
            server: Arc::clone(server),
            log: self.log,
        }
    }

    /// What watches a server that stays, after `watch` has by the options `before`: what was learnt stays. While a limit is found for the
    /// time of an overload (`is_relieved`), it goes on.
    pub(super) fn follow(
        self,
        (before, watch): (Self, Option<&Arc<Watch>>),
        is_relieved: bool,
        now: Instant,
        (server, member): (&Arc<str>, &Member),
    ) -> Option<Arc<Watch>> {
        if (self.limit, self.breaker) == (before.limit, before.breaker) {
            return watch.cloned();
        }
        let Some(watch) = watch else {
            return self.begin(now, server, member);
        };
        let seed = evenkeel_balance::key(member.identity.as_bytes());
        let adaptive = match (&watch.adaptive, self.limit) {
            (Some(adaptive), None) if is_relieved => Some(Arc::clone(adaptive)),
            (None, None) => None,
            (Some(_), None) => {
                watch.end_limit(&member.state);
                None
            }
            (None, Some(limit)) => {
                let adaptive = AdaptiveLimit::with_window(&limit, WINDOWS, now, seed);
                Some(Arc::new(adaptive))
            }
            (Some(adaptive), Some(limit)) => {
                if self.limit != before.limit {
                    adaptive.reconfigure(&limit, now, seed);
                }
                Some(Arc::clone(adaptive))
            }
        };
        if let Some(adaptive) = &adaptive {
            member.state.set_bound(adaptive.limit());
        }
        let breaker = match (&watch.breaker, self.breaker) {
            (None, None) => None,
            (Some(breaker), None) => {
                breaker.is_off.store(true, Ordering::SeqCst);
                member.state.close_breaker();
                None
            }
            (None, Some(options)) => Some(Arc::new(self.new_breaker(options, server, seed))),
            (Some(breaker), Some(options)) => {
                breaker.breaker.reconfigure(options);
                breaker.trials.store(options.trials, Ordering::Relaxed);
                Some(Arc::clone(breaker))
            }
        };
        (adaptive.is_some() || breaker.is_some()).then(|| {
            Arc::new(Watch {
                adaptive,
                breaker,
                is_over: AtomicBool::new(false),
            })
        })
    }
}

impl Watch {
    /// What also finds a bound for a server that has none, for the time of an overload; beside what watches it already.
    pub(super) fn relieving(
        before: Option<&Self>,
        member: &Member,
        hint: LimitHint,
        now: Instant,
    ) -> Arc<Self> {
        let options = Gradient2Options::for_overload(hint.initial, hint.usual);
        let seed = evenkeel_balance::key(member.identity.as_bytes());
        let adaptive =
            AdaptiveLimit::with_window(&LimitOptions::Gradient2(options), WINDOWS, now, seed);
        member.state.set_bound(adaptive.limit());
        Arc::new(Self {
            adaptive: Some(Arc::new(adaptive)),
            breaker: before.and_then(|watch| watch.breaker.clone()),
            is_over: AtomicBool::new(false),
        })
    }

    /// The overload is over: the server has no bound any more. What watches it beside goes on.
    pub(super) fn relieved(&self, member: &Member) -> Option<Arc<Self>> {
        self.end_limit(&member.state);
        let breaker = self.breaker.clone()?;
        Some(Arc::new(Self {
            adaptive: None,
            breaker: Some(breaker),
            is_over: AtomicBool::new(false),
        }))
    }

    /// Its limit holds no longer.
    fn end_limit(&self, state: &ServerState) {
        self.is_over.store(true, Ordering::SeqCst);
        state.set_bound(0);
    }

    fn set_limit(&self, state: &ServerState, limit: u32) {
        // A late answer to what began in an overload that is over: the next one may have its own bound by now.
        if self.is_over.load(Ordering::SeqCst) {
            return;
        }
        state.set_bound(limit);
        // It may have ended in this moment; whoever comes second sees the other.
        if self.is_over.load(Ordering::SeqCst) {
            state.set_bound(0);
        }
    }
}

impl Watch {
    pub(super) fn limit(&self, in_flight: u32) -> Option<LimitSnapshot> {
        Some(self.adaptive.as_ref()?.snapshot(in_flight))
    }

    pub(super) fn breaker(&self, now: Instant) -> Option<BreakerSnapshot> {
        Some(self.breaker.as_ref()?.breaker.snapshot(now))
    }

    /// An attempt that has been counted in at `member` begins; `None` if the breaker does not let it through.
    pub(crate) fn begin(&self, member: &Member, now: Instant) -> Option<Watched> {
        let admitted = match &self.breaker {
            None => None,
            Some(breaker) => Some(breaker.breaker.admit(now).ok()?),
        };
        Some(Watched {
            in_flight: member.state.in_flight(),
            admitted,
        })
    }

    /// It ended like this.
    pub(crate) fn ended(
        &self,
        watched: Watched,
        state: &ServerState,
        (at, outcome, latency): (Instant, Outcome, Duration),
    ) {
        if let Some((adaptive, dropped)) = self.adaptive.as_ref().zip(is_dropped(outcome))
            && let Some(limit) = adaptive.sample(at, latency, watched.in_flight, dropped)
        {
            self.set_limit(state, limit);
        }
        if let Some((breaker, admitted)) = self.breaker.as_ref().zip(watched.admitted) {
            breaker.ended(admitted, state, (at, outcome, latency));
        }
    }
}

impl ServerBreaker {
    fn ended(
        &self,
        admitted: Admitted,
        state: &ServerState,
        (at, outcome, latency): (Instant, Outcome, Duration),
    ) {
        if self.is_off.load(Ordering::SeqCst) {
            return;
        }
        let change = match self.breaker.ended(admitted, at, end_of(outcome), latency) {
            Some(Transition::Opened(why, until)) => {
                state.open_breaker(until, self.trials.load(Ordering::Relaxed));
                BreakerChange::Opened(why.word(), until.since(at))
            }
            Some(Transition::Closed) => {
                state.close_breaker();
                BreakerChange::Closed
            }
            None => return,
        };
        if let Some(log) = self.log {
            log(&self.server, change);
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
        Outcome::Answered(_)
        | Outcome::ConnectRefused
        | Outcome::Unreachable
        | Outcome::Stale
        | Outcome::StreamRefused
        | Outcome::Reset { .. }
        | Outcome::BadResponse
        | Outcome::Truncated
        | Outcome::IdleTimeout
        | Outcome::Cancelled
        | Outcome::LocalError
        | Outcome::Superseded
        | Outcome::Rescued => None,
    }
}

/// What a breaker counts. That a server asks for less (429) is no failure, and no sign that it is well either.
const fn end_of(outcome: Outcome) -> BreakerOutcome {
    match outcome {
        Outcome::Answered(429)
        | Outcome::Cancelled
        | Outcome::Stale
        | Outcome::StreamRefused
        | Outcome::IdleTimeout
        | Outcome::LocalError
        | Outcome::Superseded
        | Outcome::Rescued => BreakerOutcome::Ignored,
        Outcome::Answered(_)
        | Outcome::ConnectRefused
        | Outcome::ConnectTimeout
        | Outcome::Unreachable
        | Outcome::Reset { .. }
        | Outcome::AttemptTimeout
        | Outcome::BadResponse
        | Outcome::Truncated => match outcome.is_failure() {
            true => BreakerOutcome::Bad,
            false => BreakerOutcome::Good,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same table for the verdicts of the policy engine is a test of `tolerate`; where they differ is in
    /// docs/internals/policy-engine.md.
    #[test]
    fn what_each_outcome_means_to_breaker_and_limit() {
        use BreakerOutcome::{Bad, Good, Ignored};
        for (outcome, breaker, dropped) in [
            (Outcome::Answered(200), Good, Some(false)),
            (Outcome::Answered(404), Good, Some(false)),
            (Outcome::Answered(429), Ignored, Some(true)),
            (Outcome::Answered(500), Bad, None),
            (Outcome::Answered(503), Bad, Some(true)),
            (Outcome::ConnectRefused, Bad, None),
            (Outcome::ConnectTimeout, Bad, Some(true)),
            (Outcome::Unreachable, Bad, None),
            (Outcome::Stale, Ignored, None),
            (Outcome::Reset { sent: false }, Bad, None),
            (Outcome::Reset { sent: true }, Bad, None),
            (Outcome::AttemptTimeout, Bad, Some(true)),
            (Outcome::BadResponse, Bad, None),
            (Outcome::Truncated, Bad, None),
            (Outcome::IdleTimeout, Ignored, None),
            (Outcome::Cancelled, Ignored, None),
            (Outcome::LocalError, Ignored, None),
            (Outcome::Superseded, Ignored, None),
            (Outcome::Rescued, Ignored, None),
        ] {
            let found = (end_of(outcome), is_dropped(outcome));
            assert_eq!(found, (breaker, dropped), "{outcome:?}");
        }
    }

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
        old.set_limit(&member.state, 9);
        assert_eq!(member.bound(), Some(9));
        assert!(old.relieved(&member).is_none());
        let new = Watch::relieving(None, &member, hint(5), Instant::ZERO);
        old.set_limit(&member.state, 9);
        assert_eq!(member.bound(), Some(5));
        new.set_limit(&member.state, 6);
        assert_eq!(member.bound(), Some(6));
    }
}
