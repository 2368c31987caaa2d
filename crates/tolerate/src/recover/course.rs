//! One call's way through a policy, step by step, without waiting for anything: the part that the async and the blocking face
//! share, and in which every decision is made.
//!
//! Order, from the outside: deadline, picker, breaker, limit, attempt timeout. The picker stands before the breaker because a
//! breaker is per server; the limit stands behind both because a refused attempt may not take a place. A place is held for an
//! attempt and not for a call: waiting between attempts loads nobody.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::{Instant, Random};

use super::attempt::Tried;
use super::hooks::Pass;
use super::policy::{Live, Shared};
use super::{Attempt, Event, Pick, Record, Recovered, Repaired, Report, Stopped};
#[cfg(feature = "async")]
use crate::Race;
use crate::clock::Clock;
use crate::retry::{Ended, again};
use crate::{Call, Deadline, Decision, Finish, Limit, Permit, RetryLedger, StopReason, Verdict};

/// An attempt under way. Dropped, it gives back its place and its pass.
#[must_use = "dropped at once it is no attempt"]
pub(crate) struct Begun<'p> {
    pub(crate) attempt: Attempt,
    permit: Option<Permit<Arc<Limit>>>,
    pass: Pass<'p>,
}

/// A call under way. Dropped before its end it counts as abandoned.
pub(crate) struct Course<'p, C: Clock> {
    shared: &'p Shared<C>,
    live: Arc<Live>,
    call: Call,
    deadline: Deadline,
    started: Instant,
    ledger: RetryLedger,
    tried: Tried,
    #[cfg(feature = "async")]
    hedges: u32,
    repairs: u32,
    random: Option<Random>,
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

    /// Begins an attempt.
    pub(crate) fn start(
        &mut self,
        pick: &mut impl Pick,
        hedge: bool,
        now: Instant,
    ) -> Result<Begun<'p>, Stopped> {
        if self.deadline.passed(now) {
            return Err(Stopped::Deadline);
        }
        let server = Self::pick(&self.tried, pick, hedge, now)?;
        let shared = self.shared;
        let pass =
            Pass::get(shared.gate.as_deref(), server, now).map_err(|_until| Stopped::Open)?;
        let permit = match &self.live.limit {
            None => None,
            Some(limit) => Some(self.place(limit, now).ok_or(Stopped::Shed)?),
        };
        let avoid = self.tried;
        if let Some(server) = server {
            self.tried.add(server);
        }
        let timeout = self.live.options.attempt_timeout;
        let attempts = &mut self.report_mut().attempts;
        *attempts = attempts.saturating_add(1);
        let attempt = Attempt {
            number: *attempts,
            hedge,
            began: now,
            ends: timeout.map_or(self.deadline.end(), |it| self.deadline.attempt_end(now, it)),
            deadline: self.deadline,
            server,
            avoid,
        };
        self.tell(now, &Event::Began(attempt));
        Ok(Begun {
            attempt,
            permit,
            pass,
        })
    }

    /// A hedge goes to a server that is not in use already; a retry takes one again if there is no other.
    fn pick<P: Pick>(
        tried: &Tried,
        pick: &mut P,
        hedge: bool,
        now: Instant,
    ) -> Result<Option<u32>, Stopped> {
        if !P::KNOWS {
            return Ok(None);
        }
        let server = pick.pick(tried.as_slice(), now).ok_or(Stopped::NoServer)?;
        if hedge && tried.as_slice().contains(&server) {
            return Err(Stopped::NoServer);
        }
        Ok(Some(server))
    }

    fn place(&self, limit: &Arc<Limit>, now: Instant) -> Option<Permit<Arc<Limit>>> {
        match self.call.importance() {
            None => limit.try_acquire_owned(now),
            Some(class) => limit.try_acquire_owned_as(&self.live.options.shares, class, now),
        }
    }

    /// An attempt has ended.
    pub(crate) fn ended(&mut self, begun: Begun<'p>, verdict: Verdict, now: Instant) {
        let Begun {
            attempt,
            permit,
            pass,
        } = begun;
        let took = now.since(attempt.began);
        if let Some(permit) = permit {
            permit.finish(now, teaches(verdict));
        }
        pass.finish(now, verdict, took);
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

    /// Begins the attempt beside another one that is due now. Paid by the same budget as retries; the token is taken last, so
    /// that a hedge which cannot be made costs none.
    #[cfg(feature = "async")]
    pub(crate) fn start_hedge(&mut self, pick: &mut impl Pick, now: Instant) -> Option<Begun<'p>> {
        let budget = Arc::clone(&self.live.budget);
        let begun = if budget.balance(now) < 1.0 {
            Err(Stopped::Budget)
        } else {
            self.start(pick, true, now)
        };
        match begun {
            Ok(begun) if budget.try_spend(now) => {
                self.hedges += 1;
                Some(begun)
            }
            Ok(begun) => {
                self.cancelled(begun, now);
                self.tell(now, &Event::HedgeDenied(Stopped::Budget));
                None
            }
            Err(why) => {
                self.tell(now, &Event::HedgeDenied(why));
                None
            }
        }
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

    fn report_mut(&mut self) -> &mut Report {
        self.report.as_mut().expect("taken at the end only")
    }

    fn tell(&self, now: Instant, event: &Event) {
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

/// What the end of an attempt teaches an adaptive limit. An error that came quickly says nothing of how busy the server is.
const fn teaches(verdict: Verdict) -> Finish {
    match verdict {
        Verdict::Good => Finish::Good,
        Verdict::Throttled { .. } | Verdict::Timeout => Finish::Dropped,
        Verdict::Transient { .. } | Verdict::Fatal | Verdict::Unsent | Verdict::Lost => {
            Finish::Ignored
        }
    }
}
