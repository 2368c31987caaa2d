//! Answers in which a server asks to be left alone for a while: 429 and 503 with `Retry-After` (RFC 9110, section 10.2.3).
//!
//! Only the form in seconds is acted on; a date depends on two clocks that may differ.

use std::time::Duration;

use evenkeel_balance::ServerState;
use evenkeel_core::Instant;
use evenkeel_http1::ResponseHead;
use evenkeel_tolerate::Pushback;

use crate::load;
use crate::state::ServiceEntry;

impl ServiceEntry {
    /// What the head of an answer, with its bytes, says about the server itself: that it wants to be left alone, how busy
    /// it is.
    pub(crate) fn hear(&self, server: &ServerState, now: Instant, head: (&ResponseHead, &[u8])) {
        let (head, bytes) = head;
        if let Some(pause) = asked(head, bytes) {
            server.relieve(now, pause);
        }
        let name = self.load_header.as_deref();
        if let Some(load) = name.and_then(|name| load::reported(head, bytes, name)) {
            server.report_load(now, load);
        }
    }
}

/// For how long the server wants to be left alone, if this answer says so. `bytes` are those of the head.
pub(crate) fn asked(head: &ResponseHead, bytes: &[u8]) -> Option<Duration> {
    if !matches!(head.status, 429 | 503) {
        return None;
    }
    Pushback::retry_after_seconds(head.header(bytes, "retry-after")?).after()
}

#[cfg(test)]
mod tests {
    use evenkeel_http1::{Limits, Method, Parsed};

    use super::*;

    fn of(status: &str, field: &str) -> Option<Duration> {
        let text = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n{field}\r\n");
        let mut head = ResponseHead::default();
        let parsed = head.parse(text.as_bytes(), Method::Get, &Limits::default());
        assert_eq!(parsed, Ok(Parsed::Complete));
        asked(&head, text.as_bytes())
    }

    #[test]
    fn seconds_of_429_and_503_count() {
        let pause = Some(Duration::from_secs(120));
        assert_eq!(of("429 Too Many Requests", "Retry-After: 120\r\n"), pause);
        assert_eq!(of("503 Service Unavailable", "retry-after:120\r\n"), pause);
        for (status, field) in [
            ("503 Service Unavailable", ""),
            ("500 Internal Server Error", "Retry-After: 120\r\n"),
            ("301 Moved Permanently", "Retry-After: 120\r\n"),
            ("503 Service Unavailable", "Retry-After: -1\r\n"),
            ("503 Service Unavailable", "Retry-After: 1.5\r\n"),
            ("503 Service Unavailable", "Retry-After: 12345678901\r\n"),
            (
                "503 Service Unavailable",
                "Retry-After: Fri, 31 Dec 2027 23:59:59 GMT\r\n",
            ),
            ("503 Service Unavailable", "Retry-After:\r\n"),
        ] {
            assert_eq!(of(status, field), None, "{status} {field}");
        }
    }
}
