//! One cause for several servers, with real processes: one incident, no restart, no ejection, and the end is noticed.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::time::Duration;

use common::{GOOD, Program, ask, get, signal, wait_for};
use evenkeel_fault::incident::{CloseReason, IncidentStatus};
use evenkeel_fault::{FaultKind, Incident};
use evenkeel_lab::{LoadPlan, OpenLoad};

struct Case {
    program: Program,
    /// Requests that go on all the while.
    load: OpenLoad,
    pids: Vec<Option<u32>>,
}

impl Case {
    fn start() -> Self {
        let program = Program::with_three("");
        let load = OpenLoad::start(LoadPlan {
            timeout: Duration::from_secs(20),
            ..LoadPlan::new(program.address(), 100.0)
        });
        let pids = program.pids();
        let case = Self {
            program,
            load: load.unwrap(),
            pids,
        };
        case.wait_for_answers(50);
        case
    }

    fn tell_all(&self, mode: &str) {
        for server in self.program.servers() {
            let answer = ask(server.address, "POST", "/mode", mode).unwrap();
            assert_eq!(answer.status, 200);
        }
    }

    /// Waits until this many more requests have succeeded.
    fn wait_for_answers(&self, number: u64) {
        let before = self.load.snapshot().ok;
        wait_for("answers", || {
            (self.load.snapshot().ok >= before + number).then_some(())
        });
    }

    /// The incident of the service, once it is of this kind and `enough`: the only one that did not end in it.
    fn incident(&self, kind: FaultKind, enough: impl Fn(&Incident) -> bool) -> Incident {
        let found =
            self.program
                .wait_for_incident(&format!("of all servers, {kind}"), |incident| {
                    let first = incident.diagnosis.first();
                    first.is_some_and(|finding| finding.fault == kind) && enough(incident)
                });
        let all = self.program.incidents_of_services();
        let own: Vec<&Incident> = all
            .iter()
            .filter(|incident| incident.end != Some(CloseReason::Merged))
            .collect();
        assert_eq!(own.len(), 1, "{own:#?}");
        found
    }

    /// Nothing was restarted, and all take requests.
    fn assert_left_alone(&self) {
        for incident in self.program.incidents() {
            let restarts = incident.actions.iter();
            let restarts = restarts.filter(|action| action.action == "restart");
            assert_eq!(restarts.count(), 0, "{incident:#?}");
        }
        assert_eq!(self.program.pids(), self.pids);
        wait_for("all in rotation", || {
            let servers = self.program.servers();
            let out = ["ejected", "recovering", "verifying", "down"];
            let all_in = servers
                .iter()
                .all(|server| !out.contains(&server.state.as_str()));
            all_in.then_some(())
        });
    }
}

fn is_closed(incident: &Incident) -> bool {
    incident.status == IncidentStatus::Closed
}

#[test]
fn what_all_servers_depend_on_fails_and_comes_back() {
    let case = Case::start();
    case.tell_all("status 500");
    let incident = case.incident(FaultKind::DependencyFailure, |incident| {
        incident.servers.len() == 3
    });
    assert!(!is_closed(&incident));
    case.assert_left_alone();
    case.tell_all("ok");
    case.wait_for_answers(50);
    let closed = case.incident(FaultKind::DependencyFailure, is_closed);
    assert_eq!(closed.id, incident.id);
    let verification = closed.verification.expect("verified");
    assert_eq!(verification.outcome, "passed");
    assert!(verification.requests > 0);
    case.assert_left_alone();
}

#[test]
fn a_route_fails_on_every_server_and_all_else_is_well() {
    let case = Case::start();
    let address = case.program.address();
    let incident = wait_for("an incident that names the route", || {
        // Not repeated by evenkeel: each is one failure.
        for _ in 0..20 {
            assert_eq!(get(address, "/status/500").unwrap().status, 500);
        }
        let all = case.program.incidents();
        let broken = |incident: &&Incident| {
            let first = incident.diagnosis.first();
            first.is_some_and(|finding| finding.fault == FaultKind::BrokenRoute)
        };
        all.iter().find(broken).cloned()
    });
    let evidence = incident.diagnosis[0].evidence.join("\n");
    assert!(evidence.contains("GET /status/*"), "{evidence}");
    case.incident(FaultKind::BrokenRoute, |_| true);
    case.assert_left_alone();
    let numbers = case.load.stop();
    assert_eq!(numbers.failed, 0, "{:?}", numbers.failures);
}

#[test]
fn the_probes_of_all_servers_fail_and_requests_do_not() {
    let case = Case::start();
    case.tell_all("unhealthy");
    case.incident(FaultKind::BadProbe, |_| true);
    case.assert_left_alone();
    case.tell_all("ok");
    case.incident(FaultKind::BadProbe, is_closed);
    let numbers = case.load.stop();
    assert_eq!(numbers.failed, 0, "{:?}", numbers.failures);
}

#[test]
fn a_version_that_cannot_start_is_one_incident_that_names_the_change() {
    let (program, script) = Program::scripted(|_| String::new());
    std::fs::write(&script, "echo no such module\nexit 1\n").unwrap();
    for server in program.servers() {
        signal(server.pid.unwrap(), "KILL");
    }
    let of_all = |incident: &Incident| {
        let first = incident.diagnosis.first();
        first.is_some_and(|finding| finding.fault == FaultKind::BadDeploy)
            && incident.servers.len() == 3
    };
    let incident = program.wait_for_incident("of all servers, bad-deploy", of_all);
    let evidence = incident.diagnosis[0].evidence.join("; ");
    assert!(
        evidence.contains("start.sh was changed at 20"),
        "{evidence}"
    );
    assert!(evidence.contains("no such module"), "{evidence}");
    let open = program.incidents_of_services();
    let open = open.iter().filter(|one| !is_closed(one));
    assert_eq!(open.count(), 1);
    // Only one of them is tried.
    let tried = program.wait_for_incident("five starts", |one| {
        one.id == incident.id && one.actions.len() >= 5
    });
    let first = &incident.servers[0];
    assert!(tried.actions.iter().all(|action| action.server == *first));

    std::fs::write(&script, GOOD).unwrap();
    program.wait_for_incident("closed", |one| one.id == incident.id && is_closed(one));
    program.wait_until_up();
    let later = program.incidents_of_services();
    let later = later.iter().filter(|one| !is_closed(one));
    assert_eq!(later.count(), 0);
}
