//! Fallbacks instead of errors: a closure's response, or another service's.
//!
//! There is no policy behind it, so it counts nothing: place it outside of a [`RecoverLayer`](super::RecoverLayer), whose
//! counters say how many calls failed.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

/// Provides a response when the service fails.
pub trait Fallback<Q, R, E> {
    /// A response to the request that failed with this error; `None` if there is none, and the error is returned.
    fn answer(
        &self,
        request: Q,
        error: &E,
    ) -> impl Future<Output = Option<R>> + Send + use<Self, Q, R, E>;
}

impl<Q, R, E, F, A> Fallback<Q, R, E> for F
where
    F: Fn(Q, &E) -> A,
    A: Future<Output = Option<R>> + Send,
{
    fn answer(
        &self,
        request: Q,
        error: &E,
    ) -> impl Future<Output = Option<R>> + Send + use<Q, R, E, F, A> {
        self(request, error)
    }
}

/// Another service. If it fails as well, the first error is returned.
#[derive(Debug, Clone)]
pub struct FallbackToService<S>(pub S);

impl<Q, R, E, S> Fallback<Q, R, E> for FallbackToService<S>
where
    S: Service<Q, Response = R> + Clone + Send,
    S::Future: Send,
    S::Error: Send,
    Q: Send,
    R: Send,
{
    fn answer(
        &self,
        request: Q,
        _: &E,
    ) -> impl Future<Output = Option<R>> + Send + use<Q, R, E, S> {
        let mut service = self.0.clone();
        async move {
            poll_fn(|context| service.poll_ready(context)).await.ok()?;
            service.call(request).await.ok()
        }
    }
}

/// Responds with a fallback when the inner service fails: `FallbackLayer::new(|request, error: &_| async { … })`, or
/// `FallbackLayer::new(FallbackToService(other_service))`.
#[derive(Clone)]
pub struct FallbackLayer<F>(F);

impl<F> FallbackLayer<F> {
    /// With a closure that gets the request and its error, or [`FallbackToService`].
    #[must_use]
    pub const fn new(fallback: F) -> Self {
        Self(fallback)
    }
}

impl<F> fmt::Debug for FallbackLayer<F> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("FallbackLayer")
    }
}

impl<S, F: Clone> Layer<S> for FallbackLayer<F> {
    type Service = FallbackService<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        FallbackService {
            inner,
            fallback: self.0.clone(),
        }
    }
}

/// A service with a fallback.
#[derive(Clone)]
pub struct FallbackService<S, F> {
    inner: S,
    fallback: F,
}

impl<S: fmt::Debug, F> fmt::Debug for FallbackService<S, F> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("FallbackService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<S, Q, F> Service<Q> for FallbackService<S, F>
where
    S: Service<Q>,
    S::Future: Send + 'static,
    S::Response: Send,
    S::Error: Send + Sync,
    Q: Clone + Send + 'static,
    F: Fallback<Q, S::Response, S::Error> + Clone + Send + Sync + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    /// The error of an inner service that is not ready is no failed request, and is returned.
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        let fallback = self.fallback.clone();
        let responding = self.inner.call(request.clone());
        Box::pin(async move {
            let error = match responding.await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let other = fallback.answer(request, &error).await;
            other.ok_or(error)
        })
    }
}
