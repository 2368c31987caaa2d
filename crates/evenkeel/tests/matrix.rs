//! The fault matrix: real processes, real sockets, one fault each.
//!
//! In each case the fault is detected, correctly diagnosed, recorded, repaired and verified, and no request that may be
//! retried fails.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Program, ServerNow, ask, call, get, sample_server, shop, signal, wait_for};
use evenkeel_fault::incident::IncidentStatus;
use evenkeel_fault::{FaultKind, Incident};
use evenkeel_lab::{LoadPlan, LoadStats, OpenLoad, RequestMix};

/// Three sample servers and default settings, with `more` added to the service.
fn service(more: &str) -> String {
    let command = format!(
        r#"{}, "--mode-file", "{{folder}}/mode-{{port}}""#,
        sample_server()
    );
    shop(3, &command, more)
}

/// A program with three servers that are up, under load.
struct Case {
    program: Program,
    load: OpenLoad,
    victim: ServerNow,
}

impl Case {
    fn start(more: &str) -> Self {
        let program = Program::run(&service(more));
        program.wait_until_up();
        let victim = wait_for("the victim's process", || {
            let victim = program.servers().remove(1);
            (victim.state == "up" && victim.pid.is_some()).then_some(victim)
        });
        let load = OpenLoad::start(LoadPlan {
            timeout: Duration::from_secs(20),
            ..LoadPlan::new(program.address(), 100.0)
        });
        let case = Self {
            program,
            load: load.unwrap(),
            victim,
        };
        case.wait_for_requests(50);
        case
    }

    /// Waits until this many more requests have been answered.
    fn wait_for_requests(&self, number: u64) {
        let before = self.load.snapshot().ok;
        wait_for("requests", || {
            (self.load.snapshot().ok >= before + number).then_some(())
        });
    }

    fn tell_victim(&self, mode: &str) {
        assert_eq!(
            ask(self.victim.address, "POST", "/mode", mode)
                .unwrap()
                .status,
            200
        );
    }

    fn mode_file(&self) -> std::path::PathBuf {
        self.program
            .folder
            .path()
            .join(format!("mode-{}", self.victim.address.port()))
    }

    /// Waits for the closed incident of this fault at the victim, and checks what every closed incident must have.
    fn closed(&self, fault: FaultKind) -> Incident {
        let incident = self
            .program
            .wait_for_incident(&format!("closed, {fault}"), |incident| {
                incident.status == IncidentStatus::Closed
                    && is(incident, fault)
                    && incident.servers.contains(&self.victim.name)
            });
        let verification = incident
            .verification
            .as_ref()
            .expect("a closed incident was verified");
        assert_eq!(verification.outcome, "passed", "{incident:#?}");
        assert!(
            incident.durations_ms.time_to_restore().is_some(),
            "{incident:#?}"
        );
        assert!(incident.durations_ms.analysis.is_some(), "{incident:#?}");
        assert!(incident.analysis.is_some(), "{incident:#?}");
        assert!(!incident.diagnosis[0].evidence.is_empty(), "{incident:#?}");
        self.program.wait_until_up();
        incident
    }

    /// Ends the load: no request may have failed.
    fn end(self) -> LoadStats {
        self.wait_for_requests(50);
        let numbers = self.load.stop();
        assert_eq!(
            numbers.failed,
            0,
            "{:?}\n{}",
            numbers.failures,
            self.program.log()
        );
        numbers
    }
}

fn is(incident: &Incident, fault: FaultKind) -> bool {
    incident
        .diagnosis
        .first()
        .is_some_and(|finding| finding.fault == fault)
}

fn restarted(incident: &Incident) -> bool {
    incident
        .actions
        .iter()
        .any(|action| action.action == "restart")
}

#[test]
fn a_killed_server_is_restarted() {
    let case = Case::start("");
    let pid = case.victim.pid.unwrap();
    signal(pid, "KILL");
    let incident = case.closed(FaultKind::ProcessCrashed);
    assert!(restarted(&incident), "{incident:#?}");
    let evidence = incident.diagnosis[0].evidence.join("\n");
    assert!(
        evidence.contains("SIGKILL") || evidence.contains("signal 9"),
        "{evidence}"
    );
    let now = case.program.servers().remove(1);
    assert!(now.pid.is_some_and(|new| new != pid), "{now:?}");
    case.end();
}

#[test]
fn a_hung_server_is_restarted() {
    let case = Case::start("[service.shop.timeout]\nattempt = \"1s\"");
    let pid = case.victim.pid.unwrap();
    common::keep_stopped(pid);
    let incident = case.closed(FaultKind::ProcessHung);
    assert!(restarted(&incident), "{incident:#?}");
    assert!(!common::lives(pid), "the hung process was killed");
    case.end();
}

/// No attempt comes to its timeout of 30 s: probes find the hang, and what waits on the server goes on elsewhere.
#[test]
fn hung_with_the_default_timeouts() {
    let case = Case::start(
        "[service.shop.detect]\nprobe = { http = \"/health\", every = \"500ms\", timeout = \"400ms\", fast = \"100ms\" }",
    );
    common::keep_stopped(case.victim.pid.unwrap());
    let incident = case.closed(FaultKind::ProcessHung);
    assert!(restarted(&incident), "{incident:#?}");
    let metrics = get(case.program.admin, "/metrics").unwrap().body;
    let retries = |reason: &str| {
        let found = |line: &&str| {
            line.starts_with("evenkeel_retries_total{")
                && line.contains(&format!("reason=\"{reason}\""))
        };
        let line = metrics.lines().find(found);
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .unwrap_or(0)
    };
    assert!(retries("rescued") > 0, "{metrics}");
    assert_eq!(retries("timeout"), 0, "{metrics}");
    case.end();
}

#[test]
fn a_server_that_answers_500_is_restarted() {
    let case = Case::start(
        "[service.shop.retry]\non = [\"connect\", \"reset\", \"timeout\", \"500\", \"502\", \"503\", \"504\"]",
    );
    case.tell_victim("status 500");
    let incident = case.closed(FaultKind::ErrorBurst);
    assert!(restarted(&incident), "{incident:#?}");
    assert!(
        incident.diagnosis[0].evidence.join("\n").contains("5xx"),
        "{incident:#?}"
    );
    case.end();
}

#[test]
fn ten_times_slower() {
    let case = Case::start("");
    // What is slow before it is known to be as fast as others warms up.
    case.wait_for_requests(500);
    case.tell_victim("slow 10");
    let incident = case.closed(FaultKind::SlowServer);
    assert!(restarted(&incident), "{incident:#?}");
    case.end();
}

#[test]
fn listener_closed() {
    let case = Case::start("");
    case.tell_victim("stop-listening");
    let incident = case.closed(FaultKind::NotListening);
    assert!(restarted(&incident), "{incident:#?}");
    case.end();
}

/// Repairs are tried quickly, so that a test can see the end of them.
const QUICK: &str = "[service.shop.recover]\nlimit = { actions = 3, within = \"10m\" }\nbackoff = { base = \"50ms\", cap = \"1s\" }";

#[test]
fn cannot_start() {
    let case = Case::start(QUICK);
    std::fs::write(case.mode_file(), "exit 3").unwrap();
    signal(case.victim.pid.unwrap(), "KILL");
    // Its mode file, which is among its arguments, was written.
    escalates_and_comes_back(case, FaultKind::BadDeploy);
}

#[test]
fn crash_loop() {
    let case = Case::start(QUICK);
    std::fs::write(case.mode_file(), "exit 3 after 200").unwrap();
    signal(case.victim.pid.unwrap(), "KILL");
    escalates_and_comes_back(case, FaultKind::CrashLoop);
}

/// Escalated, and out of service; and once the cause is gone, back and verified.
fn escalates_and_comes_back(case: Case, fault: FaultKind) {
    let escalated = case
        .program
        .wait_for_incident(&format!("escalated, {fault}"), |incident| {
            incident.status == IncidentStatus::Escalated && is(incident, fault)
        });
    assert_eq!(escalated.servers, std::slice::from_ref(&case.victim.name));
    let now = case.program.servers().remove(1);
    assert_ne!(now.state, "up", "{now:?}");
    case.wait_for_requests(50);
    std::fs::remove_file(case.mode_file()).unwrap();
    let closed = case
        .program
        .wait_for_incident("closed after the cause is gone", |incident| {
            incident.status == IncidentStatus::Closed && incident.id == escalated.id
        });
    assert_eq!(
        closed
            .verification
            .map(|verification| verification.outcome)
            .as_deref(),
        Some("passed")
    );
    case.program.wait_until_up();
    case.end();
}

#[test]
fn no_post_is_sent_twice() {
    let program = Program::run(&service(""));
    program.wait_until_up();
    let servers = program.servers();
    let load = OpenLoad::start(LoadPlan {
        mix: vec![RequestMix::post("/orders", 100)],
        id_prefix: Some("once".to_owned()),
        ..LoadPlan::new(program.address(), 200.0)
    })
    .unwrap();
    wait_for("requests", || (load.snapshot().ok > 150).then_some(()));
    // Alive, and it reads requests: it knows each that it got, and answers none.
    assert_eq!(
        ask(servers[1].address, "POST", "/mode", "close")
            .unwrap()
            .status,
        200
    );
    wait_for("failed requests", || {
        (load.snapshot().failed >= 1).then_some(())
    });
    wait_for("the incident", || {
        (!program.incidents_of_services().is_empty()).then_some(())
    });
    // What it saw is lost when it is restarted; ask before.
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    drop(load);
    for server in &servers {
        let Ok(answer) = get(server.address, "/seen/POST") else {
            continue;
        };
        for line in answer.body.lines() {
            let id = line.split_whitespace().nth(1).unwrap().to_owned();
            *seen.entry(id).or_default() += 1;
        }
    }
    // One of the three may be restarted by now, and know of none.
    assert!(seen.len() > 50, "{seen:?}");
    let twice: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

#[test]
fn incidents_outlive_the_program() {
    let mut case = Case::start("");
    signal(case.victim.pid.unwrap(), "KILL");
    let incident = case.closed(FaultKind::ProcessCrashed);
    case.program.signal("TERM");
    assert_eq!(case.program.wait().code(), Some(0));
    let folder = case.program.folder.path();
    let list = call(folder, &["incidents", "list"]);
    assert_eq!(list.status, Some(0), "{list:?}");
    assert!(
        list.out.contains(&incident.id) && list.out.contains("process-crashed"),
        "{}",
        list.out
    );
    let shown = call(
        folder,
        &["incidents", "show", &incident.id, "--format", "json"],
    );
    assert_eq!(shown.status, Some(0), "{shown:?}");
    assert_eq!(
        serde_json::from_str::<Incident>(&shown.out).unwrap(),
        incident
    );
    let markdown = call(
        folder,
        &["incidents", "show", &incident.id, "--format", "markdown"],
    );
    assert!(markdown.out.starts_with('#'), "{}", markdown.out);
}
