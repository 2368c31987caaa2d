//! The report in words: what happened, why, and what to change. One sentence per fact, each taken from the record.

use crate::incident::{ActionOutcome, Analysis, CloseReason, Incident, RepairedBy};
use crate::kind::FaultKind;

use crate::recover::{KEEP_SERVING, UNMANAGED};

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
    let time = incident
        .durations_ms
        .time_to_restore()
        .map_or_else(String::new, |millis| {
            format!(" It took {millis:.0} ms from onset to recovery.")
        });
    let what = if is_of_evenkeel(incident) {
        format!("evenkeel itself: {}", published_as(incident, fault).0)
    } else {
        let servers = incident.servers.join(", ");
        format!(
            "Server {servers} of service {}: {}",
            incident.service,
            in_words(fault)
        )
    };
    format!(
        "{what}, noticed by {}; {}.{time} Of {} requests meanwhile {} failed; retries saved {}.",
        incident.detected_by,
        how_it_ended(incident),
        incident.impact.requests,
        incident.impact.failed,
        incident.impact.saved_by_retry
    )
}

/// Whether it is about evenkeel itself, and no server.
const fn is_of_evenkeel(incident: &Incident) -> bool {
    incident.servers.is_empty() // a service's incident names servers
}

/// Faults of evenkeel itself, and the recommendation for each.
const OWN: [(FaultKind, &str, &str); 5] = [
    (
        FaultKind::DescriptorExhaustion,
        "it had no file descriptor or local port left for a connection",
        "Give evenkeel more file descriptors (`LimitNOFILE=` of systemd) or local ports (`net.ipv4.ip_local_port_range`), or lower `limits.connections`.",
    ),
    (
        FaultKind::OutOfMemory,
        "its memory was used up",
        "Give evenkeel's control group more memory, or lower `limits.connections`.",
    ),
    (
        FaultKind::ProcessHung,
        "it was stalled",
        "Find out what stopped evenkeel or its machine, or used up the CPU time.",
    ),
    (
        FaultKind::DnsFailure,
        "its resolver did not answer",
        "Check the resolver that evenkeel asks.",
    ),
    (
        FaultKind::PartitionedBalancer,
        "its machine had no network",
        "Check the network of evenkeel's machine.",
    ),
];

/// The meaning of the fault, and the recommendation for it.
fn published_as(incident: &Incident, fault: FaultKind) -> (&'static str, &'static str) {
    let own = OWN.into_iter().filter(|_| is_of_evenkeel(incident));
    own.into_iter()
        .find(|(kind, _, _)| *kind == fault)
        .map_or((in_words(fault), by_kind(fault)), |(_, words, advice)| {
            (words, advice)
        })
}

/// The actions and their authors, and whether they are proven to have helped. Only evenkeel's own repairs are called
/// verified.
fn how_it_ended(incident: &Incident) -> String {
    let done = |by_person: bool| {
        let actions = incident.actions.iter().filter(|action| {
            action.outcome == Some(ActionOutcome::Done) && action.by_person == by_person
        });
        let words: Vec<&str> = actions.map(|action| action.action.as_str()).collect();
        words.join(", ")
    };
    let did = match done(false) {
        actions if actions.is_empty() => String::new(),
        actions => format!("evenkeel did: {actions}; "),
    };
    let held = incident.verification.as_ref();
    let proven = held.is_some_and(|held| held.outcome == "passed");
    let end = match (
        incident.recovered.is_some(),
        held.and_then(|held| held.repaired_by),
    ) {
        (true, Some(RepairedBy::Evenkeel)) if proven => "the repair was verified".to_owned(),
        (true, Some(RepairedBy::Evenkeel)) => {
            "the repair is not proven, since too few requests of the kind that failed have come"
                .to_owned()
        }
        (true, Some(RepairedBy::Person)) => {
            format!(
                "an operator ordered: {}; after that it was healthy again",
                done(true)
            )
        }
        (true, None) if did.is_empty() => {
            return "it recovered without an action by evenkeel".to_owned();
        }
        (true, None) => "it recovered without a repair by evenkeel".to_owned(),
        (false, _) => incident
            .end
            .unwrap_or(CloseReason::ClosedByPerson)
            .words()
            .to_owned(),
    };
    did + &end
}

fn cause(incident: &Incident, fault: FaultKind) -> String {
    let evidence = incident
        .diagnosis
        .first()
        .map_or(&[][..], |finding| &finding.evidence);
    let first: Vec<&str> = evidence.iter().take(3).map(String::as_str).collect();
    let (what, _) = published_as(incident, fault);
    if first.is_empty() {
        what.to_owned()
    } else {
        format!("{what}: {}", first.join("; "))
    }
}

const fn in_words(fault: FaultKind) -> &'static str {
    match fault {
        FaultKind::ProcessCrashed => "its process exited by itself",
        FaultKind::CrashLoop => "its process exited repeatedly soon after its start",
        FaultKind::OutOfMemory => "the kernel killed its process because of memory shortage",
        FaultKind::ProcessHung => "it accepted connections and answered none",
        FaultKind::PortTaken => "another process listened at its address",
        FaultKind::NotListening => "nothing listened at its address",
        FaultKind::CannotStart => "its process could not be started or ended before it was ready",
        FaultKind::Unreachable => "its address could not be reached",
        FaultKind::DnsFailure => "its name did not resolve",
        FaultKind::TlsFailure => "its TLS handshake failed",
        FaultKind::ErrorBurst => "it answered too often with errors",
        FaultKind::BadDeploy => "it failed after a change of version or configuration",
        FaultKind::PoisonRequest => "a certain request crashed it",
        FaultKind::DependencyFailure => "a dependency of it failed",
        FaultKind::Overload => "it got more requests than it could handle",
        FaultKind::SlowServer => "it answered much slower than its peers",
        FaultKind::MemoryLeak => "its memory grew without bound",
        FaultKind::DescriptorExhaustion => "it ran out of file descriptors",
        FaultKind::DiskFull => "its disk was full",
        FaultKind::PartitionedBalancer => "only this balancer could not reach it",
        FaultKind::Flapping => "it alternated between healthy and unhealthy too often",
        FaultKind::BadProbe => "its probe failed although requests succeeded",
        FaultKind::BrokenRoute => {
            "requests of one kind failed on all servers, and all others succeeded"
        }
        FaultKind::ClockSkew => "the clock of its machine was set",
        FaultKind::Unknown => "something was wrong that no known kind of fault explains",
    }
}

fn recommendations(incident: &Incident, fault: FaultKind, similar: usize) -> Vec<String> {
    let mut advice: Vec<String> = Vec::new();
    if has_evidence(incident, "state T") {
        advice.push(
            "Find out who stopped the process (state T): it cannot have done that itself."
                .to_owned(),
        );
    } else {
        advice.push(published_as(incident, fault).1.to_owned());
    }
    if similar > 0 {
        advice.push(format!(
            "This is at least the {} incident of its kind: look for the common cause.",
            ordinal(similar + 1)
        ));
    }
    let refused = incident
        .actions
        .iter()
        .find(|action| action.outcome == Some(ActionOutcome::Refused));
    advice.extend(refused.map(|refused| {
        let why = refused.detail.as_deref().unwrap_or("a guard forbade it");
        let remedy = if why.starts_with(KEEP_SERVING) {
            "add servers, or lower `recover.keep_serving`"
        } else if why.starts_with(UNMANAGED) {
            "set a restart command in `managed_by`"
        } else {
            "find out why so many actions were needed before you raise `recover.limit`"
        };
        format!("`{}` was refused ({why}): {remedy}.", refused.action)
    }));
    if incident.impact.failed > 0 && !is_of_evenkeel(incident) {
        advice.extend(for_failed_requests(fault).map(str::to_owned));
    }
    advice
}

/// The setting that keeps requests from failing in a fault of this kind; none if there is no such setting.
const fn for_failed_requests(fault: FaultKind) -> Option<&'static str> {
    match fault {
        FaultKind::ProcessHung | FaultKind::SlowServer => Some(
            "Requests failed: a shorter `timeout.attempt` leaves time for another server to answer.",
        ),
        FaultKind::ProcessCrashed
        | FaultKind::CrashLoop
        | FaultKind::OutOfMemory
        | FaultKind::NotListening
        | FaultKind::CannotStart
        | FaultKind::PortTaken
        | FaultKind::Unreachable
        | FaultKind::DnsFailure
        | FaultKind::TlsFailure
        | FaultKind::PartitionedBalancer => Some(
            "Requests failed: with another server in service, and a method that `retry.methods` names, they can be repeated there.",
        ),
        FaultKind::ErrorBurst | FaultKind::BadDeploy | FaultKind::DescriptorExhaustion => Some(
            "Requests failed: name the status in `retry.on` if another server may answer better.",
        ),
        FaultKind::Overload => {
            Some("Requests failed: a `limit` with a queue rejects early what cannot be served.")
        }
        FaultKind::PoisonRequest
        | FaultKind::DependencyFailure
        | FaultKind::MemoryLeak
        | FaultKind::DiskFull
        | FaultKind::Flapping
        | FaultKind::BadProbe
        | FaultKind::BrokenRoute
        | FaultKind::ClockSkew
        | FaultKind::Unknown => None,
    }
}

/// Whether the likeliest finding rests on this.
fn has_evidence(incident: &Incident, what: &str) -> bool {
    let likeliest = incident.diagnosis.first();
    likeliest.is_some_and(|finding| finding.evidence.iter().any(|text| text.contains(what)))
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
            "Find out why the process exited: its exit status and last output lines are in the evidence."
        }
        FaultKind::CrashLoop => {
            "Read the last lines of the process's output; if there was a change just before, revert it."
        }
        FaultKind::OutOfMemory | FaultKind::MemoryLeak => {
            "Raise the memory limit or lower the concurrency, and look for a leak."
        }
        FaultKind::ProcessHung => "Look for a deadlock or a call without a timeout.",
        FaultKind::PortTaken => {
            "Stop the process that holds the address, or give the server another one."
        }
        FaultKind::NotListening => {
            "Find out whether its process exited, or closed its listening socket."
        }
        FaultKind::CannotStart => {
            "Run the command by hand: the reason and its last output lines are in the evidence."
        }
        FaultKind::Unreachable | FaultKind::PartitionedBalancer => {
            "Check the network and the machine: the process itself may be healthy."
        }
        FaultKind::DnsFailure => "Check the resolver and the name.",
        FaultKind::TlsFailure => "Check the certificate's dates, chain and name.",
        FaultKind::ErrorBurst => {
            "Read the server's log at the onset, and look for a change or a failing dependency."
        }
        FaultKind::BadDeploy => "Revert the change and compare both versions.",
        FaultKind::PoisonRequest => {
            "Find out why this request crashes the server. Until that is fixed, evenkeel rejects it, and lets it through again whenever its quarantine ends."
        }
        FaultKind::DependencyFailure => "Check what all servers depend on.",
        FaultKind::Overload => "Add capacity or shed load.",
        FaultKind::SlowServer => "Compare its CPU, disk and neighbours with those of its peers.",
        FaultKind::DescriptorExhaustion => {
            "Raise the file descriptor limit, and look for connections that are never closed."
        }
        FaultKind::DiskFull => "Free space and rotate logs.",
        FaultKind::Flapping => "Raise `fall` and `rise`, or look for an intermittent cause.",
        FaultKind::BadProbe => "Correct the probe: it fails although real requests succeed.",
        FaultKind::BrokenRoute => {
            "Check what only these requests use: their code, or a dependency of their own."
        }
        FaultKind::ClockSkew => "Find out what sets the clock; slew it instead of stepping it.",
        FaultKind::Unknown => "Read the timeline: no known kind of fault explains it.",
    }
}
