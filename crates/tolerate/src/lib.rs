#![doc = include_str!("../README.md")]

// Mechanisms: plain state machines, each below those that use it.
mod serde_duration;
pub mod deadline;
pub mod shed;
pub mod retry;
pub mod hedge;
pub mod breaker;
pub mod limit;
pub mod rate;
pub mod queue;
pub mod inject;
pub mod stale;
// End of the mechanisms.

// The policy engine: the mechanisms around a call.
#[cfg(feature = "policy")]
pub mod clock;
#[cfg(feature = "policy")]
pub mod policy;
#[cfg(feature = "tower")]
pub mod tower;
// End of the policy engine.

pub use breaker::{
    Breaker, BreakerOpen, BreakerOptions, BreakerPermit, BreakerSnapshot, BreakerState,
};
pub use deadline::{Deadline, EncodedTimeout, TimeoutOptions};
pub use hedge::{HedgeAfter, HedgeDelay, HedgeOptions, HedgeRace, RaceOutcome};
pub use inject::{Inject, InjectOptions};
pub use limit::{AdaptiveLimit, Limit, LimitOptions, LimitOutcome, LimitSnapshot, Permit};
pub use queue::{Codel, CodelOptions, MinimumDelay, Queue, QueueOptions};
pub use rate::{KeyedRate, KeyedRateOptions, Rate, RateOptions};
pub use retry::{
    AttemptFacts, Backoff, BackoffOptions, Budget, BudgetOptions, Call, Capped, Decision,
    EndedAttempt, Growth, Idempotency, Jitter, Pushback, PushbackOptions, RetryLedger, RetryOn,
    RetryOptions, RetryRules, StopReason, Verdict, again, decide, may_rescue,
};
pub use shed::{Class, ShedOptions, Throttle, ThrottleOptions, throttle};
pub use stale::StaleOptions;

#[cfg(feature = "macros")]
pub use evenkeel_tolerate_macros::recover;
#[cfg(feature = "tokio")]
pub use policy::retry;
#[cfg(feature = "blocking")]
pub use policy::retry_blocking;
#[cfg(feature = "policy")]
pub use policy::{
    Attempt, Failed, Incident, Lint, Recovered, Recovery, RecoveryOptions, Repaired, Stopped,
};

// The examples of the pages are tests.
#[cfg(doctest)]
mod mechanism_pages {
    #[doc = include_str!("../../../docs/tolerate/backoff.md")]
    mod backoff {}
    #[doc = include_str!("../../../docs/tolerate/budget.md")]
    mod budget {}
    #[doc = include_str!("../../../docs/tolerate/deadline.md")]
    mod deadline {}
}

// Pages with an example of a mechanism and one of a policy with it.
#[cfg(all(doctest, feature = "async", feature = "blocking"))]
mod mechanism_and_policy_pages {
    #[doc = include_str!("../../../docs/tolerate/breaker.md")]
    mod breaker {}
    #[doc = include_str!("../../../docs/tolerate/stale.md")]
    mod stale {}
    #[doc = include_str!("../../../docs/tolerate/inject.md")]
    mod inject {}
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

#[cfg(all(doctest, feature = "tokio", feature = "blocking", feature = "macros"))]
mod policy_pages {
    #[doc = include_str!("../../../docs/tolerate/library.md")]
    mod library {}
    #[doc = include_str!("../../../docs/tolerate/retry.md")]
    mod retry {}
    #[doc = include_str!("../../../docs/tolerate/hedge.md")]
    mod hedge {}
    #[doc = include_str!("../../../docs/tolerate/fallback.md")]
    mod fallback {}
    #[doc = include_str!("../../../docs/tolerate/recover.md")]
    mod recover {}
}
