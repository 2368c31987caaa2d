//! Whether an attempt that failed is made again, after how long, and what pays for it.
//!
//! [`decision`] is the one place that decides. It asks the back-off for a delay, the request's ledger for what it has used, the
//! service's budget for a token, and the deadline for time. [`http`] maps the outcomes of HTTP to it.

pub mod backoff;
pub mod budget;
pub mod decision;
pub mod http;
pub mod ledger;
pub mod options;
pub mod pushback;
pub mod verdict;

pub use backoff::{Backoff, BackoffOptions, Capped, Growth, Jitter};
pub use budget::Budget;
pub use decision::{Decision, EndedAttempt, RetryRules, StopReason, again};
pub use http::{AttemptFacts, decide, may_rescue};
pub use ledger::RetryLedger;
pub use options::{BudgetOptions, RetryOn, RetryOptions};
pub use pushback::{Pushback, PushbackOptions};
pub use verdict::{Call, Idempotency, Verdict};
