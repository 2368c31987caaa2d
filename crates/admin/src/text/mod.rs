//! The command line's output as text: pure functions of what the admin API returned.
//!
//! Names, evidence and server output are untrusted. Control characters in them are shown as `\u{1b}`, so that nothing a
//! server printed can control the operator's terminal.

mod incident;
mod instance;
mod list;
mod markdown;
mod status;
mod table;
mod why;

use evenkeel_core::is_control_or_bidi;
use evenkeel_http1::write;

pub use incident::incident;
pub use instance::{instance, runtime_change};
pub use list::{incidents, reports};
pub use markdown::incident_markdown;
pub use status::status;
pub use why::why;

/// The message of an unsuccessful response: the `error` of its body, or its status.
#[must_use]
pub fn error_of(status: u16, body: &str) -> String {
    let value: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let error = value
        .as_ref()
        .and_then(|value| value.get("error")?.as_str());
    error.map_or_else(
        || format!("answered {status} {}", write::reason(status)),
        str::to_owned,
    )
}

/// `text` without control characters and without letters that change the direction of writing.
#[must_use]
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\t' => out.push(' '),
            letter if is_control_or_bidi(letter) => out.extend(letter.escape_default()),
            letter => out.push(letter),
        }
    }
    out
}

/// A duration in milliseconds, in the unit that suits it, with three digits or so.
#[must_use]
pub fn duration(ms: f64) -> String {
    if !ms.is_finite() || ms < 0.0 {
        return "-".to_owned();
    }
    match ms {
        ms if ms < 0.0005 => "0 ms".to_owned(),
        ms if ms < 1.0 => format!("{ms:.2} ms"),
        ms if ms < 9.95 => format!("{ms:.1} ms"),
        ms if ms < 999.5 => format!("{ms:.0} ms"),
        ms if ms < 59_950.0 => format!("{:.1} s", ms / 1e3),
        ms if ms < 3_599_500.0 => {
            let seconds = whole(ms / 1e3);
            format!("{} min {} s", seconds / 60, seconds % 60)
        }
        ms => {
            let minutes = whole(ms / 60_000.0);
            format!("{} h {} min", minutes / 60, minutes % 60)
        }
    }
}

fn maybe_duration(ms: Option<f64>) -> String {
    ms.map_or_else(|| "-".to_owned(), duration)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "durations are not negative; a cast from a float saturates"
)]
fn whole(number: f64) -> u64 {
    number.round() as u64
}

/// A share as percent, with as many nines as there are.
fn percent(share: f64) -> String {
    let text = format!("{:.3}", share * 100.0);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    // A partial list is not shown as if it were complete.
    let text = if text == "100" && share < 1.0 {
        "99.999"
    } else {
        text
    };
    format!("{text} %")
}

/// A number per second, with three digits or so.
#[must_use]
pub fn rate(per_second: f64) -> String {
    match per_second {
        number if !number.is_finite() || number < 0.0 => "-".to_owned(),
        number if number < 0.005 => "0".to_owned(),
        number if number < 9.95 => format!("{number:.2}")
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned(),
        number if number < 99.95 => format!("{number:.1}"),
        number => format!("{number:.0}"),
    }
}

/// Bytes per second, in the unit that suits it: `12.3 kB/s`.
#[must_use]
pub fn throughput(bytes_per_second: f64) -> String {
    let mut number = bytes_per_second;
    for unit in ["B/s", "kB/s", "MB/s", "GB/s"] {
        if number.is_nan() || number < 999.5 {
            return format!("{} {unit}", rate(number));
        }
        number /= 1e3;
    }
    format!("{} TB/s", rate(number))
}

/// A share as percent, to a tenth.
#[must_use]
pub fn share(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn maybe_share(number: Option<f64>) -> String {
    number.map_or_else(|| "-".to_owned(), share)
}

/// `1 request`, `2 requests`.
fn count(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{ending}")
}

/// The time of day of a timestamp, for lines below one that has the date: `10:00:01.250` of `2026-11-22T10:00:01.250Z`.
fn time_of_day(timestamp: &str) -> String {
    match timestamp.split_once('T') {
        Some((_, time)) => clean(time.trim_end_matches('Z')),
        None => clean(timestamp),
    }
}

/// A timestamp to the second, for lists: `2026-11-22 10:00:01`.
fn to_the_second(timestamp: &str) -> String {
    let text = timestamp.get(..19).unwrap_or(timestamp);
    clean(text).replacen('T', " ", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_the_cursor() {
        assert_eq!(
            clean("a\u{1b}[2Jb\r\nc\td\u{9b}é\u{202e}"),
            "a\\u{1b}[2Jb\\r\\nc d\\u{9b}é\\u{202e}"
        );
    }

    #[test]
    fn durations_have_a_fitting_unit() {
        for (ms, text) in [
            (0.0, "0 ms"),
            (0.12, "0.12 ms"),
            (1.0, "1.0 ms"),
            (9.94, "9.9 ms"),
            (9.96, "10 ms"),
            (412.4, "412 ms"),
            (999.6, "1.0 s"),
            (12_340.0, "12.3 s"),
            (59_960.0, "1 min 0 s"),
            (61_000.0, "1 min 1 s"),
            (3_599_400.0, "59 min 59 s"),
            (3_599_999.0, "1 h 0 min"),
            (3_600_000.0, "1 h 0 min"),
            (-1.0, "-"),
            (f64::NAN, "-"),
        ] {
            assert_eq!(duration(ms), text, "{ms}");
        }
    }

    #[test]
    fn rates_have_a_fitting_unit() {
        for (number, text) in [
            (0.0, "0"),
            (0.1, "0.1"),
            (1.0, "1"),
            (1.25, "1.25"),
            (42.34, "42.3"),
            (120.25, "120"),
            (f64::NAN, "-"),
        ] {
            assert_eq!(rate(number), text, "{number}");
        }
        for (number, text) in [
            (0.0, "0 B/s"),
            (999.4, "999 B/s"),
            (999.6, "1 kB/s"),
            (12_345.0, "12.3 kB/s"),
            (4_567_890.0, "4.57 MB/s"),
            (2e12, "2 TB/s"),
            (9e15, "9000 TB/s"),
        ] {
            assert_eq!(throughput(number), text, "{number}");
        }
    }

    #[test]
    fn percentages_are_rounded_down() {
        for (share, text) in [
            (1.0, "100 %"),
            (0.0, "0 %"),
            (0.5, "50 %"),
            (0.999_999_9, "99.999 %"),
            (0.98765, "98.765 %"),
        ] {
            assert_eq!(percent(share), text);
        }
    }

    #[test]
    fn times_are_shortened() {
        assert_eq!(time_of_day("2026-11-22T10:00:01.250Z"), "10:00:01.250");
        assert_eq!(time_of_day("rubbish"), "rubbish");
        assert_eq!(
            to_the_second("2026-11-22T10:00:01.250Z"),
            "2026-11-22 10:00:01"
        );
        assert_eq!(to_the_second("é"), "é");
    }
}
