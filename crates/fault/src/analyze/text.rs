//! The report in words: what happened, why, what to change. One sentence per fact, each taken from the record.

use crate::incident::{ActionOutcome, Analysis, Incident};
use crate::kind::FaultKind;

use super::Similar;

/// So many similar incidents are named.
const SIMILAR: usize = 5;

/// Writes the report of `incident`; `before` are earlier incidents, oldest first.
#[must_use]
pub fn analysis<'a>(
    incident: &Incident,
    before: impl DoubleEndedIterator<Item = &'a Similar>,
) -> Analysis {
    let fault = incident
        .diagnosis
        .first()
        .map_or(FaultKind::Unknown, |finding| finding.fault);
    let similar: Vec<String> = before
        .rev()
        .filter(|other| other.service == incident.service && other.fault == fault)
        .take(SIMILAR)
        .map(|other| other.id.clone())
        .collect();
    Analysis {
        summary: summary(incident, fault),
        cause: cause(incident, fault),
        recommendations: recommendations(incident, fault, similar.len()),
        similar,
    }
}

fn summary(incident: &Incident, fault: FaultKind) -> String {
    let done: Vec<&str> = incident
        .actions
        .iter()
        .filter(|action| action.outcome == Some(ActionOutcome::Done))
        .map(|action| action.action.as_str())
        .collect();
    let repair = match (incident.recovered.is_some(), done.is_empty()) {
        (true, false) => format!("evenkeel did: {}; the repair was verified", done.join(", ")),
        (true, true) => "it became well without an action of evenkeel".to_owned(),
        (false, false) => format!("evenkeel did: {}; a person closed it", done.join(", ")),
        (false, true) => "a person closed it".to_owned(),
    };
    let time = incident
        .durations_ms
        .time_to_restore()
        .map_or_else(String::new, |millis| {
            format!(" It took {millis:.0} ms from onset to recovery.")
        });
    format!(
        "Server {} of service {}: {}, noticed by {}; {repair}.{time} Of {} requests meanwhile {} failed; retries saved {}.",
        incident.servers.join(", "),
        incident.service,
        in_words(fault),
        incident.detected_by,
        incident.impact.requests,
        incident.impact.failed,
        incident.impact.saved_by_retry
    )
}

fn cause(incident: &Incident, fault: FaultKind) -> String {
    let evidence = incident
        .diagnosis
        .first()
        .map_or(&[][..], |finding| &finding.evidence);
    let first: Vec<&str> = evidence.iter().take(3).map(String::as_str).collect();
    if first.is_empty() {
        in_words(fault).to_owned()
    } else {
        format!("{}: {}", in_words(fault), first.join("; "))
    }
}

const fn in_words(fault: FaultKind) -> &'static str {
    match fault {
        FaultKind::ProcessCrashed => "its process ended by itself",
        FaultKind::CrashLoop => "its process ended again and again soon after its start",
        FaultKind::OutOfMemory => "the kernel killed its process for want of memory",
        FaultKind::ProcessHung => "it took connections and answered none",
        FaultKind::PortTaken => "another process listened on its port",
        FaultKind::NotListening => "nothing listened at its address",
        FaultKind::CannotStart => "its process could not be started or ended before it was ready",
        FaultKind::Unreachable => "its address could not be reached",
        FaultKind::DnsFailure => "its name did not resolve",
        FaultKind::TlsFailure => "its TLS handshake failed",
        FaultKind::ErrorBurst => "it answered too often with errors",
        FaultKind::BadDeploy => "it failed after a change of version or configuration",
        FaultKind::PoisonRequest => "a certain request brought it down",
        FaultKind::DependencyFailure => "something that it depends on failed",
        FaultKind::Overload => "it got more work than it could do",
        FaultKind::SlowServer => "it answered much slower than its peers",
        FaultKind::MemoryLeak => "its memory grew without end",
        FaultKind::DescriptorExhaustion => "it ran out of file descriptors",
        FaultKind::DiskFull => "its disk was full",
        FaultKind::PartitionedBalancer => "only this balancer could not reach it",
        FaultKind::Flapping => "it changed between well and ill too often",
        FaultKind::Unknown => "something was wrong that no known fault explains",
    }
}

fn recommendations(incident: &Incident, fault: FaultKind, similar: usize) -> Vec<String> {
    let mut advice: Vec<String> = Vec::new();
    if incident.diagnosis.iter().any(|finding| {
        finding
            .evidence
            .iter()
            .any(|text| text.starts_with("bad probe"))
    }) {
        advice.push("Correct the probe: it fails although real requests succeed.".to_owned());
    } else {
        advice.push(by_kind(fault).to_owned());
    }
    if similar > 0 {
        advice.push(format!(
            "This is at least the {} of its kind: look for the common cause.",
            ordinal(similar + 1)
        ));
    }
    let was_refused = incident
        .actions
        .iter()
        .find(|action| action.outcome == Some(ActionOutcome::Refused));
    if let Some(refused) = was_refused {
        let why = refused.detail.as_deref().unwrap_or("a guard forbade it");
        advice.push(format!(
            "`{}` was refused ({why}): add servers or let evenkeel manage this one.",
            refused.action
        ));
    }
    if incident.impact.failed > 0 {
        advice.push("Requests failed: check `retry` and `timeout.attempt`, so that other servers can answer in time.".to_owned());
    }
    advice
}

fn ordinal(n: usize) -> String {
    match n {
        2 => "second".to_owned(),
        3 => "third".to_owned(),
        n => format!("{n}th"),
    }
}

const fn by_kind(fault: FaultKind) -> &'static str {
    match fault {
        FaultKind::ProcessCrashed => {
            "Find out why the process ended: its exit status and last lines are in the evidence."
        }
        FaultKind::CrashLoop => {
            "Read the process's last lines; if a change came just before, take it back."
        }
        FaultKind::OutOfMemory | FaultKind::MemoryLeak => {
            "Raise the memory limit or lower concurrency, and look for a leak."
        }
        FaultKind::ProcessHung => {
            "Look for a deadlock or a call without a timeout; a stopped process (state T) was stopped by somebody."
        }
        FaultKind::PortTaken => {
            "End the process that holds the port, or give the server another port."
        }
        FaultKind::NotListening => {
            "Find out whether its process ended, or closed its listening socket while it lived."
        }
        FaultKind::CannotStart => {
            "Run the command by hand: its reason and last lines are in the evidence."
        }
        FaultKind::Unreachable | FaultKind::PartitionedBalancer => {
            "Check the network and the machine: the process itself may be well."
        }
        FaultKind::DnsFailure => "Check the resolver and the name.",
        FaultKind::TlsFailure => "Check the certificate's dates, chain and name.",
        FaultKind::ErrorBurst => {
            "Read the server's log at the onset; compare it with a change or a dependency's trouble."
        }
        FaultKind::BadDeploy => "Take the change back and compare both versions.",
        FaultKind::PoisonRequest => {
            "Find the request in the log and refuse it until the server is fixed."
        }
        FaultKind::DependencyFailure => "Look at what all servers depend on.",
        FaultKind::Overload => "Add capacity or shed load.",
        FaultKind::SlowServer => {
            "Compare its processor, disk and neighbours with those of its peers."
        }
        FaultKind::DescriptorExhaustion => {
            "Raise the limit on descriptors and look for connections that are never closed."
        }
        FaultKind::DiskFull => "Free space and rotate logs.",
        FaultKind::Flapping => "Raise `fall` and `rise`, or look for a cause that comes and goes.",
        FaultKind::Unknown => "Read the timeline: nothing that evenkeel knows explains it.",
    }
}
