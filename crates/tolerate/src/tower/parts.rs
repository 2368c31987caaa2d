//! Parts of a policy as layers, for who stacks by hand.
//!
//! Each is [`RecoverLayer`] with everything else off, so what a part does is what the policy does.

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

/// A policy that does nothing: parts are added to it.
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

/// One part of a policy: its name, what it is called, its arguments, and what they set. Errors are nested like the layers.
macro_rules! part {
    ($(#[$doc:meta])* $name:ident($word:literal): $($argument:ident: $kind:ty),* => |$options:ident| $set:block) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name<K = AnyError, D = Call>(RecoverLayer<K, SystemClock, D>);

        impl<D> $name<AnyError, D> {
            /// The part as a layer around requests of the kind that `call` says: a [`Call`], or a closure that is given the request.
            ///
            /// # Errors
            /// What is wrong with the options.
            pub fn new(call: D, $($argument: $kind),*) -> Result<Self, Lints> {
                let mut $options = nothing();
                $set
                let recovery = Recovery::named($word).options($options).build()?;
                Ok(Self(RecoverLayer::new(recovery, call)))
            }
        }

        impl<K, D> $name<K, D> {
            /// What a response or an error means; by default a response is good and every error may pass.
            #[must_use]
            pub fn classify<L>(self, classify: L) -> $name<L, D> {
                $name(self.0.classify(classify))
            }

            /// Its policy object: what it has done, and what it knows.
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
    /// Second attempts while the first is late. For calls that may overlap only.
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
    /// A deadline for all that is inside.
    DeadlineLayer("deadline"): total: Duration => |options| {
        options.deadline = Some(total);
    }
}
part! {
    /// Asks a service that refuses most only about as often as it accepts.
    ThrottleLayer("throttle"): throttle: ThrottleOptions => |options| {
        options.throttle = Some(throttle);
    }
}
part! {
    /// Stops asking a service that fails, and tries now and then.
    BreakerLayer("breaker"): breaker: BreakerOptions => |options| {
        options.breaker = Some(breaker);
    }
}
part! {
    /// So many a second; more wait for their turn, until the call's deadline at most.
    RateLayer("rate"): rate: RateOptions => |options| {
        options.rate = Some(rate);
    }
}
part! {
    /// So many at once; more are refused and do not wait.
    LimitLayer("limit"): limit: LimitOptions => |options| {
        options.limit = Some(limit);
    }
}
part! {
    /// So many at once; more wait, by class, and leave the queue unserved when nobody waits for them any more: a server says by the
    /// closure `call` of which class a request is and until when its client waits.
    QueueLayer("queue"): limit: LimitOptions, queue: QueueOptions => |options| {
        options.limit = Some(limit);
        options.queue = Some(queue);
    }
}
part! {
    /// Faults on purpose: some requests are delayed, some fail without being made.
    InjectLayer("inject"): inject: InjectOptions => |options| {
        options.inject = Some(inject);
    }
}
