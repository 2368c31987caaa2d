//! The final report of the demo, and whether it succeeded. Pure: it evaluates what was gathered.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_fault::Incident;
use evenkeel_fault::incident::IncidentStatus;

use super::story::InjectedFault;

/// The result of one injected fault.
#[derive(Debug, Clone)]
pub(crate) struct ScenarioResult {
    /// The injected fault.
    pub(crate) injected_fault: InjectedFault,
    /// To which server.
    pub(crate) server: String,
    /// The incident that it became, as last seen.
    pub(crate) incident: Option<Arc<Incident>>,
}

/// Everything that the verdict is about.
#[derive(Debug, Clone, Default)]
pub(crate) struct DemoOutcome {
    /// One for each chapter that was begun.
    pub(crate) results: Vec<ScenarioResult>,
    /// How many chapters there are.
    pub(crate) chapters: usize,
    /// Requests whose time had come.
    pub(crate) sent: u64,
    /// Requests that failed.
    pub(crate) failed: u64,
    /// Requests that succeeded after a retry.
    pub(crate) saved_by_retry: u64,
    /// The median response time.
    pub(crate) p50: Duration,
    /// The 99th percentile.
    pub(crate) p99: Duration,
    /// The latest failures, in words.
    pub(crate) failures: Vec<String>,
}

impl ScenarioResult {
    /// The failed expectation, if any.
    fn complaint(&self) -> Option<String> {
        let Some(incident) = &self.incident else {
            return Some("not detected".to_owned());
        };
        let found = incident.diagnosis.first().map(|finding| finding.fault);
        let right = self.injected_fault.fault();
        if found != Some(right) {
            let found = found.map_or_else(|| "nothing".to_owned(), |found| found.to_string());
            return Some(format!("diagnosed as {found}, not as {right}"));
        }
        if incident.status != IncidentStatus::Closed {
            return Some(format!("not closed: {}", incident.status.word()));
        }
        match &incident.verification {
            Some(verification) if verification.outcome == "passed" => None,
            Some(verification) => Some(format!("verification {}", verification.outcome)),
            None => Some("not verified".to_owned()),
        }
    }
}

impl DemoOutcome {
    /// Everything that went wrong, in words; empty if the demo succeeded.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let told = |result: &ScenarioResult| {
            result.complaint().map(|why| {
                format!(
                    "{} ({}): {why}",
                    result.injected_fault.name(),
                    result.server
                )
            })
        };
        let mut complaints: Vec<String> = self.results.iter().filter_map(told).collect();
        if self.results.len() < self.chapters {
            complaints.push(format!(
                "only {} of {} faults were made",
                self.results.len(),
                self.chapters
            ));
        }
        if self.sent == 0 {
            complaints.push("no request was sent".to_owned());
        }
        if self.failed > 0 {
            complaints.push(format!("{} requests failed", self.failed));
        }
        complaints
    }

    /// The closing words.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let out = &mut text;
        let line =
            |out: &mut String, line: &str| writeln!(out, "{line}").expect("a string takes all");
        line(
            out,
            "fault      server            diagnosis            detection  diagnosis   recovery   restored in",
        );
        for result in &self.results {
            let Some(incident) = &result.incident else {
                line(
                    out,
                    &format!(
                        "{:<10} {:<17} not detected",
                        result.injected_fault.name(),
                        result.server
                    ),
                );
                continue;
            };
            let fault = incident
                .diagnosis
                .first()
                .map_or("none", |finding| finding.fault.word());
            let durations = &incident.durations_ms;
            let [detection, diagnosis, recovery, restored] = [
                durations.detection,
                durations.diagnosis,
                durations.recovery,
                durations.time_to_restore(),
            ]
            .map(millis);
            let name = result.injected_fault.name();
            let server = &result.server;
            let row = format!(
                "{name:<10} {server:<17} {fault:<19} {detection:>10} {diagnosis:>10} {recovery:>10} {restored:>13}"
            );
            line(out, &row);
        }
        line(out, "");
        let (sent, failed, saved) = (self.sent, self.failed, self.saved_by_retry);
        line(
            out,
            &format!("requests sent {sent}, failed {failed}, saved by retry {saved}"),
        );
        line(
            out,
            &format!(
                "response time p50 {}, p99 {}",
                short(self.p50),
                short(self.p99)
            ),
        );
        for failure in &self.failures {
            line(out, &format!("  failed: {failure}"));
        }
        line(out, "");
        let complaints = self.complaints();
        if complaints.is_empty() {
            line(
                out,
                "Every fault was detected, diagnosed, repaired and verified, and no request failed.",
            );
        } else {
            line(out, "Not as it should be:");
            for complaint in complaints {
                line(out, &format!("  {complaint}"));
            }
        }
        text
    }
}

fn millis(millis: Option<f64>) -> String {
    millis.map_or_else(
        || "-".to_owned(),
        |millis| short(Duration::from_secs_f64(millis.max(0.0) / 1000.0)),
    )
}

/// A duration in few characters: `85 µs`, `4.1 ms`, `312 ms`, `1.42 s`.
pub(crate) fn short(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    match micros {
        ..1_000.0 => format!("{micros:.0} µs"),
        ..10_000.0 => format!("{:.1} ms", micros / 1e3),
        ..1_000_000.0 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_fault::FaultKind;
    use evenkeel_fault::incident::{Durations, Finding, Impact, VerificationRecord};

    use super::*;

    fn incident(fault: FaultKind, status: IncidentStatus, verified: &str) -> Arc<Incident> {
        Arc::new(Incident {
            id: "2026-11-22-0001".to_owned(),
            drill: false,
            status,
            service: "shop".to_owned(),
            servers: vec!["one".to_owned()],
            onset: String::new(),
            detected: None,
            diagnosed: None,
            recovered: None,
            closed: None,
            durations_ms: Durations {
                detection: Some(0.4),
                diagnosis: Some(2.0),
                recovery: Some(1200.0),
                analysis: Some(1.0),
            },
            detected_by: "supervisor".to_owned(),
            diagnosis: vec![Finding {
                fault,
                confidence: 0.9,
                evidence: Vec::new(),
            }],
            actions: Vec::new(),
            verification: Some(VerificationRecord {
                outcome: verified.to_owned(),
                repaired_by: None,
                probes: 3,
                requests: 5,
            }),
            impact: Impact::default(),
            timeline: Vec::new(),
            end: None,
            analysis: None,
        })
    }

    fn outcome(incident: Option<Arc<Incident>>, failed: u64) -> DemoOutcome {
        let results = vec![ScenarioResult {
            injected_fault: InjectedFault::Kill,
            server: "one".to_owned(),
            incident,
        }];
        DemoOutcome {
            results,
            chapters: 1,
            sent: 1000,
            failed,
            ..DemoOutcome::default()
        }
    }

    #[test]
    fn success_needs_all_of_it() {
        let good = incident(FaultKind::ProcessCrashed, IncidentStatus::Closed, "passed");
        assert_eq!(
            outcome(Some(Arc::clone(&good)), 0).complaints(),
            Vec::<String>::new()
        );
        let cases = [
            (None, 0, "killed (one): not detected"),
            (Some(good), 3, "3 requests failed"),
            (
                Some(incident(
                    FaultKind::Unknown,
                    IncidentStatus::Closed,
                    "passed",
                )),
                0,
                "killed (one): diagnosed as unknown, not as process-crashed",
            ),
            (
                Some(incident(
                    FaultKind::ProcessCrashed,
                    IncidentStatus::Escalated,
                    "passed",
                )),
                0,
                "killed (one): not closed: escalated",
            ),
            (
                Some(incident(
                    FaultKind::ProcessCrashed,
                    IncidentStatus::Closed,
                    "failed",
                )),
                0,
                "killed (one): verification failed",
            ),
        ];
        for (incident, failed, complaint) in cases {
            assert_eq!(outcome(incident, failed).complaints(), [complaint]);
        }
        let mut early = outcome(None, 0);
        early.results.clear();
        assert_eq!(early.complaints(), ["only 0 of 1 faults were made"]);
    }

    #[test]
    fn durations_are_short() {
        let cases = [
            (85, "85 µs"),
            (4_100, "4.1 ms"),
            (312_000, "312 ms"),
            (1_420_000, "1.42 s"),
        ];
        for (micros, text) in cases {
            assert_eq!(short(Duration::from_micros(micros)), text);
        }
    }
}
