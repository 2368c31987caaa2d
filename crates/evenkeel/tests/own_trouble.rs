//! Faults of evenkeel itself, with real processes: no server is ejected or restarted, and there is an incident for
//! evenkeel.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use common::{Program, SELF, now, pause, signal, wait_for};
use evenkeel_fault::incident::IncidentStatus;
use evenkeel_fault::{FaultKind, Incident};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

/// One request on a connection that is kept: its status.
fn ask_again(client: &mut TcpStream) -> u16 {
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
        .unwrap();
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = client.read(&mut chunk).unwrap();
        assert!(read > 0, "closed: {}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_it = name.eq_ignore_ascii_case("content-length");
            is_it.then(|| value.trim().parse::<usize>().unwrap())
        });
        if body.len() >= length.unwrap_or(0) {
            return head.split_whitespace().nth(1).unwrap().parse().unwrap();
        }
    }
}

fn is_of(incident: &Incident, kind: FaultKind) -> bool {
    let first = incident.diagnosis.first();
    first.is_some_and(|finding| finding.fault == kind)
}

/// The only one of this kind. All are of its own; a busy machine may make some of another kind.
fn the_only(program: &Program, kind: FaultKind) -> Incident {
    let mut incidents = program.incidents();
    for incident in &incidents {
        assert_eq!(incident.service, SELF, "{incident:#?}\n{}", program.log());
        assert!(incident.servers.is_empty(), "{incident:#?}");
        // If it persists, an operator is notified.
        let mut actions = incident.actions.iter();
        assert!(actions.all(|action| action.action == "escalate"));
    }
    incidents.retain(|incident| is_of(incident, kind));
    assert_eq!(incidents.len(), 1, "{incidents:#?}\n{}", program.log());
    incidents.remove(0)
}

#[test]
fn exhausted_descriptors_are_not_blamed_on_a_server() {
    let program = Program::with_three("");
    let before = program.pids();
    let mut client = TcpStream::connect(program.address()).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    assert_eq!(ask_again(&mut client), 200);
    // From now on it can open nothing more; what is open stays.
    let pid = Pid::from_raw(i32::try_from(program.pid()).unwrap());
    let limit = |current: Option<u64>, maximum| Rlimit { current, maximum };
    let old = prlimit(pid, Resource::Nofile, limit(Some(8), Some(4096))).unwrap();
    // Others that wait to be accepted.
    let others: Vec<_> = (0..4)
        .map(|_| TcpStream::connect(program.address()).unwrap())
        .collect();
    let mut failed = 0;
    let told = || {
        program
            .log()
            .contains("descriptor-exhaustion")
            .then_some(())
    };
    wait_for("requests that fail, and the incident in the log", || {
        failed += u32::from(ask_again(&mut client) == 503);
        told().filter(|()| failed >= 20)
    });
    let raised = limit(Some(4096.min(old.current.unwrap_or(4096))), Some(4096));
    prlimit(pid, Resource::Nofile, raised).unwrap();
    wait_for("an answer", || {
        (ask_again(&mut client) == 200).then_some(())
    });
    drop(others);
    the_only(&program, FaultKind::DescriptorExhaustion);
    let is_closed = |incident: &Incident| {
        is_of(incident, FaultKind::DescriptorExhaustion)
            && incident.status == IncidentStatus::Closed
    };
    program.wait_for_incident("of its own, closed", is_closed);
    the_only(&program, FaultKind::DescriptorExhaustion);
    assert_eq!(program.pids(), before);
    program.wait_until_up();
}

#[test]
fn a_stall_of_evenkeel_is_not_blamed_on_a_server() {
    let program = Program::with_three("");
    let before = program.pids();
    let end = now() + Duration::from_secs(5);
    // Whoever continues all processes of a test continues this one, too.
    while now() < end {
        signal(program.pid(), "STOP");
        pause();
    }
    signal(program.pid(), "CONT");
    let is_closed = |incident: &Incident| {
        is_of(incident, FaultKind::ProcessHung) && incident.status == IncidentStatus::Closed
    };
    program.wait_for_incident("of its own, closed", is_closed);
    let incident = the_only(&program, FaultKind::ProcessHung);
    let evidence = incident.diagnosis[0].evidence.join("; ");
    assert!(evidence.contains("its own timers were late"), "{evidence}");
    assert_eq!(program.pids(), before);
    program.wait_until_up();
}
