//! Servers that run but do not listen where they should: the diagnosis is one that an operator can act on, and no
//! foreign process is mistaken for the server.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::time::Duration;

use common::{PROGRAM, Program, free_ports, get, now, pause, shop, wait_for};
use evenkeel_fault::incident::IncidentStatus;
use evenkeel_fault::{FaultKind, Incident};

/// A probe, and a short time for starts.
const QUICK: &str = r#"
[service.shop.detect.probe]
http = "/health"

[service.shop.recover]
verify.within = "3s"
backoff = { base = "100ms", cap = "1s" }
"#;

/// One server that is started by these words; the program does not wait for it.
fn with(command: &str) -> Program {
    Program::run(&shop(1, command, QUICK))
}

fn server(port: &str, more: &str) -> String {
    format!(r#""{PROGRAM}", "sample-server", "--port", "{port}"{more}"#)
}

/// Waits for an incident whose diagnosis is this, with a word in what speaks for it.
fn told(program: &Program, kind: FaultKind, word: &str) {
    let evidence = |incident: &Incident| {
        let first = incident.diagnosis.first();
        first.map_or_else(String::new, |one| one.evidence.join("; "))
    };
    program.wait_for_incident(&format!("{kind}: {word}"), |incident| {
        let first = incident.diagnosis.first();
        first.is_some_and(|one| one.fault == kind) && evidence(incident).contains(word)
    });
}

fn assert_not_up(program: &Program) {
    assert_ne!(program.servers()[0].state, "up", "{}", program.log());
}

/// It is said where it listens, and it is not started again: that would not change it.
fn assert_needs_a_person(program: &Program, word: &str) {
    told(program, FaultKind::NotListening, word);
    let told =
        program.wait_for_incident("escalated", |one| one.status == IncidentStatus::Escalated);
    let pid = program.servers()[0].pid;
    let end = now() + Duration::from_secs(8);
    while now() < end {
        let server = program.servers().remove(0);
        assert_ne!(server.state, "up", "{}", program.log());
        assert_eq!(server.pid, pid, "{told:#?}");
        pause();
    }
}

#[test]
fn it_listens_at_another_port() {
    let other = free_ports(1)[0].to_string();
    let program = with(&server(&other, ""));
    assert_needs_a_person(&program, &format!("it listens at 127.0.0.1:{other}"));
}

#[test]
fn it_listens_at_another_address() {
    let program = with(&server("{port}", r#", "--ip", "::1""#));
    assert_needs_a_person(&program, "it listens at [::1]:");
}

#[test]
fn another_program_has_its_port() {
    let folder = tempfile::TempDir::new().unwrap();
    let text = shop(1, &server("{port}", ""), QUICK);
    let port = text.lines().find_map(|line| line.strip_prefix("ports = ["));
    let port: u16 = port.unwrap().trim_end_matches(']').parse().unwrap();
    let holder = std::process::Command::new(PROGRAM)
        .args(["sample-server", "--port", &port.to_string()])
        .stdout(std::process::Stdio::null())
        .spawn();
    let mut holder = holder.unwrap();
    wait_for("the holder", || {
        get(([127, 0, 0, 1], port).into(), "/").ok()
    });
    std::fs::write(folder.path().join("evenkeel.toml"), text).unwrap();
    let program = Program::start(folder, &["run", "evenkeel.toml"]);
    told(&program, FaultKind::PortTaken, &holder.id().to_string());
    assert_not_up(&program);
    // Nobody is sent to the stranger.
    let answer = get(program.address(), "/").unwrap();
    assert_eq!(answer.status, 503, "{}", answer.body);
    holder.kill().unwrap();
    holder.wait().unwrap();
    program.wait_until_up();
    assert_eq!(get(program.address(), "/").unwrap().status, 200);
}

/// Its process starts another one and ends: there is nothing that evenkeel could watch.
#[test]
fn a_command_that_daemonizes_is_diagnosed() {
    let start = format!("setsid timeout 20 {PROGRAM} sample-server --port $0 & exit 0");
    let program = with(&format!(r#""sh", "-c", "{start}", "{{port}}""#));
    told(&program, FaultKind::CannotStart, "stay in the foreground");
    // What it has left behind holds the port when it is started again.
    let told =
        program.wait_for_incident("escalated", |one| one.status == IncidentStatus::Escalated);
    let kind = told.diagnosis[0].fault;
    assert!(
        matches!(kind, FaultKind::CannotStart | FaultKind::PortTaken),
        "{told:#?}"
    );
    assert_not_up(&program);
}
