//! A whole policy as a layer.

use std::fmt;

use tower_layer::Layer;

use super::RecoverService;
use crate::Call;
use crate::clock::SystemClock;
use crate::policy::{AnyError, Recovery};

/// A whole policy around a service.
#[derive(Clone)]
pub struct RecoverLayer<K = AnyError, C = SystemClock, D = Call> {
    pub(super) recovery: Recovery<C>,
    call: D,
    classify: K,
}

impl<K, C, D> fmt::Debug for RecoverLayer<K, C, D> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("RecoverLayer")
            .field("policy", &self.recovery)
            .finish_non_exhaustive()
    }
}

impl<C, D> RecoverLayer<AnyError, C, D> {
    /// A policy for the requests that `call` describes: a [`Call`], or a closure that gets the request.
    #[must_use]
    pub const fn new(recovery: Recovery<C>, call: D) -> Self {
        Self {
            recovery,
            call,
            classify: AnyError,
        }
    }
}

impl<K, C, D> RecoverLayer<K, C, D> {
    /// What a response or an error means.
    #[must_use]
    pub fn classify<L>(self, classify: L) -> RecoverLayer<L, C, D> {
        RecoverLayer {
            recovery: self.recovery,
            call: self.call,
            classify,
        }
    }
}

impl<S, K: Clone, C, D: Clone> Layer<S> for RecoverLayer<K, C, D> {
    type Service = RecoverService<S, K, C, D>;

    fn layer(&self, inner: S) -> Self::Service {
        RecoverService::new(
            inner,
            self.recovery.clone(),
            self.call.clone(),
            self.classify.clone(),
        )
    }
}
