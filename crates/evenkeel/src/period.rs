//! Points in time as text: the start of a period such as `30d`, and the current time.

use evenkeel_core::WallTime;
use jiff::Timestamp;

/// The time as RFC 3339 in UTC with milliseconds.
pub(crate) fn rfc3339(at: WallTime) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    let time = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
    format!("{time:.3}")
}

/// Parses `since`: an age (`30d`) is subtracted from `now`; everything else is a point in time.
pub(crate) fn since(since: &str, now: WallTime) -> String {
    evenkeel_admin::age(since).map_or_else(
        || since.to_owned(),
        |age| {
            let millis = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
            rfc3339(WallTime(now.0.saturating_sub(millis)))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_counted_back() {
        let now = WallTime(1_795_341_600_000);
        assert_eq!(rfc3339(now), "2026-11-22T10:00:00.000Z");
        assert_eq!(since("90m", now), "2026-11-22T08:30:00.000Z");
        assert_eq!(since("999999999w", now), "1970-01-01T00:00:00.000Z");
        assert_eq!(since("2026-11-01", now), "2026-11-01");
    }
}
