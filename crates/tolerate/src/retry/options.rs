//! What a user may choose about the retries of HTTP requests. Defaults belong to `config`.

use serde::{Deserialize, Serialize};

use crate::BackoffOptions;

/// When a failed attempt is retried.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryOptions {
    /// Retries, not attempts, at most.
    pub limit: u32,
    /// Of these, how many may follow a timeout.
    pub timeout_limit: u32,
    /// What is retried.
    pub on: RetryOn,
    /// Methods that may be sent twice, in upper case.
    pub methods: Vec<String>,
    /// The delays before retries.
    pub backoff: BackoffOptions,
    /// What pays for retries.
    pub budget: BudgetOptions,
    /// Request bodies up to this many bytes are buffered for a retry.
    pub body_buffer: usize,
    /// Responses of a known length up to this many bytes are held back until they are complete, so that one which breaks off
    /// can be retried. 0: none.
    pub response_buffer: usize,
}

/// The kinds of failures that are retried.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetryOn {
    /// No connection could be made ("connect").
    pub connect: bool,
    /// Closed or reset before a response head ("reset").
    pub reset: bool,
    /// No response head within the attempt timeout ("timeout").
    pub timeout: bool,
    /// These response statuses, each 400–599 ("503").
    pub statuses: Vec<u16>,
}

/// The retry budget: tokens earned by successes, with a small floor, taken before the back-off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BudgetOptions {
    /// Tokens that each success earns (0.2: one retry for five successes).
    pub ratio: f64,
    /// Tokens that each second earns in any case.
    pub floor_per_second: f64,
    /// The maximum, and what a new budget holds.
    pub burst: f64,
}
