//! The policies of a route: its own keys, and its service's for those that it leaves out.

use super::Located;
use super::fallback::FallbackConfig;
use super::hedge::HedgeConfig;
use super::inject::InjectConfig;
use super::listen::RouteConfig;
use super::retry::{RetryBackoffConfig, RetryConfig};
use super::service::{ServiceConfig, TimeoutConfig};
use super::value::OrDisabled;

/// The keys of `$own`, and for those that it does not have, those of `$base`. A key that is not named here does not compile.
macro_rules! over {
    ($table:ident { $($key:ident),* $(,)? }, $own:expr, $base:expr) => {
        $table { $($key: $own.$key.clone().or_else(|| $base.$key.clone()),)* }
    };
}

impl RouteConfig {
    /// Whether it overrides any policy of its service.
    #[must_use]
    pub const fn has_own(&self) -> bool {
        self.timeout.is_some()
            || self.retry.is_some()
            || self.hedge.is_some()
            || self.fallback.is_some()
            || self.inject.is_some()
    }

    /// The policies of its requests for `service`, in the form of a service without anything else.
    #[must_use]
    pub fn own(&self, service: &ServiceConfig) -> ServiceConfig {
        ServiceConfig {
            timeout: merge(self.timeout.as_ref(), service.timeout.as_ref(), timeout),
            retry: merge(self.retry.as_ref(), service.retry.as_ref(), retry),
            hedge: switch(self.hedge.as_ref(), service.hedge.as_ref(), hedge),
            fallback: switch(self.fallback.as_ref(), service.fallback.as_ref(), fallback),
            inject: switch(self.inject.as_ref(), service.inject.as_ref(), inject),
            ..ServiceConfig::default()
        }
    }
}

/// The merged table, located where the route's is.
fn merge<T: Clone + Default>(
    own: Option<&Located<T>>,
    base: Option<&Located<T>>,
    over: fn(&T, &T) -> T,
) -> Option<Located<T>> {
    match (own, base) {
        (Some(own), Some(base)) => Some(own.with(over(&own.value, &base.value))),
        (own, base) => own.or(base).cloned(),
    }
}

/// The same for a table that a route may turn off.
fn switch<T: Clone + Default>(
    own: Option<&Located<OrDisabled<T>>>,
    base: Option<&Located<T>>,
    over: fn(&T, &T) -> T,
) -> Option<Located<T>> {
    let Some(own) = own else { return base.cloned() };
    match &own.value {
        OrDisabled::Off => None,
        OrDisabled::On(table) => merge(Some(&own.with(table.clone())), base, over),
    }
}

impl<T> Located<T> {
    /// Another value at the same location.
    fn with<U>(&self, value: U) -> Located<U> {
        Located {
            value,
            span: self.span.clone(),
            key: self.key.clone(),
        }
    }
}

fn timeout(own: &TimeoutConfig, base: &TimeoutConfig) -> TimeoutConfig {
    over!(
        TimeoutConfig {
            connect,
            attempt,
            total,
            idle,
            deadline_header
        },
        own,
        base
    )
}

fn retry(own: &RetryConfig, base: &RetryConfig) -> RetryConfig {
    let backoff = |own: &RetryBackoffConfig, base: &RetryBackoffConfig| {
        over!(
            RetryBackoffConfig {
                base,
                cap,
                growth,
                jitter
            },
            own,
            base
        )
    };
    RetryConfig {
        backoff: merge(own.backoff.as_ref(), base.backoff.as_ref(), backoff),
        ..over!(
            RetryConfig {
                limit,
                timeout_limit,
                on,
                methods,
                backoff,
                budget,
                body_buffer,
                response_buffer
            },
            own,
            base
        )
    }
}

fn hedge(own: &HedgeConfig, base: &HedgeConfig) -> HedgeConfig {
    over!(
        HedgeConfig {
            after,
            limit,
            floor,
            minimum_attempts
        },
        own,
        base
    )
}

/// A fixed response and another service exclude each other, so a route that sets one drops its service's other one.
fn fallback(own: &FallbackConfig, base: &FallbackConfig) -> FallbackConfig {
    let answers = own.status.is_some()
        || own.body.is_some()
        || own.content_type.is_some()
        || own.retry_after.is_some();
    let base = if own.service.is_some() {
        FallbackConfig {
            on: base.on.clone(),
            stale: base.stale.clone(),
            ..FallbackConfig::default()
        }
    } else {
        FallbackConfig {
            service: base.service.clone().filter(|_| !answers),
            ..base.clone()
        }
    };
    over!(
        FallbackConfig {
            stale,
            service,
            status,
            body,
            content_type,
            retry_after,
            on
        },
        own,
        base
    )
}

fn inject(own: &InjectConfig, base: &InjectConfig) -> InjectConfig {
    over!(InjectConfig { delay, abort, seed }, own, base)
}
