//! What a route says of its own about what its service says as well: the same tables, read without defaults.
//!
//! A key that a route leaves out is its service's, not the default, so these tables have no defaults in the schema and in the
//! reference. What all requests of a service share is refused here, with a mistake that says where it belongs.

use std::marker::PhantomData;

use super::retry::Retry;
use super::shape::Shape;
use super::{Kind, Value};
use crate::mistake::{Code, Mistake, Mistakes};

/// `K` as a route has it: without defaults.
#[derive(Debug)]
pub struct Own<K>(PhantomData<K>);

/// [`Retry`] as a route has it: without defaults, and without a budget.
#[derive(Debug, Clone, Copy)]
pub struct OwnRetry;

impl<K: Kind> Kind for Own<K> {
    type Out = K::Out;

    fn shape() -> Shape {
        without_defaults(K::shape())
    }

    fn read(value: &Value<'_>, out: &mut Mistakes) -> Option<K::Out> {
        K::read(value, out)
    }
}

impl Kind for OwnRetry {
    type Out = Retry;

    fn shape() -> Shape {
        let mut shape = Own::<Retry>::shape();
        if let Shape::Table(table) = &mut shape {
            table.keys.retain(|key| key.name != "budget");
        }
        shape
    }

    fn read(value: &Value<'_>, out: &mut Mistakes) -> Option<Retry> {
        let mut retry = Retry::read(value, out)?;
        if let Some(budget) = retry.budget.take() {
            let message = "a route has no budget of its own";
            let mistake = Mistake::new(
                Code::Contradiction,
                budget.key,
                message,
                "belongs to the service",
            );
            out.push(mistake.help(
                "all requests of a service pay from one budget, or each route could add its part to an overload: [service.NAME.retry.budget]",
            ));
        }
        Some(retry)
    }
}

fn without_defaults(mut shape: Shape) -> Shape {
    if let Shape::Table(table) = &mut shape {
        for key in &mut table.keys {
            key.default = None;
            key.shape = without_defaults(std::mem::replace(&mut key.shape, Shape::Flag));
        }
    }
    shape
}
