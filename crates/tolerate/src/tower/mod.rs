//! Policies as tower layers: a whole policy ([`RecoverLayer`]), or single mechanisms of one.
//!
//! | layer | effect | options of the policy |
//! |---|---|---|
//! | [`RecoverLayer`] | all of it, in the right order | all |
//! | [`RetryLayer`] | retries, back-off, budget; no timeout, no limit, no hedge | `retries…`, `backoff`, `budget` |
//! | [`HedgeLayer`] | hedged attempts | `hedge`, `budget` |
//! | [`TimeoutLayer`] | a timeout for each attempt: place it inside | `attempt_timeout` |
//! | [`DeadlineLayer`] | a deadline for everything inside: place it outside | `deadline` |
//! | [`ThrottleLayer`] | sends less where most is rejected | `throttle` |
//! | [`BreakerLayer`] | a circuit breaker | `breaker` |
//! | [`RateLayer`] | requests per second; more wait | `rate` |
//! | [`LimitLayer`] | concurrent requests; more are rejected | `limit` |
//! | [`QueueLayer`] | concurrent requests; more wait by class, and expire | `limit`, `queue` |
//! | [`InjectLayer`] | fault injection | `inject` |
//! | [`FallbackLayer`] | a fallback instead of an error: place it outside | none |
//!
//! Each gets a description of its requests ([`DescribeCall`]): a constant [`Call`](crate::Call), or a closure that gets the
//! request, for its class and its deadline. From the outermost to the innermost they belong in this order: fallback, deadline,
//! throttle, retry, hedge, breaker, rate, limit or queue, timeout, inject.
//!
//! All but the last are one service with different options: there is one implementation. It keeps tower's contract: `poll_ready`
//! returns the inner service's readiness, and the first attempt uses the very service that was ready; a clone takes its place,
//! since a clone is not ready. Each further attempt makes its own clone ready first. A service is cloned for each attempt, so its
//! clones must be cheap and share their state, as tower's do.
//!
//! The response future is boxed: one allocation per call.

mod fallback;
mod layer;
mod parts;
mod service;

pub use fallback::{Fallback, FallbackLayer, FallbackService, FallbackToService};
pub use layer::RecoverLayer;
pub use parts::{
    BreakerLayer, DeadlineLayer, HedgeLayer, InjectLayer, LimitLayer, QueueLayer, RateLayer,
    RetryLayer, ThrottleLayer, TimeoutLayer,
};
pub use service::{DescribeCall, RecoverService, ResponseFuture};
