//! Which server takes the next attempt.

pub mod policy;

pub use policy::{BalanceOptions, Policy};
