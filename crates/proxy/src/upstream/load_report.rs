//! Answers in which a server says how busy it is: a field with an ORCA load report (Open Request Cost Aggregation, as
//! text or JSON), or with a plain number.
//!
//! What is not understood as a whole is not taken: a wrong number would move traffic. The binary form (`BIN`) is not read.

use evenkeel_balance::ServerState;
use evenkeel_core::metric::Sink;
use evenkeel_http1::ResponseHead;
use serde::Deserialize;

/// Longer reports are not looked at.
const MOST_BYTES: usize = 4096;
/// A server cannot be busier than this: what says so is a percentage, or nonsense.
const MOST: f64 = 100.0;

/// What counts of a report in JSON. A field twice is an error; others are passed over.
#[derive(Debug, Deserialize)]
struct LoadReport {
    #[serde(default, alias = "applicationUtilization")]
    application_utilization: Option<f64>,
    #[serde(default, alias = "cpuUtilization")]
    cpu_utilization: Option<f64>,
}

/// How busy the server is by the field `name` of this answer, if it says so. `bytes` are those of the head.
pub(crate) fn reported(head: &ResponseHead, bytes: &[u8], name: &str) -> Option<f64> {
    utilization(head.header(bytes, name)?)
}

/// The utilization in a field's value: 0 is idle, 1 is all that there is.
fn utilization(value: &[u8]) -> Option<f64> {
    if value.len() > MOST_BYTES {
        return None;
    }
    let value = std::str::from_utf8(value).ok()?.trim_ascii();
    let (application, cpu) = match value.split_once(' ') {
        Some(("TEXT", pairs)) => of_pairs(pairs)?,
        Some(("JSON", report)) => {
            let report: LoadReport = serde_json::from_str(report).ok()?;
            (report.application_utilization, report.cpu_utilization)
        }
        _ => return plain(value),
    };
    let in_bounds = |load: &f64| (0.0..=MOST).contains(load);
    let all_good = [application, cpu].iter().flatten().all(in_bounds);
    // What the application says is the better word, as long as it says something.
    let chosen = application
        .filter(|load| *load > 0.0)
        .or(cpu)
        .or(application);
    chosen.filter(|_| all_good)
}

/// `cpu_utilization=0.3, mem_utilization=0.8, named_metrics.queue=4`: what the application and the processor say.
fn of_pairs(pairs: &str) -> Option<(Option<f64>, Option<f64>)> {
    let (mut application, mut cpu) = (None, None);
    for pair in pairs.split(',') {
        let (name, value) = pair.split_once('=')?;
        let value = number(value.trim_ascii())?;
        let slot = match name.trim_ascii() {
            "application_utilization" => &mut application,
            "cpu_utilization" => &mut cpu,
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return None;
        }
    }
    Some((application, cpu))
}

/// `0.75` or `75%`.
fn plain(value: &str) -> Option<f64> {
    let load = match value.strip_suffix('%') {
        Some(percent) => number(percent.trim_ascii())? / 100.0,
        None => number(value)?,
    };
    (load <= 1.0).then_some(load)
}

/// A number of digits that is not below zero, without the words that Rust takes as well.
fn number(text: &str) -> Option<f64> {
    let is_part =
        |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
    let begins = text.as_bytes().first()?.is_ascii_digit();
    let number: f64 = text.parse().ok()?;
    (begins && text.bytes().all(is_part) && number.is_finite()).then_some(number)
}

/// Shows what a server said last, if it ever did.
pub(crate) fn collect(sink: &mut dyn Sink, labels: &[(&str, &str)], state: &ServerState) {
    if let Some((load, _)) = state.reported_load() {
        let about = "How busy a server said last that it is: 0 is idle, 1 is all that it can do.";
        sink.gauge("evenkeel_server_reported_load", about, labels, load);
        let about = "The part of its share that the load a server reports leaves it.";
        let share = state.load_share();
        sink.gauge("evenkeel_server_load_share", about, labels, share);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Option<f64> {
        utilization(value.as_bytes())
    }

    #[test]
    fn the_published_examples() {
        let text = "TEXT cpu_utilization=0.3, mem_utilization=0.8, rps_fractional=10.0, eps=1, \
                    named_metrics.custom_metric_util=0.4";
        let json = "JSON {\"cpu_utilization\": 0.3, \"mem_utilization\": 0.8, \"rps_fractional\": 10.0, \"eps\": 1, \
                    \"named_metrics\": {\"custom-metric-util\": 0.4}}";
        assert_eq!((of(text), of(json)), (Some(0.3), Some(0.3)));
    }

    #[test]
    fn application_utilization_takes_precedence_over_cpu() {
        for (value, load) in [
            (
                "TEXT application_utilization=0.8,cpu_utilization=0.7,rps_fractional=120",
                0.8,
            ),
            ("TEXT cpu_utilization=0.7,application_utilization=0", 0.7),
            ("TEXT application_utilization=0.0", 0.0),
            ("TEXT cpu_utilization=1.5", 1.5),
            ("TEXT cpu_utilization=1e-05", 1e-5),
            (
                "JSON {\"applicationUtilization\": 0.8, \"cpuUtilization\": 0.7}",
                0.8,
            ),
            (
                "JSON {\"application_utilization\": 0, \"cpu_utilization\": 0.7, \"utilization\": {\"a\": 1}}",
                0.7,
            ),
            ("0", 0.0),
            ("1", 1.0),
            ("0.75", 0.75),
            ("75%", 0.75),
            ("100 %", 1.0),
        ] {
            assert_eq!(of(value), Some(load), "{value}");
        }
    }

    #[test]
    fn what_is_not_understood_is_not_taken() {
        for value in [
            "",
            "TEXT",
            "TEXT ",
            "text cpu_utilization=0.5",
            "TEXT cpu_utilization",
            "TEXT cpu_utilization=",
            "TEXT cpu_utilization=x",
            "TEXT cpu_utilization=NaN",
            "TEXT cpu_utilization=inf",
            "TEXT cpu_utilization=-0.1",
            "TEXT cpu_utilization=+0.1",
            "TEXT cpu_utilization=.5",
            "TEXT cpu_utilization=101",
            "TEXT cpu_utilization=1e999",
            "TEXT cpu_utilization=0.5,cpu_utilization=0.6",
            "TEXT cpu_utilization=0.5,",
            "TEXT cpu_utilization=0.5,eps",
            "TEXT mem_utilization=0.5",
            "TEXT cpu_utilization=0.5,application_utilization=500",
            "JSON",
            "JSON {",
            "JSON []",
            "JSON 0.5",
            "JSON {\"cpu_utilization\": \"0.5\"}",
            "JSON {\"cpu_utilization\": NaN}",
            "JSON {\"cpu_utilization\": 0.5, \"cpu_utilization\": 0.6}",
            "JSON {\"cpu_utilization\": 0.5} x",
            "JSON {\"cpu_utilization\": -1}",
            "JSON {\"mem_utilization\": 0.5}",
            "BIN AAAA",
            "1.01",
            "101%",
            "-1",
            "5",
            "%",
            "0x1",
            "busy",
            "nan",
            "0.5 0.6",
            "0,5",
        ] {
            assert_eq!(of(value), None, "{value}");
        }
        let deep = format!(
            "JSON {{\"a\": {}1{}}}",
            "[".repeat(1_000),
            "]".repeat(1_000)
        );
        assert_eq!(of(&deep), None);
        let long = format!("TEXT cpu_utilization=0.5,a={}", "1".repeat(MOST_BYTES));
        assert_eq!(of(&long), None);
        assert_eq!(utilization(b"\xff"), None);
    }
}
