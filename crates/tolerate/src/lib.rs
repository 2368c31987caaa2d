#![doc = include_str!("../README.md")]

pub mod policy;
pub mod deadline;
pub mod backoff;
pub mod budget;
pub mod ledger;
pub mod retry;
pub mod hedge;

pub use backoff::Backoff;
pub use budget::Budget;
pub use deadline::Deadline;
pub use hedge::{HedgeAfter, HedgeDelay, HedgeOptions};
pub use ledger::RetryLedger;
pub use policy::{BackoffOptions, BudgetOptions, Jitter, RetryOn, RetryOptions, TimeoutOptions};
pub use retry::{AttemptFacts, Decision, StopReason, decide};
