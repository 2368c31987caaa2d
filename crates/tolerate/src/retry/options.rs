//! What a user may choose about the retries of HTTP requests. Defaults belong to `config`.

use serde::{Deserialize, Serialize};

use crate::BackoffOptions;

/// When an attempt that ended badly is tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryOptions {
    /// Retries, not attempts, at most.
    pub limit: u32,
    /// Of these, how many may follow a timeout.
    pub timeout_limit: u32,
    /// What is retried.
    pub on: RetryOn,
    /// Methods that may be sent twice, upper case.
    pub methods: Vec<String>,
    /// How long to wait before a retry.
    pub backoff: BackoffOptions,
    /// What pays for retries.
    pub budget: BudgetOptions,
    /// Request bodies up to this many bytes are kept for a retry.
    pub body_buffer: usize,
    /// Responses of a known length up to this many bytes are held back until they are whole, so that one which breaks off
    /// can be retried. 0: none is.
    pub response_buffer: usize,
}

/// What is retried.
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
    /// Tokens that are earned each second in any case.
    pub floor_per_second: f64,
    /// Tokens that can be saved up, and that are there at the start.
    pub burst: f64,
}
