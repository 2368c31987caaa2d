//! Eight percent of the answers fail on every server: too few for the limits of any single server, and an incident
//! nevertheless.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::time::Duration;

use common::{Program, ask, wait_for};
use evenkeel_fault::incident::IncidentStatus;
use evenkeel_fault::{FaultKind, Incident};
use evenkeel_lab::{LoadPlan, OpenLoad};

#[test]
fn a_lasting_share_of_errors_is_an_incident_without_a_restart() {
    let program = Program::with_three("");
    let load = OpenLoad::start(LoadPlan {
        timeout: Duration::from_secs(20),
        ..LoadPlan::new(program.address(), 100.0)
    })
    .unwrap();
    wait_for("answers", || (load.snapshot().ok >= 50).then_some(()));
    let tell_all = |mode: &str| {
        for server in program.servers() {
            let answer = ask(server.address, "POST", "/mode", mode).unwrap();
            assert_eq!(answer.status, 200);
        }
    };
    let before = program.pids();
    tell_all("status 500 0.08");
    let is_it = |incident: &Incident| {
        let first = incident.diagnosis.first();
        incident.detected_by == "statistics"
            && first.is_some_and(|finding| finding.fault == FaultKind::ErrorBurst)
    };
    let incident = program.wait_for_incident("of the service, by statistics", is_it);
    let evidence = incident.diagnosis[0].evidence.join("; ");
    assert!(evidence.contains("answers failed within"), "{evidence}");
    tell_all("ok");
    program.wait_for_incident("closed", |one| {
        one.id == incident.id && one.status == IncidentStatus::Closed
    });
    assert_eq!(program.pids(), before);
}
