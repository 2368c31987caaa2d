//! Measurements taken during a soak test, and the verdict that follows from them.

use std::io;
use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_runtime::Clock;

use crate::pause;

use super::clients::ClientCounts;
use super::instance::{Instance, SoakIncident};

/// Memory counts as flat if the last quarter's median is at most this much above that of the second quarter …
const GROWTH: f64 = 0.08;
/// … or at most this many bytes: allocators do not release everything at once.
const GROWTH_BYTES: f64 = 3.0 * 1024.0 * 1024.0;

/// A disturbance of evenkeel itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disturbance {
    LogReaderGone,
    DescriptorsExhausted,
    Stopped,
}

impl Disturbance {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::LogReaderGone => "the reader of its log goes away",
            Self::DescriptorsExhausted => "its descriptors are exhausted for 20 s",
            Self::Stopped => "it is stopped for 12 s",
        }
    }
}

/// One sample of evenkeel's state.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    at: Duration,
    resident: u64,
    descriptors: usize,
    /// Clients' connections.
    connections: u64,
    /// Attempts in flight, over all servers.
    in_flight: u64,
    /// Requests in queues.
    waiting: u64,
}

impl Sample {
    pub(super) const TITLE: &str =
        "    time   memory KiB  descriptors  connections  in flight  in queues    exchanges";

    pub(super) fn take(instance: &Instance, at: Duration) -> io::Result<Self> {
        let metrics = instance.metrics()?;
        let sum = |name: &str| sum_of(&metrics, name);
        Ok(Self {
            at,
            resident: instance.resident()?,
            descriptors: instance.descriptors()?,
            connections: sum("evenkeel_connections_open"),
            in_flight: sum("evenkeel_server_in_flight"),
            waiting: sum("evenkeel_queue_waiting"),
        })
    }

    pub(super) fn row(&self, counts: &ClientCounts) -> String {
        format!(
            "{:>6.0} s {:>12} {:>12} {:>12} {:>10} {:>10} {:>12}",
            self.at.as_secs_f64(),
            self.resident / 1024,
            self.descriptors,
            self.connections,
            self.in_flight,
            self.waiting,
            counts.total()
        )
    }

    const fn is_quiet(&self) -> bool {
        self.connections == 0 && self.in_flight == 0 && self.waiting == 0
    }
}

/// The sum of a metric over its labels, as a whole number.
fn sum_of(metrics: &str, name: &str) -> u64 {
    let values = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let is_it = rest.starts_with([' ', '{']);
        let value: f64 = rest.rsplit(' ').next()?.parse().ok()?;
        is_it.then_some(value)
    });
    let sum: f64 = values.sum();
    Duration::try_from_secs_f64(sum).map_or(0, |whole| whole.as_secs())
}

/// Waits until nothing is in flight, at most for `limit`; returns the last sample.
pub(super) fn settle(instance: &Instance, clock: &Clock, limit: Duration) -> io::Result<Sample> {
    let end = clock.now() + limit;
    loop {
        pause(Duration::from_secs(1))?;
        let sample = Sample::take(instance, clock.now().since(Instant::ZERO))?;
        if sample.is_quiet() || clock.now() > end {
            return Ok(sample);
        }
    }
}

/// All that was seen.
#[derive(Debug)]
pub(super) struct SoakEvidence<'a> {
    pub(super) started: &'a Sample,
    pub(super) samples: &'a [Sample],
    pub(super) last: &'a Sample,
    pub(super) counts: &'a ClientCounts,
    /// Requests that held bytes of something else.
    pub(super) mixed_at_servers: u64,
    pub(super) incidents: &'a [SoakIncident],
}

/// The failed expectations, as sentences; none if it passed.
pub(super) fn findings(seen: &SoakEvidence<'_>) -> Vec<String> {
    let mut findings = Vec::new();
    let mixed = seen.counts.mixed + seen.mixed_at_servers;
    if mixed > 0 {
        findings.push(format!("{mixed} exchanges held bytes of another one"));
    }
    if !seen.last.is_quiet() {
        findings.push(format!(
            "after the load {} connections, {} attempts and {} queue places are left",
            seen.last.connections, seen.last.in_flight, seen.last.waiting
        ));
    }
    // Kept connections to the servers may remain for a while.
    if seen.last.descriptors > seen.started.descriptors + 64 {
        findings.push(format!(
            "it began with {} descriptors and ends with {}",
            seen.started.descriptors, seen.last.descriptors
        ));
    }
    findings.extend(growth(seen.samples));
    for incident in seen.incidents {
        // evenkeel reports what the soak test does to it.
        let is_own = incident.service == "evenkeel" && incident.servers.is_empty();
        let is_deserved = incident.servers == ["faulty"];
        if !is_own && !is_deserved {
            findings.push(format!(
                "a server that did nothing wrong was blamed: {}",
                incident.text()
            ));
        }
    }
    let (failed, all) = seen.counts.undeserved();
    if failed > 0 {
        findings.push(format!(
            "{failed} of {all} exchanges failed in calm times without a fault of client or server"
        ));
    }
    findings
}

fn growth(samples: &[Sample]) -> Option<String> {
    let quarter = samples.len() / 4;
    let median = |part: &[Sample]| {
        crate::bench::report::median(part.iter().map(|sample| sample.resident as f64).collect())
    };
    let before = median(samples.get(quarter..2 * quarter)?)?;
    let after = median(samples.get(3 * quarter..)?)?;
    let grew = after - before;
    (grew > GROWTH_BYTES && grew > before * GROWTH).then(|| {
        format!(
            "memory grew from {:.0} KiB to {:.0} KiB between the second and the last quarter",
            before / 1024.0,
            after / 1024.0
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: u64, resident: u64) -> Sample {
        Sample {
            at: Duration::from_secs(at),
            resident,
            descriptors: 20,
            connections: 0,
            in_flight: 0,
            waiting: 0,
        }
    }

    #[test]
    fn a_metric_is_summed_over_its_labels_and_no_other_is() {
        let text = "# TYPE a gauge\na{s=\"1\"} 2\na{s=\"2\"} 3\na_total 7\na 1\n";
        assert_eq!(sum_of(text, "a"), 6);
    }

    #[test]
    fn steady_memory_is_no_finding_and_growing_memory_is() {
        let steady: Vec<_> = (0..40).map(|at| sample(at, 50 << 20)).collect();
        assert_eq!(growth(&steady), None);
        let growing: Vec<_> = (0..40).map(|at| sample(at, (50 + at) << 20)).collect();
        assert!(growth(&growing).is_some());
    }

    #[test]
    fn what_is_left_over_and_wrong_blame_are_findings() {
        let (first, mut last) = (sample(0, 1), sample(9, 1));
        last.in_flight = 1;
        let incident = |name: &str| SoakIncident {
            id: "1".to_owned(),
            service: "plain".to_owned(),
            servers: vec![name.to_owned()],
            fault: "error-burst".to_owned(),
            detected: String::new(),
            evidence: Vec::new(),
        };
        let own = SoakIncident {
            service: "evenkeel".to_owned(),
            servers: Vec::new(),
            ..incident("")
        };
        let incidents = [incident("faulty"), incident("good-1"), own];
        let found = findings(&SoakEvidence {
            started: &first,
            samples: &[],
            last: &last,
            counts: &ClientCounts::default(),
            mixed_at_servers: 0,
            incidents: &incidents,
        });
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
