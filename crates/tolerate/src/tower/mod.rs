//! Policies as tower layers: all of a policy ([`RecoverLayer`]), or one part of it for who stacks by hand.
//!
//! | layer | does | of the policy |
//! |---|---|---|
//! | [`RecoverLayer`] | all of it, in the right order | everything |
//! | [`RetryLayer`] | retries, back-off, budget; no timeout, no limit, no hedge | `retries…`, `backoff`, `budget` |
//! | [`HedgeLayer`] | second attempts | `hedge`, `budget` |
//! | [`TimeoutLayer`] | a timeout for each attempt: place it inside | `attempt_timeout` |
//! | [`DeadlineLayer`] | a deadline for all of it: place it outside | `deadline` |
//! | [`LimitLayer`] | so many at once | `limit` |
//!
//! They are one service with other options: there is one implementation. What tower asks of a service is kept. `poll_ready` passes
//! on the inner service's readiness, and the attempt uses the very service that was ready: a clone takes its place, since a clone
//! is not ready. Each further attempt makes its own clone ready first. A service is cloned as often as attempts are made, so its
//! clones must be cheap and share what they are to share, as tower's do.
//!
//! The response future is boxed, for it has no name: one allocation a call.

mod layer;
mod service;

pub use layer::{DeadlineLayer, HedgeLayer, LimitLayer, RecoverLayer, RetryLayer, TimeoutLayer};
pub use service::{RecoverService, Responding};
