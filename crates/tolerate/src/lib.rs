//! Retries, timeouts and budgets as plain state machines.

pub mod policy;

pub use policy::{BackoffOptions, BudgetOptions, Jitter, RetryOn, RetryOptions, TimeoutOptions};
