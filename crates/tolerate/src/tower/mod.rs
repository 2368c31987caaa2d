//! Policies as tower layers: all of a policy ([`RecoverLayer`]), or one part of it for who stacks by hand.
//!
//! | layer | does | of the policy |
//! |---|---|---|
//! | [`RecoverLayer`] | all of it, in the right order | everything |
//! | [`RetryLayer`] | retries, back-off, budget; no timeout, no limit, no hedge | `retries…`, `backoff`, `budget` |
//! | [`HedgeLayer`] | second attempts | `hedge`, `budget` |
//! | [`TimeoutLayer`] | a timeout for each attempt: place it inside | `attempt_timeout` |
//! | [`DeadlineLayer`] | a deadline for all of it: place it outside | `deadline` |
//! | [`ThrottleLayer`] | asks less where most is refused | `throttle` |
//! | [`BreakerLayer`] | stops asking what fails | `breaker` |
//! | [`RateLayer`] | so many a second; more wait | `rate` |
//! | [`LimitLayer`] | so many at once; more are refused | `limit` |
//! | [`QueueLayer`] | so many at once; more wait by class, and expire | `limit`, `queue` |
//! | [`InjectLayer`] | faults on purpose | `inject` |
//! | [`FallbackLayer`] | something else instead of an error: place it outside | none |
//!
//! Each is told what kind of call a request is ([`DescribeCall`]): by a constant [`Call`](crate::Call), or by a closure that looks at the request, for
//! its class and its deadline. From the outside they belong in this order: fallback, deadline, throttle, retry, hedge, breaker, rate, limit or queue,
//! timeout, inject.
//!
//! But for the last they are one service with other options: there is one implementation. What tower asks of a service is kept. `poll_ready` passes
//! on the inner service's readiness, and the attempt uses the very service that was ready: a clone takes its place, since a clone
//! is not ready. Each further attempt makes its own clone ready first. A service is cloned as often as attempts are made, so its
//! clones must be cheap and share what they are to share, as tower's do.
//!
//! The response future is boxed, for it has no name: one allocation a call.

mod describe;
mod fallback;
mod layer;
mod parts;
mod service;

pub use describe::DescribeCall;
pub use fallback::{Fallback, FallbackLayer, FallbackService, FallbackToService};
pub use layer::RecoverLayer;
pub use parts::{
    BreakerLayer, DeadlineLayer, HedgeLayer, InjectLayer, LimitLayer, QueueLayer, RateLayer,
    RetryLayer, ThrottleLayer, TimeoutLayer,
};
pub use service::{RecoverService, ResponseFuture};
