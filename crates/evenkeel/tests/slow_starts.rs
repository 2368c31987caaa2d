//! Servers that need long for their start, or are slow after it, with real processes: both pass, and no restart helps.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::path::Path;

use common::{PROBED, Program, get, sample_server, shop, signal, wait_for};
use evenkeel_fault::FaultKind;
use evenkeel_lab::{Load, LoadPlan};

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

/// The first requests of each process take long.
#[test]
fn a_server_that_is_slow_after_its_start_is_not_restarted_for_it() {
    let command = format!(r#"{}, "--mode-file", "{{folder}}/mode""#, sample_server());
    let program = Program::up(&shop(3, &command, PROBED));
    let load = Load::start(LoadPlan::new(program.address(), 200.0)).unwrap();
    // As fast as each other: that is known of them.
    wait_for("answers", || (load.snapshot().ok >= 3_000).then_some(()));
    std::fs::write(program.folder.path().join("mode"), "cold 400 20").unwrap();
    let victim = program.servers().remove(0);
    signal(victim.pid.unwrap(), "KILL");
    program.wait_for_servers("another process", |servers| {
        servers[0].pid.is_some_and(|pid| Some(pid) != victim.pid)
    });
    let cold = program.servers().remove(0);
    let mode = || get(cold.address, "/mode").unwrap().body;
    wait_for("the end of the warm-up", || {
        (mode() == "ok\n").then_some(())
    });
    assert_eq!(
        program.servers()[0].pid,
        cold.pid,
        "{:#?}",
        program.incidents()
    );
    program.wait_until_up();
    for incident in program.incidents_of_services() {
        let kind = incident.diagnosis.first().map(|finding| finding.fault);
        let restarts = incident
            .actions
            .iter()
            .filter(|one| one.action == "restart");
        // The start of what had ended is one.
        let most = usize::from(kind == Some(FaultKind::ProcessCrashed));
        assert!(restarts.count() <= most, "{incident:#?}");
    }
    assert_eq!(load.stop().failed, 0);
}
