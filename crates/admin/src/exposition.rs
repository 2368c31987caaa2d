//! Metrics in the Prometheus text format 0.0.4.
//!
//! Sources emit samples in any order; the format requires the samples of a metric to be grouped under one HELP and
//! TYPE, without duplicates. Counters and histograms with the same labels (several workers) are summed; of several
//! gauges the last one wins.

use std::collections::HashMap;
use std::fmt::Write as _;

use evenkeel_core::metric::{DURATION_BOUNDS_SECONDS, DurationSnapshot, Sink};

/// A page of metrics under construction.
#[derive(Debug, Default)]
pub struct Exposition {
    families: Vec<MetricFamily>,
    places: HashMap<&'static str, usize>,
}

#[derive(Debug)]
struct MetricFamily {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
    samples: Vec<(String, SampleValue)>,
    places: HashMap<String, usize>,
}

#[derive(Debug, Clone, Copy)]
enum SampleValue {
    Counter(u64),
    Gauge(f64),
    Durations(DurationSnapshot),
}

impl Exposition {
    /// The `Content-Type` of [`Exposition::text`].
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// The page: names and samples in the order in which they came first.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        for family in &self.families {
            let MetricFamily { name, kind, .. } = family;
            out.push_str("# HELP ");
            out.push_str(name);
            out.push(' ');
            escape(&mut out, family.help, false);
            line(&mut out, format_args!("\n# TYPE {name} {kind}"));
            for (labels, value) in &family.samples {
                sample(&mut out, name, labels, value);
            }
        }
        out
    }

    fn add(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        value: SampleValue,
    ) {
        debug_assert!(
            is_name(name) && labels.iter().all(|(label, _)| is_name(label)),
            "{name} {labels:?}"
        );
        let kind = value.kind();
        let place = *self.places.entry(name).or_insert_with(|| {
            let samples = Vec::new();
            self.families.push(MetricFamily {
                name,
                help,
                kind,
                samples,
                places: HashMap::new(),
            });
            self.families.len() - 1
        });
        let family = &mut self.families[place];
        debug_assert_eq!(family.kind, kind, "{name} is of one kind");
        let labels = written(labels);
        match family.places.get(&labels) {
            Some(&place) => family.samples[place].1.take_in(value),
            None => {
                family.places.insert(labels.clone(), family.samples.len());
                family.samples.push((labels, value));
            }
        }
    }
}

impl Sink for Exposition {
    fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        value: u64,
    ) {
        self.add(name, help, labels, SampleValue::Counter(value));
    }

    fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        value: f64,
    ) {
        self.add(name, help, labels, SampleValue::Gauge(value));
    }

    fn durations(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        value: &DurationSnapshot,
    ) {
        self.add(name, help, labels, SampleValue::Durations(*value));
    }
}

impl SampleValue {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Counter(_) => "counter",
            Self::Gauge(_) => "gauge",
            Self::Durations(_) => "histogram",
        }
    }

    fn take_in(&mut self, other: Self) {
        match (self, other) {
            (Self::Counter(mine), Self::Counter(theirs)) => *mine = mine.saturating_add(theirs),
            (Self::Durations(mine), Self::Durations(theirs)) => mine.merge(&theirs),
            (Self::Gauge(mine), Self::Gauge(theirs)) => *mine = theirs,
            // Two kinds under one name, which tests find; the first stays.
            (Self::Counter(_) | Self::Gauge(_) | Self::Durations(_), _) => {}
        }
    }
}

fn sample(out: &mut String, name: &str, labels: &str, value: &SampleValue) {
    let braced = if labels.is_empty() {
        String::new()
    } else {
        format!("{{{labels}}}")
    };
    match value {
        SampleValue::Counter(value) => line(out, format_args!("{name}{braced} {value}")),
        SampleValue::Gauge(value) => line(out, format_args!("{name}{braced} {}", number(*value))),
        SampleValue::Durations(snapshot) => {
            let comma = if labels.is_empty() { "" } else { "," };
            let mut below = 0_u64;
            let bounds = DURATION_BOUNDS_SECONDS
                .iter()
                .map(|bound| number(*bound))
                .chain(["+Inf".to_owned()]);
            for (count, bound) in snapshot.counts.iter().zip(bounds) {
                below = below.saturating_add(*count);
                line(
                    out,
                    format_args!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {below}"),
                );
            }
            let sum = number(snapshot.sum_nanos as f64 / 1e9);
            line(
                out,
                format_args!("{name}_sum{braced} {sum}\n{name}_count{braced} {below}"),
            );
        }
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("a String takes everything");
}

fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    value.to_string()
}

fn written(labels: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in labels {
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(name);
        out.push_str("=\"");
        escape(&mut out, value, true);
        out.push('"');
    }
    out
}

fn escape(out: &mut String, text: &str, quotes: bool) {
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            _ => out.push(letter),
        }
    }
}

fn is_name(name: &str) -> bool {
    let rest = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    rest && name
        .bytes()
        .next()
        .is_some_and(|first| !first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evenkeel_core::metric::DurationHistogram;

    use super::*;

    #[test]
    fn the_same_labels_come_once() {
        let histogram = DurationHistogram::default();
        histogram.add_from_owner(Duration::from_millis(1));
        let mut page = Exposition::default();
        for value in [1.0, 7.0] {
            page.gauge("g", "h", &[("a", "b")], value);
            page.durations("d_seconds", "h", &[("a", "b")], &histogram.snapshot());
        }
        let text = page.text();
        assert!(
            text.contains("g{a=\"b\"} 7\n") && !text.contains("} 1\ng"),
            "{text}"
        );
        assert!(text.contains("d_seconds_count{a=\"b\"} 2\n"), "{text}");
        assert_eq!(text.matches("d_seconds_sum").count(), 1, "{text}");
    }

    #[test]
    fn an_empty_page_is_empty() {
        assert_eq!(Exposition::default().text(), "");
    }
}
