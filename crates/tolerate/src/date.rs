//! Dates as HTTP writes them (RFC 9110, section 5.6.7): the form that is sent today and the two old ones that must still be read.
//!
//! Here and not from a crate: a calendar for one header, in a crate that has no clock. Strict: what is a little wrong is no date.

use std::time::{Duration, SystemTime};

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const DAY: u64 = 86_400;

/// The moment that `value` names, if it is a date from 1970 on. `now` settles a year of two digits: it is not more than 50 years
/// ahead.
pub(crate) fn parse(value: &[u8], now: SystemTime) -> Option<SystemTime> {
    // Sun, 06 Nov 1994 08:49:37 GMT | Sunday, 06-Nov-94 08:49:37 GMT | Sun Nov  6 08:49:37 1994
    let seconds = match value.iter().position(|byte| *byte == b',') {
        Some(3) => fixed(value)?,
        Some(comma) => old(value, comma, now)?,
        None => asctime(value)?,
    };
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// As the other two: seconds since 1970.
fn fixed(value: &[u8]) -> Option<u64> {
    let shape = short_day(value)
        && value.len() == 29
        && part(value, 3, b", ")
        && part(value, 7, b" ")
        && part(value, 11, b" ")
        && part(value, 16, b" ")
        && part(value, 25, b" GMT");
    if !shape {
        return None;
    }
    moment(
        number(value, 12, 4)?,
        month(value, 8)?,
        number(value, 5, 2)?,
        time(value, 17)?,
    )
}

fn old(value: &[u8], comma: usize, now: SystemTime) -> Option<u64> {
    let (name, rest) = value.split_at(comma);
    DAYS.iter().find(|day| day.as_bytes() == name)?;
    let shape = rest.len() == 24
        && part(rest, 0, b", ")
        && part(rest, 4, b"-")
        && part(rest, 8, b"-")
        && part(rest, 11, b" ")
        && part(rest, 20, b" GMT");
    if !shape {
        return None;
    }
    let since = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    // Exact enough for a bound of fifty years.
    let this = 1970 + since.as_secs() / (DAY * 146_097 / 400);
    let year = this - this % 100 + 100 + number(rest, 9, 2)?;
    let back = if year > this + 150 {
        200
    } else if year > this + 50 {
        100
    } else {
        0
    };
    moment(
        year - back,
        month(rest, 5)?,
        number(rest, 2, 2)?,
        time(rest, 12)?,
    )
}

fn asctime(value: &[u8]) -> Option<u64> {
    let shape = short_day(value)
        && value.len() == 24
        && part(value, 3, b" ")
        && part(value, 7, b" ")
        && part(value, 10, b" ")
        && part(value, 19, b" ");
    if !shape {
        return None;
    }
    let day = if value[8] == b' ' {
        number(value, 9, 1)?
    } else {
        number(value, 8, 2)?
    };
    moment(
        number(value, 20, 4)?,
        month(value, 4)?,
        day,
        time(value, 11)?,
    )
}

fn short_day(value: &[u8]) -> bool {
    DAYS.iter()
        .any(|day| value.get(..3) == day.as_bytes().get(..3))
}

fn part(value: &[u8], at: usize, expected: &[u8]) -> bool {
    value.get(at..at + expected.len()) == Some(expected)
}

fn number(value: &[u8], at: usize, length: usize) -> Option<u64> {
    crate::propagate::digits(value.get(at..at + length)?, length)
}

/// From 1.
fn month(value: &[u8], at: usize) -> Option<u64> {
    let name = value.get(at..at + 3)?;
    let index = MONTHS.iter().position(|month| *month == name)?;
    Some(index as u64 + 1)
}

/// `08:49:37` as seconds of the day.
fn time(value: &[u8], at: usize) -> Option<u64> {
    let (hour, minute, second) = (
        number(value, at, 2)?,
        number(value, at + 3, 2)?,
        number(value, at + 6, 2)?,
    );
    let shape = part(value, at + 2, b":") && part(value, at + 5, b":");
    // A leap second is the next minute's first.
    (shape && hour < 24 && minute < 60 && second <= 60)
        .then_some(hour * 3_600 + minute * 60 + second)
}

fn moment(year: u64, month: u64, day: u64, time: u64) -> Option<u64> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if year < 1970 || !(1..=length).contains(&day) {
        return None;
    }
    // Years begin in March, so that the leap day is the last.
    let (year_from_march, month_from_march) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * year_from_march + year_from_march / 4 - year_from_march / 100
        + year_from_march / 400
        + (153 * month_from_march + 2) / 5
        + day
        - 1;
    // 719,468 days from March of the year 0 to 1970.
    Some((days - 719_468) * DAY + time)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn seconds(text: &str) -> Option<u64> {
        // 2026-11-23.
        let date = parse(text.as_bytes(), at(1_795_392_000))?;
        let since = date.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(since.as_secs())
    }

    /// The examples of RFC 9110, and days around which calendars go wrong.
    #[test]
    fn dates_of_the_three_forms() {
        for (text, expected) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 784_111_777),
            ("Sun Nov  6 08:49:37 1994", 784_111_777),
            ("Wed Nov 16 08:49:37 1994", 784_975_777),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Tue, 29 Feb 2000 23:59:59 GMT", 951_868_799),
            ("Wed, 01 Mar 2000 00:00:00 GMT", 951_868_800),
            ("Fri, 31 Dec 2027 23:59:60 GMT", 1_830_297_600),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799),
            // Fifty years ahead is ahead, more is long ago.
            ("Monday, 23-Nov-76 00:00:00 GMT", 3_373_315_200),
            ("Wednesday, 23-Nov-77 00:00:00 GMT", 249_091_200),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_a_little_wrong_is_no_date() {
        for text in [
            "",
            ",",
            "Sun,",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 29 Feb 1900 08:49:37 GMT",
            "Sun, 29 Feb 2026 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Sun, 06 Nov 1994 08-49-37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06 Nov +994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            "Sun, 06-Nov-94 08:49:37 GMT",
            "Sunday, 06 Nov 1994 08:49:37 GMT",
            "Sun Nov  6 08:49:37 94",
            "Sun Nov 06 08:49:37 1994 GMT",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn bytes_of_any_kind(value: Vec<u8>, text in "[A-Za-z]{3,9},? [ -~]{10,30}", now in 0_u64..1 << 40) {
            let _date: Option<SystemTime> = parse(&value, at(now));
            let _date: Option<SystemTime> = parse(text.as_bytes(), at(now));
        }
    }
}
