//! A route's overrides of its service's policies: the same tables, read without defaults.
//!
//! A key that a route leaves out takes the service's value, not the default, so these tables have no defaults in the
//! schema and in the reference. Keys that concern all requests of a service are rejected here, with a diagnostic that
//! says where they belong.

use std::marker::PhantomData;

use super::retry::RetryConfig;
use super::shape::ValueShape;
use super::{FileValue, Value};
use crate::diagnostic::{Code, Diagnostic, Diagnostics};

/// `K` as a route has it: without defaults.
#[derive(Debug)]
pub struct RouteOverride<K>(PhantomData<K>);

/// [`RetryConfig`] as a route has it: without defaults, and without a budget.
#[derive(Debug, Clone, Copy)]
pub struct RouteRetry;

impl<K: FileValue> FileValue for RouteOverride<K> {
    type Out = K::Out;

    fn shape() -> ValueShape {
        without_defaults(K::shape())
    }

    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<K::Out> {
        K::read(value, out)
    }
}

impl FileValue for RouteRetry {
    type Out = RetryConfig;

    fn shape() -> ValueShape {
        let mut shape = RouteOverride::<RetryConfig>::shape();
        if let ValueShape::Table(table) = &mut shape {
            table.keys.retain(|key| key.name != "budget");
        }
        shape
    }

    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<RetryConfig> {
        let mut retry = RetryConfig::read(value, out)?;
        if let Some(budget) = retry.budget.take() {
            let message = "a route has no budget of its own";
            let diagnostic = Diagnostic::new(
                Code::Contradiction,
                budget.key,
                message,
                "belongs to the service",
            );
            out.push(diagnostic.help(
                "all requests of a service pay from one budget, or each route could add its part to an overload: [service.NAME.retry.budget]",
            ));
        }
        Some(retry)
    }
}

fn without_defaults(mut shape: ValueShape) -> ValueShape {
    if let ValueShape::Table(table) = &mut shape {
        for key in &mut table.keys {
            key.default = None;
            key.shape = without_defaults(std::mem::replace(&mut key.shape, ValueShape::Flag));
        }
    }
    shape
}
