#![doc = include_str!("../README.md")]

pub mod policy;
pub mod deadline;
pub mod backoff;
pub mod budget;
pub mod ledger;
pub mod retry;
pub mod hedge;

// "Not now" and "not you": limits, rates, queues, shedding.
pub mod limit;
pub mod rate;
pub mod adaptive_rate;
pub mod codel;
pub mod queue;
pub mod shed;
pub mod throttle;
// End of limits.

// What the two sides tell each other, and what stands beside a retry.
pub mod propagate;
pub mod inject;
mod date;
pub mod pushback;
pub mod quota;
// End of pushback.

pub use backoff::Backoff;
pub use budget::Budget;
pub use deadline::Deadline;
pub use hedge::{HedgeAfter, HedgeDelay, HedgeOptions};
pub use ledger::RetryLedger;
pub use policy::{BackoffOptions, BudgetOptions, Jitter, RetryOn, RetryOptions, TimeoutOptions};
pub use retry::{AttemptFacts, Decision, StopReason, decide};

// Limits.
pub use adaptive_rate::{AdaptiveRate, AdaptiveRateOptions};
pub use codel::{Codel, CodelOptions, MinimumDelay};
pub use limit::{Adaptive, Finish, Limit, LimitOptions, LimitSnapshot, Permit};
pub use queue::{Queue, QueueOptions};
pub use rate::{KeyedRate, KeyedRateOptions, Rate, RateOptions};
pub use shed::{Class, ShedOptions};
pub use throttle::{Throttle, ThrottleOptions};
// End of limits.

// Pushback.
pub use backoff::{BackoffKind, DelayJitter, DelayOptions, Delays};
pub use inject::{Inject, InjectAbort, InjectCounts, InjectDelay, InjectOptions, Injected};
pub use propagate::{DeadlineFormat, WireTimeout, tighten};
pub use pushback::{Over, Pushback, PushbackOptions};
pub use quota::{
    Quota, QuotaOptions, QuotaSnapshot, QuotaTaken, RetryCause, RetryThrottle, RetryThrottleOptions,
};
// End of pushback.

// Their pages' examples are tests.
#[cfg(doctest)]
mod limit_pages {
    #[doc = include_str!("../../../docs/tolerate/limit.md")]
    mod limit {}
    #[doc = include_str!("../../../docs/tolerate/rate.md")]
    mod rate {}
    #[doc = include_str!("../../../docs/tolerate/queue.md")]
    mod queue {}
    #[doc = include_str!("../../../docs/tolerate/shed.md")]
    mod shed {}
    #[doc = include_str!("../../../docs/tolerate/throttle.md")]
    mod throttle {}
}

#[cfg(doctest)]
mod pushback_pages {
    #[doc = include_str!("../../../docs/tolerate/deadline.md")]
    mod deadline {}
    #[doc = include_str!("../../../docs/tolerate/inject.md")]
    mod inject {}
    #[doc = include_str!("../../../docs/tolerate/backoff.md")]
    mod backoff {}
    #[doc = include_str!("../../../docs/tolerate/budget.md")]
    mod budget {}
}
