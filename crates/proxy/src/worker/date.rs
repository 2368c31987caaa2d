//! The `Date` of answers (RFC 9110 section 6.6.1): made once a second by each worker, and copied.

use std::cell::Cell;
use std::io::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use evenkeel_core::{Instant, WallTime};
use httpdate::HttpDate;

/// An IMF-fixdate (RFC 9110 section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) type DateText = [u8; 29];

/// The last second of the year 9999, which is the last that an IMF-fixdate has room for.
const LAST: u64 = 253_402_300_799;

/// The date of the second that it is.
#[derive(Debug)]
pub(crate) struct DateCache {
    text: Cell<DateText>,
    /// When the next second begins.
    until: Cell<Instant>,
}

impl DateCache {
    pub(crate) const fn new() -> Self {
        Self {
            text: Cell::new([b' '; 29]),
            until: Cell::new(Instant::ZERO),
        }
    }

    /// The date at `now`; `wall` reads the calendar, at most once a second, so that a clock that is set is followed.
    pub(crate) fn at(&self, now: Instant, wall: impl FnOnce() -> WallTime) -> DateText {
        if now >= self.until.get() {
            let WallTime(millis) = wall();
            self.text.set(imf_fixdate(millis / 1000));
            let rest = Duration::from_millis(1000 - millis % 1000);
            self.until.set(now + rest);
        }
        self.text.get()
    }
}

/// Writes the field.
pub(crate) fn write(out: &mut Vec<u8>, date: &DateText) {
    out.extend_from_slice(b"date: ");
    out.extend_from_slice(date);
    out.extend_from_slice(b"\r\n");
}

fn imf_fixdate(seconds: u64) -> DateText {
    let mut text = [b' '; 29];
    let time = UNIX_EPOCH + Duration::from_secs(seconds.min(LAST));
    write!(&mut text[..], "{}", HttpDate::from(time)).expect("it has 29 letters");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_an_imf_fixdate() {
        for (seconds, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
            (LAST, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(String::from_utf8_lossy(&imf_fixdate(seconds)), date);
        }
    }

    #[test]
    fn it_is_made_once_a_second_and_follows_a_clock_that_is_set() {
        let cache = DateCache::new();
        let at = |millis, wall: Option<u64>| {
            let now = Instant::ZERO + Duration::from_millis(millis);
            let date = cache.at(now, || WallTime(wall.expect("it is not asked")));
            String::from_utf8_lossy(&date[17..25]).into_owned()
        };
        assert_eq!(at(5_000, Some(86_400_700)), "00:00:00");
        assert_eq!(at(5_299, None), "00:00:00");
        assert_eq!(at(5_300, Some(86_401_000)), "00:00:01");
        assert_eq!(at(6_299, None), "00:00:01");
        assert_eq!(at(6_300, Some(3_600_000)), "01:00:00");
    }
}
