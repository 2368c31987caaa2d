#![doc = include_str!("../README.md")]

pub mod policy;
pub mod deadline;
pub mod backoff;
pub mod budget;
pub mod ledger;
pub mod verdict;
pub mod retry;
pub mod http;
pub mod hedge;
pub mod race;
mod wire;

// Whether to ask at all.
pub mod breaker;
pub mod stale;
pub mod pushback;
pub mod propagate;
pub mod inject;
// End of breakers.

// "Not now" and "not you": limits, rates, queues, shedding.
pub mod limit;
pub mod rate;
pub mod codel;
pub mod queue;
pub mod shed;
pub mod throttle;
// End of limits.

pub use backoff::{BackoffOptions, Capped, Growth, Jitter, Wait};
pub use budget::Budget;
pub use deadline::Deadline;
pub use hedge::{HedgeAfter, HedgeDelay, HedgeOptions};
pub use http::{AttemptFacts, decide, may_rescue};
pub use ledger::RetryLedger;
pub use policy::{BudgetOptions, RetryOn, RetryOptions, TimeoutOptions};
pub use race::{Race, Turn};
pub use retry::{Decision, Ended, Rules, StopReason, again};
pub use verdict::{Call, Idempotency, Verdict};

// The face: policies around calls.
#[cfg(feature = "recover")]
pub mod clock;
#[cfg(feature = "recover")]
pub mod recover;

#[cfg(feature = "tokio")]
pub use recover::retry;
#[cfg(feature = "tower")]
pub mod tower;

#[cfg(feature = "macros")]
pub use evenkeel_tolerate_macros::recover;
#[cfg(feature = "blocking")]
pub use recover::retry_blocking;
#[cfg(feature = "recover")]
pub use recover::{
    Attempt, Failed, Incident, Lint, Recovered, Recovery, RecoveryOptions, Repaired, Stopped,
};
// End of the face.

// Breakers.
pub use breaker::{Breaker, BreakerOptions, BreakerSnapshot, BreakerState, Pass, Refused};
pub use stale::StaleOptions;
// End of breakers.

// Limits.
pub use codel::{Codel, CodelOptions, MinimumDelay};
pub use limit::{Adaptive, Finish, Limit, LimitOptions, LimitSnapshot, Permit};
pub use queue::{Queue, QueueOptions};
pub use rate::{KeyedRate, KeyedRateOptions, Rate, RateOptions};
pub use shed::{Class, ShedOptions};
pub use throttle::{Throttle, ThrottleOptions};
// End of limits.

// Wire, faults on purpose.
pub use inject::{Inject, InjectOptions};
pub use propagate::Propagated;
pub use pushback::{Pushback, PushbackOptions};
// End of wire.

// Their pages' examples are tests.
#[cfg(doctest)]
mod limit_pages {
    #[doc = include_str!("../../../docs/tolerate/backoff.md")]
    mod backoff {}
    #[doc = include_str!("../../../docs/tolerate/budget.md")]
    mod budget {}
    #[doc = include_str!("../../../docs/tolerate/deadline.md")]
    mod deadline {}
}

// Their examples are of the parts and of a policy with them.
#[cfg(all(doctest, feature = "async", feature = "blocking"))]
mod part_pages {
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
mod face_pages {
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
