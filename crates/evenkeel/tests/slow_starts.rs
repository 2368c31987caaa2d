//! Servers that start slowly, or are slow after the start, with real processes: both pass, and no restart is made.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::path::Path;

use common::{PROBED, Program, ask, get, sample_server, shop, signal, wait_for};
use evenkeel_fault::incident::IncidentStatus;
use evenkeel_fault::{FaultKind, Incident};
use evenkeel_lab::{LoadPlan, OpenLoad};

fn lines(file: &Path) -> usize {
    std::fs::read_to_string(file).map_or(0, |text| text.lines().count())
}

/// Longer than a start is waited for by default.
#[test]
fn a_process_that_needs_12_seconds_is_started_once() {
    let wait = "echo $$ >> {folder}/starts; sleep 12; exec \\\"$0\\\" \\\"$@\\\"";
    let command = format!(r#""sh", "-c", "{wait}", {}"#, sample_server());
    let program = Program::run(&shop(2, &command, ""));
    program.wait_until_up();
    let starts = program.folder.path().join("starts");
    assert_eq!(
        lines(&starts),
        2,
        "{:#?}\n{}",
        program.incidents(),
        program.log()
    );
    for _ in 0..20 {
        assert_eq!(get(program.address(), "/").unwrap().status, 200);
    }
}

/// The first requests of a process take long.
#[test]
fn a_server_that_is_slow_after_its_start_is_not_restarted_for_it() {
    let command = format!(r#"{}, "--mode-file", "{{folder}}/mode""#, sample_server());
    let program = Program::up(&shop(3, &command, PROBED));
    let load = OpenLoad::start(LoadPlan::new(program.address(), 200.0)).unwrap();
    // As fast as each other: that is known of them.
    let wait_for_answers = |number: u64| {
        let before = load.snapshot().ok;
        wait_for("answers", || {
            (load.snapshot().ok >= before + number).then_some(())
        });
    };
    wait_for_answers(3_000);
    std::fs::write(program.folder.path().join("mode"), "cold 400 20").unwrap();
    let victim = program.servers().remove(0);
    signal(victim.pid.unwrap(), "KILL");
    let is_warming_up = |incident: &Incident| {
        let mut told = incident.timeline.iter();
        told.any(|entry| entry.text.starts_with("warm-up"))
    };
    program.wait_for_incident("of a warm-up", is_warming_up);
    let cold = program.servers().remove(0);
    assert_ne!(cold.pid, victim.pid);
    wait_for_answers(2_000);

    let warm = ask(cold.address, "POST", "/mode", "ok").unwrap();
    assert_eq!(warm.status, 200);
    program.wait_for_incident("of a warm-up that is over", |incident| {
        is_warming_up(incident) && incident.status == IncidentStatus::Closed
    });
    program.wait_until_up();
    assert_eq!(program.servers()[0].pid, cold.pid);
    for incident in program.incidents_of_services() {
        let kind = incident.diagnosis.first().map(|finding| finding.fault);
        let mut actions = incident.actions.iter();
        // The start of what had ended is one.
        let restarts = actions.any(|one| one.action == "restart");
        let may_start = kind == Some(FaultKind::ProcessCrashed);
        assert!(may_start || !restarts, "{incident:#?}");
    }
    assert_eq!(load.stop().failed, 0);
}
