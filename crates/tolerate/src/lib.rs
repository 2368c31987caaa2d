#![doc = include_str!("../README.md")]

pub mod policy;
pub mod deadline;
pub mod backoff;
pub mod budget;
pub mod ledger;
pub mod retry;

// "Not now" and "not you": limits, rates, queues, shedding.
pub mod limit;
// End of limits.

pub use backoff::Backoff;
pub use budget::Budget;
pub use deadline::Deadline;
pub use ledger::RetryLedger;
pub use policy::{BackoffOptions, BudgetOptions, Jitter, RetryOn, RetryOptions, TimeoutOptions};
pub use retry::{AttemptFacts, Decision, StopReason, decide};

// Limits.
pub use limit::{Adaptive, Finish, Limit, LimitOptions, LimitSnapshot, Permit};
// End of limits.
