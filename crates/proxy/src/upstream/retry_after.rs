//! Answers in which a server asks to be left alone for a while: 429 and 503 with `Retry-After` (RFC 9110, section 10.2.3).
//!
//! A date is compared with the answer's own `Date`, since the two clocks may differ.

use std::time::Duration;

use evenkeel_http1::ResponseHead;
use evenkeel_tolerate::Pushback;

/// For how long the server wants to be left alone, if this answer says so. `bytes` are those of the head.
pub(crate) fn asked(head: &ResponseHead, bytes: &[u8]) -> Option<Duration> {
    if !matches!(head.status, 429 | 503) {
        return None;
    }
    let wish = head.header(bytes, "retry-after")?;
    Pushback::retry_after_of(wish, head.header(bytes, "date")).after()
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
    fn seconds_and_dates_of_429_and_503_count() {
        let pause = Some(Duration::from_secs(120));
        assert_eq!(of("429 Too Many Requests", "Retry-After: 120\r\n"), pause);
        assert_eq!(of("503 Service Unavailable", "retry-after:120\r\n"), pause);
        let dates =
            "Date: Fri, 31 Dec 2027 23:58:00 GMT\r\nRetry-After: Sat, 01 Jan 2028 00:00:00 GMT\r\n";
        assert_eq!(of("503 Service Unavailable", dates), pause);
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
