//! The configuration file: typed, resolved, validated into a plan that cannot be wrong.

pub mod plan;

pub use plan::Plan;
