//! The attempts of one request: which servers were tried, how each ended, and what that means for the next one.
//!
//! A response is passed on only when `After::Accept` says so: until then nothing has reached the client, and every attempt can be
//! taken back.

use std::time::Duration;

use evenkeel_balance::{NoPick, Pick, Picker, Pool};
use evenkeel_core::{Instant, Outcome, Random};
use evenkeel_tolerate::{
    AttemptFacts, Budget, Deadline, Decision, RetryLedger, RetryOptions, StopReason,
    TimeoutOptions, decide, may_rescue,
};

use crate::Cause;
use crate::hold::Past;

/// Attempts that are remembered one by one; more are counted only.
pub const REMEMBERED: usize = 8;

/// What the service's configuration and state say about attempts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    /// When an attempt is tried again.
    pub retry: &'a RetryOptions,
    /// What pays for retries; shared by all requests of the service.
    pub budget: &'a Budget,
}

/// One attempt, as it is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptRecord {
    /// The server, by its place in the service's list.
    pub server: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// From its start to its end.
    pub took: Duration,
    /// Why there was none after it; `None` if there was.
    pub stopped: Option<StopReason>,
}

/// What to do after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// Pass the answer on.
    Accept,
    /// Make another attempt, not before this moment.
    Again {
        /// Not before.
        at: Instant,
    },
    /// Tell the client why there is no answer.
    Refuse(Cause),
    /// No server could be reached.
    GiveUp,
}

/// One request's attempts.
#[derive(Debug, Clone)]
pub struct Attempts {
    deadline: Deadline,
    /// When the client gives up, if it has said so.
    told_end: Instant,
    ledger: RetryLedger,
    first: Option<AttemptRecord>,
    /// Those after the first one, up to [`REMEMBERED`] on the whole: most requests need none.
    others: Vec<AttemptRecord>,
    tried: [u32; REMEMBERED],
    attempts: u32,
    hedges: u32,
    past: Past,
    denied: Option<StopReason>,
}

impl Attempts {
    /// A request that came at `now`.
    pub(super) fn begin(now: Instant, timeout: &TimeoutOptions) -> Self {
        Self {
            deadline: Deadline::new(now, timeout.total),
            told_end: Instant::NEVER,
            ledger: RetryLedger::new(),
            first: None,
            others: Vec::new(),
            tried: [0; REMEMBERED],
            attempts: 0,
            hedges: 0,
            past: Past::NOTHING,
            denied: None,
        }
    }

    /// The server for the next attempt: never one that was tried, unless there is no other. `key` is what the request is
    /// hashed on, if the service's policy hashes.
    ///
    /// # Errors
    /// The cause to tell the client when no server may take it; [`Cause::QueueFull`] when all have as many requests as they
    /// may, for which one may wait.
    pub(super) fn next_server(
        &mut self,
        picker: &mut Picker,
        pool: &Pool,
        now: Instant,
        key: Option<u64>,
    ) -> Result<Pick, Cause> {
        picker
            .pick_for(pool, now, self.tried(), key)
            .map_err(|why| match why {
                NoPick::Full => Cause::QueueFull,
                NoPick::NoServer => self.last_cause().unwrap_or(Cause::NoServer),
            })
    }

    /// The server for an attempt beside others that are under way on `busy`: none of those, and none that was tried. Nothing if
    /// there is no other, or if all others are full.
    pub(super) fn other_server(
        &mut self,
        picker: &mut Picker,
        pool: &Pool,
        now: Instant,
        key: Option<u64>,
        busy: &[u32],
    ) -> Option<Pick> {
        let mut avoid = [0; 2 * REMEMBERED];
        let all = self.tried().iter().chain(busy);
        let len = avoid
            .iter_mut()
            .zip(all)
            .map(|(slot, &server)| *slot = server)
            .count();
        let avoid = &avoid[..len];
        let pick = picker.pick_for(pool, now, avoid, key).ok()?;
        (!avoid.contains(&pick.index)).then_some(pick)
    }

    /// Whether a retry could go to a server that has not been tried, after an attempt on `server`.
    pub(super) fn has_other(&self, pool: &Pool, now: Instant, server: u32) -> bool {
        let mut but = [server; REMEMBERED + 1];
        let tried = self.tried();
        but[..tried.len()].copy_from_slice(tried);
        pool.has_other(now, &but)
    }

    /// The end of the time for the whole request.
    #[must_use]
    pub const fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// The client took this long to send its body: time that does not count against `timeout.total`.
    pub(super) fn forgive(&mut self, waited: Duration) {
        let later = Deadline::new(self.deadline.end(), waited);
        self.deadline = Deadline::new(later.end().min(self.told_end), Duration::ZERO);
    }

    /// The client has said at `now` that it waits for so long: that can end the request earlier, not later.
    pub(super) fn shorten(&mut self, left: Duration, now: Instant) {
        self.told_end = self.told_end.min(now + left);
        self.deadline = self.deadline.shortened_to(Some(left), now);
    }

    /// When the client gives up, if it has said so; else never.
    #[must_use]
    pub const fn told_end(&self) -> Instant {
        self.told_end
    }

    /// Whether the attempt that waits on a server which was just taken out as dead or hung is to be given up with
    /// [`Outcome::Rescued`]: if the request may be repeated, has not been rescued before, and another server is in service that
    /// it has not tried. Otherwise it waits on: the server may still answer.
    pub(super) fn may_rescue(&self, attempt: &AttemptFacts, pool: &Pool, now: Instant) -> bool {
        may_rescue(attempt, &self.ledger, self.deadline, now)
            && self.has_other(pool, now, attempt.server)
    }

    /// An attempt has ended: what now?
    pub(super) fn ended(
        &mut self,
        facts: &AttemptFacts,
        took: Duration,
        rules: Rules<'_>,
        now: Instant,
        random: &mut Random,
    ) -> After {
        let mut record = AttemptRecord {
            server: facts.server,
            outcome: facts.outcome,
            took,
            stopped: None,
        };
        let decision = if matches!(facts.outcome, Outcome::Answered(status) if status < 400) {
            None
        } else {
            Some(decide(
                rules.retry,
                facts,
                &mut self.ledger,
                rules.budget,
                self.deadline,
                now,
                random,
            ))
        };
        let after = match decision {
            None => After::Accept,
            Some(Decision::Retry { after, .. }) => After::Again { at: now + after },
            Some(Decision::Stop(reason)) => {
                record.stopped = Some(reason);
                // What the end of the request's time has cut off is not repeated, whatever else speaks against it.
                let ran_out = facts.outcome == Outcome::Cancelled && self.deadline.passed(now);
                if ran_out {
                    record.stopped = Some(StopReason::Deadline);
                    self.denied = record.stopped;
                    After::Refuse(Cause::TotalTimeout)
                } else {
                    self.denied = Some(reason);
                    give_back(facts.outcome, reason)
                }
            }
        };
        self.remember(record);
        after
    }

    /// An attempt has ended whose end decides nothing, since there was another one beside it.
    pub(super) fn beside(&mut self, server: u32, outcome: Outcome, took: Duration) {
        self.hedges = self.hedges.saturating_add(1);
        self.remember(AttemptRecord {
            server,
            outcome,
            took,
            stopped: None,
        });
    }

    /// An attempt has ended with its request, by the client's doing: there is nothing to be decided.
    pub(super) fn over(&mut self, server: u32, outcome: Outcome, took: Duration) {
        self.remember(AttemptRecord {
            server,
            outcome,
            took,
            stopped: None,
        });
    }

    /// The answer of the last attempt has broken off after its head was passed on.
    pub(super) fn broke_off(&mut self, outcome: Outcome) {
        let record = match self.attempts {
            1 => self.first.as_mut(),
            attempts => (attempts as usize)
                .checked_sub(2)
                .and_then(|place| self.others.get_mut(place)),
        };
        if let Some(record) = record {
            record.outcome = outcome;
        }
    }

    /// Of the attempts so far, those that were made beside others.
    #[must_use]
    pub const fn hedges(&self) -> u32 {
        self.hedges
    }

    /// Attempts made so far.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// What the attempts so far came to.
    pub(super) fn past(&self) -> Past {
        let found_dead = |record: &AttemptRecord| {
            record.outcome == Outcome::ConnectRefused && !self.was_seen_by(record.server)
        };
        Past {
            found_dead: self.records().any(found_dead),
            ..self.past
        }
    }

    /// Whether a server may have seen something of the request, as far as attempts are remembered.
    pub(super) fn was_seen_by(&self, server: u32) -> bool {
        self.records()
            .any(|record| record.server == server && !record.outcome.is_unsent())
    }

    /// The first attempts, in order, at most [`REMEMBERED`].
    pub fn records(&self) -> impl Iterator<Item = &AttemptRecord> {
        self.first.iter().chain(&self.others)
    }

    /// Why there was no further attempt, if one was wanted.
    #[must_use]
    pub const fn denied(&self) -> Option<StopReason> {
        self.denied
    }

    fn tried(&self) -> &[u32] {
        &self.tried[..(self.attempts as usize).min(REMEMBERED)]
    }

    fn remember(&mut self, record: AttemptRecord) {
        let place = self.attempts as usize % REMEMBERED;
        self.tried[place] = record.server;
        if self.first.is_none() {
            self.first = Some(record);
        } else if self.others.len() < REMEMBERED - 1 {
            self.others.push(record);
        }
        self.attempts = self.attempts.saturating_add(1);
        self.past.add(record.outcome);
    }

    fn last_cause(&self) -> Option<Cause> {
        let last = self.records().last()?;
        Cause::of_outcome(last.outcome)
    }
}

/// What the client gets when there is no further attempt.
const fn give_back(outcome: Outcome, reason: StopReason) -> After {
    if let Outcome::Answered(_) = outcome {
        return After::Accept;
    }
    match (Cause::of_outcome(outcome), reason) {
        (None, _) => After::GiveUp,
        (Some(Cause::AttemptTimeout), StopReason::Deadline) => After::Refuse(Cause::TotalTimeout),
        (Some(cause), _) => After::Refuse(cause),
    }
}
