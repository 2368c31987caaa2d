//! What must hold of retries: each is of a kind that the policies want, within their limits, and the budget of the service pays for it.

use evenkeel_core::Outcome;
use evenkeel_request::exchange::{Count, FallbackResult, HedgeResult};
use evenkeel_tolerate::RetryOptions;

use super::{RequestBooks, ServiceBooks, Stepped};

/// Free retries of one request on one service, at most.
pub(super) const MOST_FREE: usize = 8;

impl RequestBooks {
    pub(super) fn enter_counts(
        &mut self,
        stepped: &Stepped<'_, '_>,
        services: &mut [ServiceBooks],
    ) {
        for (service, count) in &stepped.calls.counts {
            match *count {
                Count::Retry(outcome, wait) => {
                    assert_eq!(*service, self.visit.service);
                    self.enter_retry(outcome, stepped, services);
                    self.is_backing_off = !wait.is_zero();
                }
                Count::Hedge(HedgeResult::Won | HedgeResult::Lost | HedgeResult::Failed) => {
                    let mut attempts = self.attempts.iter();
                    assert!(attempts.any(|one| one.is_hedge), "there was no hedge");
                }
                Count::Fallback(FallbackResult::Service) => {
                    assert_eq!(stepped.calls.left, Some(*service));
                }
                Count::Hedge(_) | Count::Fallback(_) | Count::Deadline(_) => {}
            }
        }
    }

    /// A retry was granted after an attempt that ended so. Whether it was paid for is not said; where it cannot have been free it was.
    fn enter_retry(
        &mut self,
        outcome: Outcome,
        stepped: &Stepped<'_, '_>,
        services: &mut [ServiceBooks],
    ) {
        let ended = stepped.calls.ended.last().expect("an attempt has ended");
        assert_eq!(ended.outcome, outcome, "a retry of something else");
        let server = ended.server.index;
        let visit = &mut self.visit;
        visit.retries += 1;
        visit.after_timeouts += u32::from(outcome == Outcome::AttemptTimeout);
        let may_be_free = !matches!(
            outcome,
            Outcome::Answered(_) | Outcome::AttemptTimeout | Outcome::BadResponse
        );
        let free_on = &mut visit.free_on;
        if may_be_free && free_on.len() < MOST_FREE && !free_on.contains(&server) {
            free_on.push(server);
        } else {
            visit.paid_retries += 1;
            services[visit.service.0 as usize].pays_retry(stepped.now);
        }
        // By now its policies may be those of another service.
        if stepped.calls.left.is_none() {
            let retry = &stepped.exchange.policies().retry;
            assert!(is_wanted(retry, outcome), "no retry of {outcome:?}");
            assert!(visit.paid_retries <= retry.limit, "too many retries");
            assert!(visit.after_timeouts <= retry.timeout_limit);
        }
    }
}

/// Whether an attempt that ended so is to be tried again by these policies.
fn is_wanted(retry: &RetryOptions, outcome: Outcome) -> bool {
    let on = &retry.on;
    match outcome {
        Outcome::ConnectRefused | Outcome::ConnectTimeout | Outcome::Unreachable => on.connect,
        Outcome::Stale | Outcome::Reset { .. } | Outcome::Truncated => on.reset,
        Outcome::AttemptTimeout => on.timeout,
        Outcome::Answered(status) => on.statuses.contains(&status),
        Outcome::BadResponse => on.statuses.contains(&502),
        Outcome::Rescued | Outcome::StreamRefused => true,
        Outcome::Cancelled | Outcome::Superseded | Outcome::IdleTimeout | Outcome::LocalError => {
            false
        }
    }
}
