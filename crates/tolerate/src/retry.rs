//! Whether an attempt that ended badly is tried again: the one place that decides it.
//!
//! Three questions, in this order. Is it of a kind that the user wants retried? May it be repeated: is there proof that
//! the application saw nothing, or does the method allow a second time, and is the body still at hand? Who pays: nobody if
//! the application saw nothing (a retry that adds no load to anyone is free), else the limit, the deadline and the budget.

use std::time::Duration;

use evenkeel_core::{Instant, Outcome, Random};

use crate::{Backoff, Budget, Deadline, RetryLedger, RetryOn, RetryOptions};

/// What is to be known of the attempt that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptFacts {
    /// How it ended.
    pub outcome: Outcome,
    /// Whether the request's method is listed in [`RetryOptions::methods`].
    pub method_may_repeat: bool,
    /// Whether the request can be sent again from its first byte: no body, or all of it that was read is kept.
    pub body_replayable: bool,
    /// The server it was on, by its place in the service.
    pub server: u32,
}

/// Retry, or stop and say why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Try again, on another server if there is one.
    Retry {
        /// Whether it cost nothing: neither the limit nor the budget.
        free: bool,
        /// How long to wait first.
        after: Duration,
    },
    /// What there is now is the answer.
    Stop(StopReason),
}

/// Why there is no retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// It is no failure, or of no kind that is to be retried.
    NotRetryable,
    /// The application may have seen the request, and its method is not listed.
    Method,
    /// The body is not at hand any more.
    Body,
    /// The limit on retries is reached.
    Limit,
    /// The budget is empty.
    Budget,
    /// The deadline leaves no room.
    Deadline,
}

impl StopReason {
    /// The word for it in metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotRetryable => "not-retryable",
            Self::Method => "method",
            Self::Body => "body",
            Self::Limit => "limit",
            Self::Budget => "budget",
            Self::Deadline => "deadline",
        }
    }
}

/// How an outcome is retried, if its kind is wanted at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The application saw nothing: any method, free.
    Unsent,
    /// The connection died after something was written, perhaps with the server: listed methods, free, once.
    Death,
    /// The application may have worked on it: listed methods, counted.
    Seen,
}

/// Decides about the attempt that just ended, and notes in `ledger` what the retry used.
///
/// A token of the budget is taken here, before the back-off, and only if everything else allows the retry. A second free
/// failure on the same server is not free any more; it is counted like a status.
#[must_use]
pub fn decide(
    options: &RetryOptions,
    attempt: &AttemptFacts,
    ledger: &mut RetryLedger,
    budget: &Budget,
    deadline: Deadline,
    now: Instant,
    rng: &mut Random,
) -> Decision {
    let Some(kind) = wanted(&options.on, attempt.outcome) else {
        return Decision::Stop(StopReason::NotRetryable);
    };
    if kind != Kind::Unsent && !attempt.method_may_repeat {
        return Decision::Stop(StopReason::Method);
    }
    if !attempt.body_replayable {
        return Decision::Stop(StopReason::Body);
    }
    if kind == Kind::Death && ledger.retried_a_death() {
        return Decision::Stop(StopReason::Limit);
    }
    if deadline.passed(now) {
        return Decision::Stop(StopReason::Deadline);
    }

    let decision = if kind != Kind::Seen && ledger.has_free(attempt.server) {
        ledger.note_free(attempt.server);
        Decision::Retry {
            free: true,
            after: Duration::ZERO,
        }
    } else {
        pay(options, ledger, budget, deadline, now, rng)
    };
    if kind == Kind::Death && matches!(decision, Decision::Retry { .. }) {
        ledger.note_death();
    }
    decision
}

/// A retry that counts: limit, then room for the delay, then the budget, so that no token is taken in vain.
fn pay(
    options: &RetryOptions,
    ledger: &mut RetryLedger,
    budget: &Budget,
    deadline: Deadline,
    now: Instant,
    rng: &mut Random,
) -> Decision {
    if ledger.counted() >= options.limit {
        return Decision::Stop(StopReason::Limit);
    }
    let after = Backoff::delay(&options.backoff, ledger.counted(), rng);
    if !deadline.leaves_room_for(now, after) {
        return Decision::Stop(StopReason::Deadline);
    }
    if !budget.try_spend(now) {
        return Decision::Stop(StopReason::Budget);
    }
    ledger.note_counted();
    Decision::Retry { free: false, after }
}

/// The kind of an outcome, or nothing if the user does not want it retried.
fn wanted(on: &RetryOn, outcome: Outcome) -> Option<Kind> {
    let (wanted, kind) = match outcome {
        Outcome::ConnectRefused | Outcome::ConnectTimeout | Outcome::Unreachable => {
            (on.connect, Kind::Unsent)
        }
        Outcome::Stale | Outcome::Reset { sent: false } => (on.reset, Kind::Unsent),
        Outcome::Reset { sent: true } => (on.reset, Kind::Death),
        Outcome::AttemptTimeout => (on.timeout, Kind::Seen),
        Outcome::Answered(status) => (status >= 400 && on.statuses.contains(&status), Kind::Seen),
        // What evenkeel would answer for it is 502, so it is retried like one.
        Outcome::BadResponse => (on.statuses.contains(&502), Kind::Seen),
        // One that is asked about was held back, so nobody has seen a part of it.
        Outcome::Truncated => (on.reset, Kind::Death),
        // Nobody waits for it.
        Outcome::Cancelled => return None,
    };
    wanted.then_some(kind)
}
