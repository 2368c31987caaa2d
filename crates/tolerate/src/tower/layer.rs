//! The layers: a policy, or one part of it, ready to be put around a service.

use std::fmt;
use std::time::Duration;

use tower_layer::Layer;

use super::RecoverService;
use crate::clock::Standard;
use crate::recover::{AnyError, Lints, Recovery, RecoveryOptions};
use crate::{BackoffOptions, Call, HedgeOptions, LimitOptions};

/// All of a policy around a service.
#[derive(Clone)]
pub struct RecoverLayer<K = AnyError, C = Standard> {
    recovery: Recovery<C>,
    call: Call,
    classify: K,
}

impl<K, C> fmt::Debug for RecoverLayer<K, C> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("RecoverLayer")
            .field("policy", &self.recovery)
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}

impl<C> RecoverLayer<AnyError, C> {
    /// A policy for requests that are all of the kind that `call` says.
    #[must_use]
    pub const fn new(recovery: Recovery<C>, call: Call) -> Self {
        Self {
            recovery,
            call,
            classify: AnyError,
        }
    }
}

impl<K, C> RecoverLayer<K, C> {
    /// What a response or an error means.
    #[must_use]
    pub fn classify<L>(self, classify: L) -> RecoverLayer<L, C> {
        RecoverLayer {
            recovery: self.recovery,
            call: self.call,
            classify,
        }
    }
}

impl<S, K: Clone, C> Layer<S> for RecoverLayer<K, C> {
    type Service = RecoverService<S, K, C>;

    fn layer(&self, inner: S) -> Self::Service {
        RecoverService::new(
            inner,
            self.recovery.clone(),
            self.call,
            self.classify.clone(),
        )
    }
}

/// A policy that does nothing: parts are added to it.
fn nothing() -> RecoveryOptions {
    RecoveryOptions {
        deadline: None,
        attempt_timeout: None,
        retries: 0,
        retries_after_timeout: 0,
        hedge: None,
        limit: None,
        repairs: 0,
        ..RecoveryOptions::default()
    }
}

/// One part of a policy: its layer is [`RecoverLayer`] with everything else off. Errors are nested like the layers.
macro_rules! part {
    ($(#[$doc:meta])* $name:ident($word:literal): $($argument:ident: $kind:ty),* => |$options:ident| $set:block) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name(RecoverLayer);

        impl $name {
            /// The part as a layer around calls of this kind.
            ///
            /// # Errors
            /// What is wrong with the options.
            pub fn new(call: Call, $($argument: $kind),*) -> Result<Self, Lints> {
                let mut $options = nothing();
                $set
                let recovery = Recovery::named($word).options($options).build()?;
                Ok(Self(RecoverLayer::new(recovery, call)))
            }

            /// The same with the meaning of results and another policy object: to share a budget, or a clock.
            pub fn recovery(&self) -> &Recovery {
                &self.0.recovery
            }
        }

        impl<S> Layer<S> for $name {
            type Service = RecoverService<S>;

            fn layer(&self, inner: S) -> Self::Service {
                self.0.layer(inner)
            }
        }
    };
}

part! {
    /// Retries with a back-off, paid by a budget of their own. Any error may pass.
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
    /// So many at once; more are refused and do not wait.
    LimitLayer("limit"): limit: LimitOptions => |options| {
        options.limit = Some(limit);
    }
}
