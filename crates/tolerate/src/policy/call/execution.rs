//! The state of a call under way, and the decisions about it: what async and blocking calls share. It never waits.
//!
//! How an attempt is admitted is in `admission`.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::{Instant, Random};

#[cfg(feature = "async")]
use crate::HedgeRace;
use crate::clock::Clock;
use crate::policy::attempt::TriedServers;
use crate::policy::mechanisms::AttemptPermits;
use crate::policy::recovery::{ActivePolicy, PolicyShared};
use crate::policy::{
    Attempt, AttemptSummary, CallReport, PolicyEvent, Recovered, Repaired, Stopped,
};
use crate::{Call, Deadline, Decision, EndedAttempt, RetryLedger, StopReason, Verdict, again};

/// An attempt under way. Dropped, it releases its permits.
#[must_use = "dropped at once it is no attempt"]
pub(crate) struct ActiveAttempt<'p> {
    pub(crate) attempt: Attempt,
    pub(crate) permits: AttemptPermits<'p>,
    /// An injected fault that is not over yet.
    pub(crate) fault: Option<PendingFault>,
}

/// An injected fault: the attempt is delayed until then, and not made at all if it is aborted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PendingFault {
    pub(crate) until: Instant,
    pub(crate) abort: bool,
}

impl ActiveAttempt<'_> {
    /// Whether it is made at all, now or after a delay.
    #[cfg(feature = "async")]
    pub(crate) fn is_made(&self) -> bool {
        !self.fault.is_some_and(|fault| fault.abort)
    }

    /// Whether its injected fault is over at once.
    #[cfg(feature = "async")]
    pub(crate) fn has_immediate_fault(&self) -> bool {
        self.fault
            .is_some_and(|fault| fault.until <= self.attempt.began)
    }
}

/// A call under way. Dropped before its end, it counts as abandoned.
pub(crate) struct Execution<'p, C: Clock> {
    pub(super) shared: &'p PolicyShared<C>,
    pub(super) active: Arc<ActivePolicy>,
    pub(super) call: Call,
    pub(super) deadline: Deadline,
    started: Instant,
    ledger: RetryLedger,
    pub(super) tried: TriedServers,
    #[cfg(feature = "async")]
    pub(super) hedges: u32,
    repairs: u32,
    pub(super) random: Option<Random>,
    report: Option<CallReport>,
}

impl<'p, C: Clock> Execution<'p, C> {
    pub(crate) fn begin(shared: &'p PolicyShared<C>, call: Call) -> Self {
        let now = shared.clock.now();
        let active = shared.active();
        Self {
            shared,
            deadline: active.options.deadline_from(now, call.deadline()),
            active,
            call,
            started: now,
            ledger: RetryLedger::new(),
            tried: TriedServers::default(),
            #[cfg(feature = "async")]
            hedges: 0,
            repairs: 0,
            random: None,
            report: Some(CallReport::new(call.name())),
        }
    }

    pub(crate) const fn clock(&self) -> &'p C {
        &self.shared.clock
    }

    pub(crate) const fn started(&self) -> Instant {
        self.started
    }

    #[cfg(feature = "async")]
    pub(crate) const fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// An attempt has ended.
    pub(crate) fn ended(&mut self, begun: ActiveAttempt<'p>, verdict: Verdict, now: Instant) {
        let ActiveAttempt {
            attempt, permits, ..
        } = begun;
        let took = now.since(attempt.began);
        let change = permits.finish(now, verdict, took);
        match verdict {
            Verdict::Good => {
                self.active.budget.earn();
                self.active.note_latency(now, took);
            }
            Verdict::Timeout => self.active.note_latency(now, took),
            _ => {}
        }
        self.record_attempt(attempt, took, Some(verdict));
        self.emit(
            now,
            &PolicyEvent::Ended {
                attempt,
                verdict,
                took,
            },
        );
        if let Some(change) = change {
            let server = attempt.server;
            self.emit(now, &PolicyEvent::Breaker { server, change });
        }
    }

    /// An attempt was cancelled, because a hedged one, or the one that it hedged, ended the call.
    #[cfg(feature = "async")]
    pub(crate) fn cancelled(&mut self, begun: ActiveAttempt<'p>, now: Instant) {
        let attempt = begun.attempt;
        // Its permits are dropped and not finished: it says nothing about the server.
        drop(begun);
        let took = now.since(attempt.began);
        self.active.note_latency(now, took);
        self.record_attempt(attempt, took, None);
        self.emit(now, &PolicyEvent::Cancelled { attempt, took });
    }

    /// The race of an attempt that begins now: with hedges to follow, or without.
    #[cfg(feature = "async")]
    pub(crate) fn race(&self, began: Instant) -> HedgeRace {
        let Some(limit) = self.active.options.hedge.map(|hedge| hedge.limit) else {
            return HedgeRace::unhedged();
        };
        let left = limit.saturating_sub(self.hedges);
        if left == 0 || !self.call.idempotency().may_overlap() {
            return HedgeRace::unhedged();
        }
        let delay = self.active.hedge_after(began);
        delay.map_or_else(HedgeRace::unhedged, |delay| {
            HedgeRace::new(began, delay, left, self.deadline.end())
        })
    }

    #[cfg(feature = "async")]
    pub(crate) fn hedge_won(&mut self, now: Instant) {
        self.emit(now, &PolicyEvent::HedgeWon);
    }

    /// Decides what follows the end of an attempt.
    pub(crate) fn decide(&mut self, attempt: &Attempt, verdict: Verdict, now: Instant) -> Decision {
        let ended = EndedAttempt {
            verdict,
            idempotency: self.call.idempotency(),
            replayable: true,
            server: attempt.server.unwrap_or(0),
        };
        let random = self.random.get_or_insert_with(|| self.shared.random());
        let decision = again(
            &self.active.options.rules(),
            ended,
            &mut self.ledger,
            &self.active.budget,
            self.deadline,
            now,
            random,
        );
        match decision {
            Decision::Retry { free, after } => {
                let event = PolicyEvent::Retry {
                    verdict,
                    after,
                    free,
                };
                self.emit(now, &event);
            }
            // No retry was wanted.
            Decision::Stop(StopReason::NotRetryable) => {}
            Decision::Stop(why) => self.emit(now, &PolicyEvent::Denied(why)),
        }
        decision
    }

    /// Whether the repair function may run again in this call; counts it.
    pub(crate) fn may_repair(&mut self) -> bool {
        let may = self.repairs < self.active.options.repairs;
        self.repairs += u32::from(may);
        may
    }

    pub(crate) fn repaired(&mut self, began: Instant, outcome: Option<Repaired>, now: Instant) {
        self.report_mut().repaired = Some(outcome.unwrap_or(Repaired::Failed));
        let took = now.since(began);
        self.emit(now, &PolicyEvent::Repair { outcome, took });
    }

    pub(crate) fn waited(&mut self, waited: Duration) {
        let report = self.report_mut();
        report.waited = report.waited.saturating_add(waited);
    }

    /// The end of the call.
    pub(crate) fn finish<T, E>(
        mut self,
        why: Stopped,
        result: Option<Result<T, E>>,
        now: Instant,
    ) -> Recovered<T, E> {
        let mut report = self.report.take().expect("taken here only");
        report.took = now.since(self.started);
        let event = PolicyEvent::Stopped {
            why,
            attempts: report.attempts,
            waited: report.waited,
        };
        self.emit(now, &event);
        Recovered {
            result,
            stopped: why,
            report,
        }
    }

    fn record_attempt(&mut self, attempt: Attempt, took: Duration, verdict: Option<Verdict>) {
        self.report_mut().note(AttemptSummary {
            number: attempt.number,
            hedge: attempt.hedge,
            server: attempt.server,
            began: attempt.began,
            took,
            verdict,
        });
    }

    pub(super) fn report_mut(&mut self) -> &mut CallReport {
        self.report.as_mut().expect("taken at the end only")
    }

    pub(super) fn emit(&self, now: Instant, event: &PolicyEvent) {
        self.shared.emit(&self.call, now, event);
    }
}

impl<C: Clock> Drop for Execution<'_, C> {
    fn drop(&mut self) {
        if self.report.is_some() {
            self.emit(self.shared.clock.now(), &PolicyEvent::Abandoned);
        }
    }
}
