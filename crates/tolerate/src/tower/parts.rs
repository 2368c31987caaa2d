//! Single mechanisms of a policy as layers, to be stacked by hand.
//!
//! Each is a [`RecoverLayer`] with everything else disabled, so that it does what a policy does.

use std::fmt;
use std::time::Duration;

use tower_layer::Layer;

use super::{RecoverLayer, RecoverService};
use crate::clock::SystemClock;
use crate::policy::{AnyError, Lints, Recovery, RecoveryOptions};
use crate::{
    BackoffOptions, BreakerOptions, Call, HedgeOptions, InjectOptions, LimitOptions, QueueOptions,
    RateOptions, ThrottleOptions,
};

/// A policy without any mechanism.
fn nothing() -> RecoveryOptions {
    RecoveryOptions {
        deadline: None,
        attempt_timeout: None,
        retries: 0,
        retries_after_timeout: 0,
        repairs: 0,
        ..RecoveryOptions::default()
    }
}

/// One layer: its name, the name of its policy, its arguments, and the options they set. Errors are nested like the layers.
macro_rules! part {
    ($(#[$doc:meta])* $name:ident($word:literal): $($argument:ident: $kind:ty),* => |$options:ident| $set:block) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name<K = AnyError, D = Call>(RecoverLayer<K, SystemClock, D>);

        impl<D> $name<AnyError, D> {
            /// The layer for the requests that `call` describes: a [`Call`], or a closure that gets the request.
            ///
            /// # Errors
            /// All lints of the options, if at least one is an error.
            pub fn new(call: D, $($argument: $kind),*) -> Result<Self, Lints> {
                let mut $options = nothing();
                $set
                let recovery = Recovery::named($word).options($options).build()?;
                Ok(Self(RecoverLayer::new(recovery, call)))
            }
        }

        impl<K, D> $name<K, D> {
            /// What a response or an error means; by default a response is good and every error is transient.
            #[must_use]
            pub fn classify<L>(self, classify: L) -> $name<L, D> {
                $name(self.0.classify(classify))
            }

            /// Its policy, with counters and state.
            pub const fn recovery(&self) -> &Recovery {
                &self.0.recovery
            }
        }

        impl<K, D> fmt::Debug for $name<K, D> {
            fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.debug_tuple(stringify!($name)).field(&self.0.recovery).finish()
            }
        }

        impl<S, K: Clone, D: Clone> Layer<S> for $name<K, D> {
            type Service = RecoverService<S, K, SystemClock, D>;

            fn layer(&self, inner: S) -> Self::Service {
                self.0.layer(inner)
            }
        }
    };
}

part! {
    /// Retries with a back-off, paid by a budget of their own.
    RetryLayer("retry"): retries: u32, backoff: BackoffOptions => |options| {
        options.retries = retries;
        options.retries_after_timeout = retries;
        options.backoff = backoff;
    }
}
part! {
    /// Hedged attempts while the first is late. Only for calls that may overlap.
    HedgeLayer("hedge"): hedge: HedgeOptions => |options| {
        options.hedge = Some(hedge);
    }
}
part! {
    /// A timeout for each attempt.
    TimeoutLayer("timeout"): timeout: Duration => |options| {
        options.attempt_timeout = Some(timeout);
    }
}
part! {
    /// A deadline for everything inside.
    DeadlineLayer("deadline"): total: Duration => |options| {
        options.deadline = Some(total);
    }
}
part! {
    /// Sends less to a service that rejects most requests.
    ThrottleLayer("throttle"): throttle: ThrottleOptions => |options| {
        options.throttle = Some(throttle);
    }
}
part! {
    /// A circuit breaker.
    BreakerLayer("breaker"): breaker: BreakerOptions => |options| {
        options.breaker = Some(breaker);
    }
}
part! {
    /// Requests per second; more wait for a token, until the call's deadline at most.
    RateLayer("rate"): rate: RateOptions => |options| {
        options.rate = Some(rate);
    }
}
part! {
    /// Concurrent requests; more are rejected and do not wait.
    LimitLayer("limit"): limit: LimitOptions => |options| {
        options.limit = Some(limit);
    }
}
part! {
    /// Concurrent requests; more wait, by class, and are dropped from the queue when they expire. The closure `call` says of
    /// which class a request is and until when its client waits.
    QueueLayer("queue"): limit: LimitOptions, queue: QueueOptions => |options| {
        options.limit = Some(limit);
        options.queue = Some(queue);
    }
}
part! {
    /// Fault injection: some requests are delayed, some fail without being made.
    InjectLayer("inject"): inject: InjectOptions => |options| {
        options.inject = Some(inject);
    }
}
