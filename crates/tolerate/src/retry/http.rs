//! The retry decision for HTTP requests: an outcome becomes a verdict, by what the user wants retried; the method an
//! idempotency.
//!
//! Separate from the decision itself, which knows no protocol and is the same for any program.

use std::time::Duration;

use evenkeel_core::{Instant, Outcome, Random};

use crate::retry::{EndedAttempt, RetryRules, again};
use crate::{Budget, Deadline, Decision, Idempotency, RetryLedger, RetryOn, RetryOptions, Verdict};

/// The attempt that ended, as far as the decision needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptFacts {
    /// Its outcome.
    pub outcome: Outcome,
    /// Whether the request's method is listed in [`RetryOptions::methods`].
    pub method_may_repeat: bool,
    /// Whether the request can be sent again from its first byte: it has no body, or all of the body that was read is
    /// buffered.
    pub body_replayable: bool,
    /// Its server, by its index in the service.
    pub server: u32,
    /// How long that server asks to wait (`Retry-After`), if no other server could be asked: it says nothing about the
    /// others.
    pub retry_after: Option<Duration>,
}

/// Decides about the attempt that just ended, and notes in `ledger` what a retry uses: [`again`] for HTTP.
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

/// Whether an attempt that waits on a server which was taken out as dead or hung may be abandoned and made elsewhere: the
/// request may be repeated, and [`decide`] is sure to make the retry free. So there is at most one rescue per request, and
/// none after a retry because of a crash: the request may be the one that crashes servers.
///
/// It costs no budget: the server that was taken out does nothing for the request any more, so that a rescue adds no load.
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

/// The verdict on an outcome whose kind is retried; all other kinds are fatal.
fn meaning(on: &RetryOn, outcome: Outcome, wait: Option<Duration>) -> Verdict {
    let (wanted, verdict) = match outcome {
        Outcome::ConnectRefused | Outcome::ConnectTimeout | Outcome::Unreachable => {
            (on.connect, Verdict::Unsent)
        }
        Outcome::Stale | Outcome::Reset { sent: false } => (on.reset, Verdict::Unsent),
        Outcome::Reset { sent: true } => (on.reset, Verdict::Lost),
        // The server itself says that the application saw nothing of it: there is nothing that one could be against.
        Outcome::StreamRefused => (true, Verdict::Unsent),
        Outcome::AttemptTimeout => (on.timeout, Verdict::Timeout),
        Outcome::Answered(status) => (
            status >= 400 && on.statuses.contains(&status),
            Verdict::Transient { wait },
        ),
        // Clients would get 502 for it, so it is retried like 502.
        Outcome::BadResponse => (on.statuses.contains(&502), Verdict::TRANSIENT),
        // The response was held back, so the client has seen nothing of it.
        Outcome::Truncated => (on.reset, Verdict::Lost),
        // Retried whatever kinds are: see `may_rescue`.
        Outcome::Rescued => (true, Verdict::Lost),
        // No client waits for it any more, or the client has seen a part of an answer.
        Outcome::Cancelled | Outcome::Superseded | Outcome::IdleTimeout => (false, Verdict::Fatal),
        // Another server would need the same descriptor, port or memory.
        Outcome::LocalError => (false, Verdict::Fatal),
    };
    if wanted { verdict } else { Verdict::Fatal }
}

#[cfg(test)]
mod tests {
    use evenkeel_core::blame::{AttemptPhase, EndContext, EndEvent, Peer, Sent, TimeLimit, judge};

    use super::*;

    fn events() -> Vec<EndEvent> {
        let mut events = vec![
            EndEvent::Refused,
            EndEvent::StreamRefused,
            EndEvent::Unreachable,
            EndEvent::Exhausted,
            EndEvent::Late(TimeLimit::Attempt),
            EndEvent::Late(TimeLimit::Total),
        ];
        for peer in [Peer::Client, Peer::Server] {
            events.extend([
                EndEvent::Closed(peer),
                EndEvent::Malformed(peer),
                EndEvent::Late(TimeLimit::Idle(peer)),
            ]);
        }
        events
    }

    /// What the table of blame says may be repeated is what is repeated, where all kinds of failures are to be: neither of both
    /// may know better.
    #[test]
    fn what_may_be_repeated_by_the_table_of_blame_is_repeated_and_nothing_else() {
        let all = RetryOn {
            connect: true,
            reset: true,
            timeout: true,
            statuses: (400..=599).collect(),
        };
        // Once a response is being passed on, nobody asks any more.
        for phase in [
            AttemptPhase::Connecting,
            AttemptPhase::AwaitingHead,
            AttemptPhase::Holding,
        ] {
            for sent in [Sent::Nothing, Sent::Part, Sent::Whole] {
                for (event, reused) in events()
                    .into_iter()
                    .flat_map(|it| [(it, false), (it, true)])
                {
                    let facts = EndContext {
                        phase,
                        sent,
                        reused,
                        clean: false,
                    };
                    let judged = judge(event, facts);
                    let repeats = meaning(&all, judged.outcome, None) != Verdict::Fatal;
                    assert_eq!(repeats, judged.may_repeat, "{event:?} {facts:?}");
                }
            }
        }
    }
}
