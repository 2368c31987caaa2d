//! One call's way through a policy, step by step, without waiting for anything: the part that the async and the blocking face
//! share, and in which every decision is made. An attempt's way in is in `admit.rs`.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::{Instant, Random};

use super::attempt::Tried;
use super::guards::Held;
use super::policy::{Live, Shared};
use super::{Attempt, Event, Record, Recovered, Repaired, Report, Stopped};
#[cfg(feature = "async")]
use crate::Race;
use crate::clock::Clock;
use crate::retry::{Ended, again};
use crate::{Call, Deadline, Decision, RetryLedger, StopReason, Verdict};

/// An attempt under way. Dropped, it gives back its place and its passes.
#[must_use = "dropped at once it is no attempt"]
pub(crate) struct Begun<'p> {
    pub(crate) attempt: Attempt,
    pub(crate) held: Held<'p>,
    /// A fault on purpose that it has not met yet.
    pub(crate) hold: Option<Hold>,
}

/// A fault on purpose: nothing is done for an attempt until then, and nothing at all if it is aborted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hold {
    pub(crate) until: Instant,
    pub(crate) abort: bool,
}

impl Begun<'_> {
    /// Whether it is to be made at all, now or later.
    #[cfg(feature = "async")]
    pub(crate) fn is_real(&self) -> bool {
        !self.hold.is_some_and(|hold| hold.abort)
    }

    #[cfg(feature = "async")]
    pub(crate) fn meets_a_fault_at_once(&self) -> bool {
        self.hold
            .is_some_and(|hold| hold.until <= self.attempt.began)
    }
}

/// A call under way. Dropped before its end it counts as abandoned.
pub(crate) struct Course<'p, C: Clock> {
    pub(super) shared: &'p Shared<C>,
    pub(super) live: Arc<Live>,
    pub(super) call: Call,
    pub(super) deadline: Deadline,
    started: Instant,
    ledger: RetryLedger,
    pub(super) tried: Tried,
    #[cfg(feature = "async")]
    pub(super) hedges: u32,
    repairs: u32,
    pub(super) random: Option<Random>,
    report: Option<Report>,
}

impl<'p, C: Clock> Course<'p, C> {
    pub(crate) fn begin(shared: &'p Shared<C>, call: Call) -> Self {
        let now = shared.clock.now();
        let live = shared.live();
        Self {
            shared,
            deadline: live.options.deadline_from(now, call.deadline()),
            live,
            call,
            started: now,
            ledger: RetryLedger::new(),
            tried: Tried::default(),
            #[cfg(feature = "async")]
            hedges: 0,
            repairs: 0,
            random: None,
            report: Some(Report::new(call.name())),
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
    pub(crate) fn ended(&mut self, begun: Begun<'p>, verdict: Verdict, now: Instant) {
        let Begun { attempt, held, .. } = begun;
        let took = now.since(attempt.began);
        let change = held.finish(now, verdict, took);
        match verdict {
            Verdict::Good => {
                self.live.budget.earn();
                self.live.note_latency(now, took);
            }
            Verdict::Timeout => self.live.note_latency(now, took),
            _ => {}
        }
        self.log(attempt, took, Some(verdict));
        self.tell(
            now,
            &Event::Ended {
                attempt,
                verdict,
                took,
            },
        );
        if let Some(change) = change {
            let server = attempt.server;
            self.tell(now, &Event::Breaker { server, change });
        }
    }

    /// An attempt was cancelled, because another one beside it ended the call.
    #[cfg(feature = "async")]
    pub(crate) fn cancelled(&mut self, begun: Begun<'p>, now: Instant) {
        let attempt = begun.attempt;
        // Its place and its pass are given back without a word: it says nothing of the server.
        drop(begun);
        let took = now.since(attempt.began);
        self.live.note_latency(now, took);
        self.log(attempt, took, None);
        self.tell(now, &Event::Cancelled { attempt, took });
    }

    /// The race that an attempt which begins now is in: alone, or with others to follow.
    #[cfg(feature = "async")]
    pub(crate) fn race(&self, began: Instant) -> Race {
        let Some(limit) = self.live.options.hedge.map(|hedge| hedge.limit) else {
            return Race::alone();
        };
        let left = limit.saturating_sub(self.hedges);
        if left == 0 || !self.call.idempotency().may_overlap() {
            return Race::alone();
        }
        let delay = self.live.hedge_after(began);
        delay.map_or_else(Race::alone, |delay| {
            Race::new(began, delay, left, self.deadline.end())
        })
    }

    #[cfg(feature = "async")]
    pub(crate) fn hedge_won(&mut self, now: Instant) {
        self.tell(now, &Event::HedgeWon);
    }

    /// Decides what follows from an attempt that ended so.
    pub(crate) fn decide(&mut self, attempt: &Attempt, verdict: Verdict, now: Instant) -> Decision {
        let ended = Ended {
            verdict,
            idempotency: self.call.idempotency(),
            replayable: true,
            server: attempt.server.unwrap_or(0),
        };
        let random = self.random.get_or_insert_with(|| self.shared.random());
        let decision = again(
            &self.live.options.rules(),
            ended,
            &mut self.ledger,
            &self.live.budget,
            self.deadline,
            now,
            random,
        );
        match decision {
            Decision::Retry { free, after } => {
                let event = Event::Retry {
                    verdict,
                    after,
                    free,
                };
                self.tell(now, &event);
            }
            // Nobody wanted one.
            Decision::Stop(StopReason::NotRetryable) => {}
            Decision::Stop(why) => self.tell(now, &Event::Denied(why)),
        }
        decision
    }

    /// Whether the repair function may run again in this call; counts it.
    pub(crate) fn may_repair(&mut self) -> bool {
        let may = self.repairs < self.live.options.repairs;
        self.repairs += u32::from(may);
        may
    }

    pub(crate) fn repaired(&mut self, began: Instant, outcome: Option<Repaired>, now: Instant) {
        self.report_mut().repaired = Some(outcome.unwrap_or(Repaired::Failed));
        let took = now.since(began);
        self.tell(now, &Event::Repair { outcome, took });
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
        let event = Event::Stopped {
            why,
            attempts: report.attempts,
            waited: report.waited,
        };
        self.tell(now, &event);
        Recovered {
            result,
            stopped: why,
            report,
        }
    }

    fn log(&mut self, attempt: Attempt, took: Duration, verdict: Option<Verdict>) {
        self.report_mut().note(Record {
            number: attempt.number,
            hedge: attempt.hedge,
            server: attempt.server,
            began: attempt.began,
            took,
            verdict,
        });
    }

    pub(super) fn report_mut(&mut self) -> &mut Report {
        self.report.as_mut().expect("taken at the end only")
    }

    pub(super) fn tell(&self, now: Instant, event: &Event) {
        self.shared.tell(&self.call, now, event);
    }
}

impl<C: Clock> Drop for Course<'_, C> {
    fn drop(&mut self) {
        if self.report.is_some() {
            self.tell(self.shared.clock.now(), &Event::Abandoned);
        }
    }
}
