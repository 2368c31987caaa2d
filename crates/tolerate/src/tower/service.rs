//! A service around a service: one call of it is one call under the policy.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower_service::Service;

use crate::clock::{AsyncClock, SystemClock};
use crate::policy::{AnyError, Classify, Failed, Recovery};
use crate::{Call, Verdict};

/// Describes a request as a call: its name, whether it may be repeated, its class, its deadline.
pub trait DescribeCall<Q> {
    /// The call.
    fn call(&self, request: &Q) -> Call;

    /// The name where there is no request yet.
    fn name(&self) -> &'static str {
        "request"
    }
}

impl<Q> DescribeCall<Q> for Call {
    fn call(&self, _: &Q) -> Call {
        *self
    }

    fn name(&self) -> &'static str {
        Self::name(self)
    }
}

impl<Q, F: Fn(&Q) -> Call> DescribeCall<Q> for F {
    fn call(&self, request: &Q) -> Call {
        self(request)
    }
}

/// The response future. Dropped, all attempts under way are cancelled.
pub type ResponseFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, Failed<E>>> + Send>>;

/// Makes each call of the inner service under a policy.
#[derive(Clone)]
pub struct RecoverService<S, K = AnyError, C = SystemClock, D = Call> {
    inner: S,
    recovery: Recovery<C>,
    call: D,
    classify: K,
}

impl<S: fmt::Debug, K, C, D> fmt::Debug for RecoverService<S, K, C, D> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("RecoverService")
            .field("inner", &self.inner)
            .field("policy", &self.recovery)
            .finish_non_exhaustive()
    }
}

impl<S, K, C, D> RecoverService<S, K, C, D> {
    pub(super) const fn new(inner: S, recovery: Recovery<C>, call: D, classify: K) -> Self {
        Self {
            inner,
            recovery,
            call,
            classify,
        }
    }

    /// The inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }
}

/// Classifies by reference, so that each call can borrow the layer's own classifier.
struct ClassifyByRef<'k, K>(&'k K);

impl<T, E, K: Classify<T, E>> Classify<T, E> for ClassifyByRef<'_, K> {
    fn verdict(&self, result: &Result<T, E>) -> Verdict {
        self.0.verdict(result)
    }
}

impl<S, Q, K, C, D> Service<Q> for RecoverService<S, K, C, D>
where
    S: Service<Q> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
    S::Error: Send + Sync,
    Q: Clone + Send + 'static,
    K: Classify<S::Response, S::Error> + Clone + Send + Sync + 'static,
    C: AsyncClock + 'static,
    D: DescribeCall<Q>,
{
    type Response = S::Response;
    type Error = Failed<S::Error>;
    type Future = ResponseFuture<S::Response, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let ready = self.inner.poll_ready(context);
        ready.map_err(|error| Failed::before(self.call.name(), error))
    }

    fn call(&mut self, request: Q) -> Self::Future {
        // The clone is not ready and stays; the ready service is used.
        let clone = self.inner.clone();
        let mut ready = Some(std::mem::replace(&mut self.inner, clone));
        let spare = self.inner.clone();
        let (recovery, call) = (self.recovery.clone(), self.call.call(&request));
        let classify = self.classify.clone();
        Box::pin(async move {
            let run = recovery.call(call).classify(ClassifyByRef(&classify));
            let recovered = run.run(move |_| {
                let first = ready.take();
                let request = request.clone();
                let mut service = match &first {
                    None => Some(spare.clone()),
                    Some(_) => None,
                };
                async move {
                    if let Some(mut ready) = first {
                        return ready.call(request).await;
                    }
                    let service = service.as_mut().expect("one of the two is there");
                    poll_fn(|context| service.poll_ready(context)).await?;
                    service.call(request).await
                }
            });
            recovered.await.into_result()
        })
    }
}
