//! What the general rules of [`retry`](mod@crate::retry) mean for an HTTP request: an outcome and what the user wants retried
//! become a verdict, the method's right to be sent twice becomes an idempotency.
//!
//! Apart from the rules, so that they know no protocol and are the same for a proxy and for any other program.

use std::time::Duration;

use evenkeel_core::{Instant, Outcome, Random};

use crate::retry::{EndedAttempt, RetryRules, again};
use crate::{Budget, Deadline, Decision, Idempotency, RetryLedger, RetryOn, RetryOptions, Verdict};

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
    /// How long that server asks to wait, if nobody else could be asked: a wish of one server says nothing of the others.
    pub retry_after: Option<Duration>,
}

/// Decides about the attempt that just ended, and notes in `ledger` what the retry used: [`again`] with HTTP's meaning of an
/// outcome.
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
    let rules = RetryRules {
        timeout_limit: options.timeout_limit,
        ..RetryRules::of_backoff(options.limit, &options.backoff)
    };
    let ended = EndedAttempt {
        verdict: meaning(&options.on, attempt.outcome, attempt.retry_after),
        idempotency: if attempt.method_may_repeat {
            Idempotency::Idempotent
        } else {
            Idempotency::Once
        },
        replayable: attempt.body_replayable,
        server: attempt.server,
    };
    again(&rules, ended, ledger, budget, deadline, now, rng)
}

/// Whether an attempt that waits on a server which was taken out as dead or hung may be given up and made elsewhere: if it may
/// be repeated, and if [`decide`] is sure to make the retry free. So it is done at most once per request, and not after a
/// retry because of a server's death: the request may be the one that kills.
///
/// It costs no budget: the server that was taken out does nothing for the request any more, so that a rescue adds no load
/// over what the request would have cost anyway.
#[must_use]
pub fn may_rescue(
    attempt: &AttemptFacts,
    ledger: &RetryLedger,
    deadline: Deadline,
    now: Instant,
) -> bool {
    attempt.method_may_repeat
        && attempt.body_replayable
        && !ledger.retried_a_death()
        && ledger.has_free(attempt.server)
        && !deadline.passed(now)
}

/// What an outcome means if its kind is wanted; what is not wanted is final.
fn meaning(on: &RetryOn, outcome: Outcome, wait: Option<Duration>) -> Verdict {
    let (wanted, verdict) = match outcome {
        Outcome::ConnectRefused | Outcome::ConnectTimeout | Outcome::Unreachable => {
            (on.connect, Verdict::Unsent)
        }
        Outcome::Stale | Outcome::Reset { sent: false } => (on.reset, Verdict::Unsent),
        Outcome::Reset { sent: true } => (on.reset, Verdict::Lost),
        Outcome::AttemptTimeout => (on.timeout, Verdict::Timeout),
        Outcome::Answered(status) => (
            status >= 400 && on.statuses.contains(&status),
            Verdict::Transient { wait },
        ),
        // What evenkeel would answer for it is 502, so it is retried like one.
        Outcome::BadResponse => (on.statuses.contains(&502), Verdict::TRANSIENT),
        // One that is asked about was held back, so nobody has seen a part of it.
        Outcome::Truncated => (on.reset, Verdict::Lost),
        // As good as lost, and not by a kind of failure that one could be against: see `may_rescue`.
        Outcome::Rescued => (true, Verdict::Lost),
        // Nobody waits for it, or a part of it has been seen.
        Outcome::Cancelled | Outcome::IdleTimeout => (false, Verdict::Fatal),
        // Another server would need the same descriptor, port or memory.
        Outcome::LocalError => (false, Verdict::Fatal),
    };
    if wanted { verdict } else { Verdict::Fatal }
}
