//! `fail-over` and `fall-back` of a user's playbook, with real processes: later tiers take over, or the fallback is
//! served, until the failed servers are back.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;
#[path = "common/others.rs"]
mod others;

use common::{get, wait_for};
use evenkeel_fault::incident::{ActionOutcome, IncidentStatus};
use evenkeel_fault::{FaultKind, Incident};
use evenkeel_lab::{LoadPlan, OpenLoad};
use others::Servers;

fn shared(incident: &Incident) -> bool {
    let first = incident.diagnosis.first();
    first.is_some_and(|finding| finding.fault == FaultKind::DependencyFailure)
}

fn outcome(incident: &Incident, word: &str) -> Option<ActionOutcome> {
    let mut actions = incident.actions.iter();
    actions.find(|action| action.action == word)?.outcome
}

/// So many more requests end; how many of them failed.
fn failed_of(load: &OpenLoad, number: u64) -> u64 {
    let ended = || {
        let now = load.snapshot();
        (now.ok + now.failed, now.failed)
    };
    let before = ended();
    let after = wait_for("requests", || {
        Some(ended()).filter(|now| now.0 >= before.0 + number)
    });
    after.1 - before.1
}

#[test]
fn servers_behind_take_over_until_those_that_failed_are_back() {
    let servers = Servers::start(3);
    let program = servers.program(
        1,
        "[[service.shop.recover.playbook]]\nwhen = [\"dependency-failure\"]\ndo = [\"fail-over\"]",
    );
    let load = OpenLoad::start(LoadPlan::new(program.address(), 100.0)).unwrap();
    assert_eq!(failed_of(&load, 50), 0);
    servers.tell(0..2, "status 500");
    let failed_over = || program.metric("evenkeel_failed_over{");
    wait_for("fail-over", || (failed_over() > 0.0).then_some(()));
    let failed = failed_of(&load, 400);
    assert!(failed <= 40, "{failed} of 400");
    let incident = program.wait_for_incident("of the service", shared);
    assert_eq!(outcome(&incident, "fail-over"), Some(ActionOutcome::Done));
    let services = program.api("/api/services").to_string();
    assert!(services.contains("the first tier fails"), "{services}");

    servers.tell(0..2, "ok");
    let closed = program.wait_for_incident("closed", |incident| {
        shared(incident) && incident.status == IncidentStatus::Closed
    });
    assert_eq!(closed.verification.unwrap().outcome, "passed");
    wait_for("the return", || (failed_over() < 1.0).then_some(()));
    assert_eq!(failed_of(&load, 100), 0);
}

#[test]
fn requests_are_answered_for_until_servers_are_back() {
    let servers = Servers::start(3);
    let program = servers.program(
        0,
        "[service.shop.fallback]\nstatus = 200\nbody = \"soon\"\n\
         [[service.shop.recover.playbook]]\nwhen = [\"dependency-failure\"]\ndo = [\"fall-back\"]",
    );
    let load = OpenLoad::start(LoadPlan::new(program.address(), 100.0)).unwrap();
    assert_eq!(failed_of(&load, 50), 0);
    servers.tell(0..3, "status 500");
    wait_for("an answer for it", || {
        let answer = get(program.address(), "/").unwrap();
        (answer.body == "soon").then_some(())
    });
    // One trial a second is answered by a server.
    let failed = failed_of(&load, 400);
    assert!(failed <= 40, "{failed} of 400");
    let incident = program.wait_for_incident("of the service", shared);
    assert_eq!(outcome(&incident, "fall-back"), Some(ActionOutcome::Done));

    servers.tell(0..3, "ok");
    let closed = program.wait_for_incident("closed", |incident| {
        shared(incident) && incident.status == IncidentStatus::Closed
    });
    assert_eq!(closed.verification.unwrap().outcome, "passed");
    assert_eq!(failed_of(&load, 100), 0);
    assert_ne!(get(program.address(), "/").unwrap().body, "soon");
}
