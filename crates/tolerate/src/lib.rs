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

// "Not there": breakers, pauses that servers ask for, quotas, faults on purpose, answers that were kept.
pub mod breaker;
pub mod pushback;
pub mod quota;
pub mod propagate;
pub mod inject;
pub mod stale;
// End of breakers.

pub use backoff::{Backoff, Capped, Growth, Spread, Wait, WaitOptions};
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

// Breakers.
pub use breaker::{Breaker, BreakerOptions, BreakerSnapshot, Pass};
pub use inject::{Inject, InjectOptions};
pub use propagate::Propagated;
pub use pushback::{Pushback, PushbackOptions};
pub use quota::{Quota, QuotaOptions, Throttling, ThrottlingOptions};
pub use stale::{Lookup, StaleOptions, Store};
// End of breakers.

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
mod breaker_pages {
    #[doc = include_str!("../../../docs/tolerate/breaker.md")]
    mod breaker {}
    #[doc = include_str!("../../../docs/tolerate/backoff.md")]
    mod backoff {}
    #[doc = include_str!("../../../docs/tolerate/budget.md")]
    mod budget {}
    #[doc = include_str!("../../../docs/tolerate/deadline.md")]
    mod deadline {}
    #[doc = include_str!("../../../docs/tolerate/inject.md")]
    mod inject {}
    #[doc = include_str!("../../../docs/tolerate/stale.md")]
    mod stale {}
}
