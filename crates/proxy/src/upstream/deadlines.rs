//! The deadlines of one attempt, and which of them is the earlier: a server that was cut off by another one than its own is not
//! blamed for it.

use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_core::blame::TimeLimit;

/// The deadlines of an attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttemptDeadlines {
    /// From the request fully written to the response's head.
    pub(crate) attempt: Duration,
    /// Without a byte, while a body is sent.
    pub(crate) idle: Duration,
    /// The end of the time for the whole request.
    pub(crate) total: Instant,
    /// When the client gives up: no slowness of its own moves that.
    pub(crate) told: Instant,
}

impl AttemptDeadlines {
    /// When an attempt is late that was written, or had its head, at `since`, and which limit that is.
    pub(crate) fn end(self, since: Instant, waited_for_body: Duration) -> (Instant, TimeLimit) {
        let total = (self.total + waited_for_body).min(self.told);
        earlier(since + self.attempt, total)
    }
}

/// The end of an attempt that may last until `attempt`, of a request that may last until `total`, and which of both it is.
pub(crate) fn earlier(attempt: Instant, total: Instant) -> (Instant, TimeLimit) {
    if attempt <= total {
        (attempt, TimeLimit::Attempt)
    } else {
        (total, TimeLimit::Total)
    }
}
