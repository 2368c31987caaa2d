//! A server whose process has no descriptors left: its kept-alive connections work, and it accepts no new ones.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::time::Duration;

use common::{Program, use_up_descriptors, wait_for};
use evenkeel_fault::incident::IncidentStatus;
use evenkeel_fault::{FaultKind, Incident};
use evenkeel_lab::{LoadPlan, OpenLoad};

#[test]
fn exhausted_descriptors_are_diagnosed_by_their_count_and_repaired() {
    let program = Program::with_three("");
    let load = OpenLoad::start(LoadPlan {
        timeout: Duration::from_secs(60),
        ..LoadPlan::new(program.address(), 50.0)
    })
    .unwrap();
    wait_for("answers", || (load.snapshot().ok >= 50).then_some(()));
    let server = program.servers().swap_remove(1);
    let pid = server.pid.unwrap();
    use_up_descriptors(pid);
    let is_it = |incident: &Incident| {
        let first = incident.diagnosis.first();
        first.is_some_and(|finding| finding.fault == FaultKind::DescriptorExhaustion)
            && incident.servers == [server.name.as_str()]
    };
    let incident = program.wait_for_incident("descriptor-exhaustion", is_it);
    let evidence = incident.diagnosis[0].evidence.join("; ");
    assert!(evidence.contains("Max open files"), "{evidence}");
    let closed = program.wait_for_incident("closed", |one| {
        one.id == incident.id && one.status == IncidentStatus::Closed
    });
    assert!(closed.actions.iter().any(|one| one.action == "restart"));
    program.wait_until_up();
    assert_ne!(program.servers()[1].pid, Some(pid));
}
