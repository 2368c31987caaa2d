//! Whether a failed attempt is retried: the one place that decides it.
//!
//! Three questions, in this order. Is it a kind of failure that can go away? May the request be repeated: is there proof
//! that the application saw nothing, or is it idempotent, and is what was sent still available? What pays for the retry:
//! nothing if the application saw nothing (such a retry adds no load), else the limit, the deadline and the budget.
//!
//! It knows no protocol: [`http`](crate::retry::http) maps outcomes of HTTP to it for the proxy, a `Classify` maps anything
//! else.

use std::time::Duration;

use evenkeel_core::{Instant, Random};

use crate::{BackoffOptions, Budget, Deadline, Idempotency, RetryLedger, Verdict};

/// The limits of retries.
#[derive(Debug, Clone, Copy)]
pub struct RetryRules<'a> {
    /// Counted retries of one call, at most.
    pub limit: u32,
    /// Of these, how many may follow a timeout. An attempt that timed out may still be running, so each such retry can
    /// double the load of the server; and it has cost the caller a whole attempt's time.
    pub timeout_limit: u32,
    /// The delays before retries.
    pub backoff: &'a BackoffOptions,
    /// A server's pushback may lengthen the back-off's delay by up to this. Shorter values do not shorten the delay, longer
    /// ones are cut: one bad header must not stop a client for an hour.
    pub max_pushback: Duration,
}

impl<'a> RetryRules<'a> {
    /// The default of `max_pushback`: that of the AWS retry specification 2.1.
    pub const MAX_PUSHBACK: Duration = Duration::from_secs(5);

    /// With this limit and back-off, and no separate limit for timeouts.
    #[must_use]
    pub const fn of_backoff(limit: u32, backoff: &'a BackoffOptions) -> Self {
        Self {
            limit,
            timeout_limit: u32::MAX,
            backoff,
            max_pushback: Self::MAX_PUSHBACK,
        }
    }
}

/// The attempt that ended, as far as the decision needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedAttempt {
    /// Its verdict.
    pub verdict: Verdict,
    /// Whether the call may be made more than once.
    pub idempotency: Idempotency,
    /// Whether the call can be repeated from its beginning: what it sends is still available.
    pub replayable: bool,
    /// Its server, by any number that tells servers apart.
    pub server: u32,
}

/// Retry, or stop for a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Retry, on another server if there is one.
    Retry {
        /// Whether it costs nothing: neither the limit nor the budget.
        free: bool,
        /// How long to wait first.
        after: Duration,
    },
    /// No retry: the result of the last attempt is the result of the request.
    Stop(StopReason),
}

/// Why there is no retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// It succeeded, or failed in a way that is not retried.
    NotRetryable,
    /// The application may have seen the request, which must not be made twice.
    Method,
    /// The body is no longer available.
    Body,
    /// The limit on retries is reached.
    Limit,
    /// The limit on retries after timeouts is reached.
    TimeoutLimit,
    /// The budget is empty.
    Budget,
    /// The deadline leaves no time.
    Deadline,
}

impl StopReason {
    /// The label in metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotRetryable => "not-retryable",
            Self::Method => "method",
            Self::Body => "body",
            Self::Limit => "limit",
            Self::TimeoutLimit => "timeout-limit",
            Self::Budget => "budget",
            Self::Deadline => "deadline",
        }
    }
}

/// Decides about the attempt that just ended, and notes in `ledger` what a retry uses.
///
/// The token of the budget is taken here, before the back-off, and only if everything else allows the retry. A second free
/// failure on the same server is counted like any other.
#[must_use]
pub fn again(
    rules: &RetryRules<'_>,
    ended: EndedAttempt,
    ledger: &mut RetryLedger,
    budget: &Budget,
    deadline: Deadline,
    now: Instant,
    rng: &mut Random,
) -> Decision {
    let verdict = ended.verdict;
    if matches!(verdict, Verdict::Good | Verdict::Fatal) {
        return Decision::Stop(StopReason::NotRetryable);
    }
    if verdict != Verdict::Unsent && !ended.idempotency.may_repeat() {
        return Decision::Stop(StopReason::Method);
    }
    if !ended.replayable {
        return Decision::Stop(StopReason::Body);
    }
    let lost = verdict == Verdict::Lost;
    if lost && ledger.retried_a_death() {
        return Decision::Stop(StopReason::Limit);
    }
    if deadline.passed(now) {
        return Decision::Stop(StopReason::Deadline);
    }

    let may_be_free = lost || verdict == Verdict::Unsent;
    let decision = if may_be_free && ledger.has_free(ended.server) {
        ledger.note_free(ended.server);
        Decision::Retry {
            free: true,
            after: Duration::ZERO,
        }
    } else {
        pay(rules, verdict, ledger, budget, deadline, now, rng)
    };
    if lost && matches!(decision, Decision::Retry { .. }) {
        ledger.note_death();
    }
    decision
}

/// A counted retry: the limits first, then time for the delay, then the budget, so that no token is wasted.
fn pay(
    rules: &RetryRules<'_>,
    verdict: Verdict,
    ledger: &mut RetryLedger,
    budget: &Budget,
    deadline: Deadline,
    now: Instant,
    rng: &mut Random,
) -> Decision {
    if ledger.counted() >= rules.limit {
        return Decision::Stop(StopReason::Limit);
    }
    let timed_out = verdict == Verdict::Timeout;
    if timed_out && ledger.after_timeouts() >= rules.timeout_limit {
        return Decision::Stop(StopReason::TimeoutLimit);
    }
    let before = ledger.delay().unwrap_or(rules.backoff.base);
    let own = rules.backoff.delay_after(ledger.counted(), before, rng);
    let after = verdict.wait().map_or(own, |retry_after| {
        retry_after.clamp(own, own.saturating_add(rules.max_pushback))
    });
    if !deadline.leaves_room_for(now, after) {
        return Decision::Stop(StopReason::Deadline);
    }
    if !budget.try_spend(now) {
        return Decision::Stop(StopReason::Budget);
    }
    ledger.note_counted(own);
    if timed_out {
        ledger.note_timeout();
    }
    Decision::Retry { free: false, after }
}
