//! What a client gets when the service has no answer for it: one that was written beforehand, or that of another service.
//!
//! The last resort, after all retries: nothing that went wrong is hidden by it from metrics, signals or the log.

use std::time::Duration;

use evenkeel_core::ServiceId;
use evenkeel_tolerate::StaleOptions;

/// What takes the place of a missing answer, and of which answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// Statuses of servers' answers that count as no answer.
    pub on: Vec<u16>,
    /// How old answers of the service's own are kept, which take its place before anything else, if they are.
    pub stale: Option<StaleOptions>,
    /// What takes its place.
    pub to: FallbackTo,
}

/// What takes the place of a missing answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FallbackTo {
    /// Nothing but evenkeel's own answer, which says why.
    Own,
    /// This.
    Response(FallbackResponse),
    /// What that service answers.
    Service(ServiceId),
}

/// An answer that was written beforehand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FallbackResponse {
    /// Its status, 200 to 599.
    pub status: u16,
    /// Its `Content-Type`.
    pub content_type: String,
    /// Its body.
    pub body: String,
    /// After how long the client may ask again: its `Retry-After`.
    pub retry_after: Option<Duration>,
}

impl Fallback {
    /// Whether an answer with this status counts as none.
    #[must_use]
    pub fn takes(&self, status: u16) -> bool {
        status >= 400 && self.on.contains(&status)
    }
}
