//! Overload, or a route that blocks all servers, with real processes: whatever can be served is, the rest is answered
//! at once, and no server is ejected or restarted.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Program, ask, get, wait_for};
use evenkeel_fault::incident::{CloseReason, IncidentStatus};
use evenkeel_fault::{FaultKind, Incident};
use evenkeel_lab::load::RequestMix;
use evenkeel_lab::{LoadPlan, OpenLoad};

fn is_of(incident: &Incident, kind: FaultKind) -> bool {
    let first = incident.diagnosis.first();
    first.is_some_and(|finding| finding.fault == kind) && incident.end != Some(CloseReason::Merged)
}

fn assert_sheds(incident: &Incident) {
    let mut actions = incident.actions.iter();
    assert!(
        actions.any(|action| action.action == "shed"),
        "{incident:#?}"
    );
}

/// Nothing was restarted, and all take requests.
fn assert_left_alone(program: &Program, pids: &[Option<u32>]) {
    for incident in program.incidents() {
        let mut actions = incident.actions.iter();
        assert!(
            actions.all(|action| action.action != "restart"),
            "{incident:#?}"
        );
    }
    assert_eq!(program.pids(), pids);
    wait_for("all in rotation", || {
        let servers = program.servers();
        let out = ["ejected", "recovering", "verifying", "down"];
        let mut states = servers.iter().map(|server| server.state.as_str());
        states.all(|state| !out.contains(&state)).then_some(())
    });
}

const QUICK: &str = r#"
[service.shop.timeout]
attempt = "1s"
"#;

#[test]
fn a_route_that_hangs_fails_fast_and_opens_by_itself() {
    let program = Program::with_three(QUICK);
    let pids = program.pids();
    let plan = LoadPlan::new(program.address(), 20.0);
    let well = OpenLoad::start(plan.clone()).unwrap();
    let hanging = OpenLoad::start(LoadPlan {
        mix: vec![RequestMix::get("/delay/60000")],
        ..plan
    });
    let hanging = hanging.unwrap();
    let of_route = |incident: &Incident| is_of(incident, FaultKind::BrokenRoute);
    let incident = program.wait_for_incident("of the route", of_route);
    assert_sheds(&incident);
    // Its requests are answered at once, except for occasional trials.
    let refused = || {
        let answer = get(program.address(), "/delay/60000").unwrap();
        answer
            .head
            .contains("details=\"route-broken\"")
            .then_some(answer)
    };
    for _ in 0..20 {
        let answer = wait_for("an answer at once", refused);
        assert_eq!(answer.status, 503);
        assert!(answer.head.contains("retry-after: 1"), "{}", answer.head);
    }
    let services = program.api("/api/services").to_string();
    assert!(
        services.contains("GET /delay/* hangs on all servers"),
        "{services}"
    );
    assert_left_alone(&program, &pids);
    drop(hanging);

    // It has recovered: trials find that out, whatever else happens.
    let healed = LoadPlan {
        mix: vec![RequestMix::get("/delay/1")],
        ..LoadPlan::new(program.address(), 50.0)
    };
    let healed = OpenLoad::start(healed).unwrap();
    let closed = program.wait_for_incident("of the route, closed", |incident| {
        of_route(incident) && incident.status == IncidentStatus::Closed
    });
    assert_eq!(closed.verification.unwrap().outcome, "passed");
    let before = healed.snapshot().ok;
    wait_for("it is open", || {
        (healed.snapshot().ok > before + 50).then_some(())
    });
    assert_left_alone(&program, &pids);
    let numbers = well.stop();
    assert_eq!(numbers.failed, 0, "{:?}", numbers.failures);
}

/// Each works on two requests at once for 20 ms; others wait in it.
const SLOTS: &str = "slots 2";

#[test]
fn in_an_overload_a_limit_is_found_and_the_excess_is_told_at_once() {
    let program = Program::with_three("");
    let pids = program.pids();
    for server in program.servers() {
        assert_eq!(
            ask(server.address, "POST", "/mode", SLOTS).unwrap().status,
            200
        );
    }
    let mix = || vec![RequestMix::get("/delay/20")];
    let usual = LoadPlan {
        mix: mix(),
        ..LoadPlan::new(program.address(), 30.0)
    };
    let usual = OpenLoad::start(usual).unwrap();
    wait_for("what is usual is known", || {
        (usual.snapshot().ok > 300).then_some(())
    });
    let before = program.incidents_of_services();
    assert!(before.is_empty(), "{before:#?}");
    let excess = LoadPlan {
        mix: mix(),
        connections: 2_000,
        ..LoadPlan::new(program.address(), 900.0)
    };
    let excess = OpenLoad::start(excess).unwrap();
    let of_load = |incident: &Incident| is_of(incident, FaultKind::Overload);
    let incident = program.wait_for_incident("of the overload", of_load);
    assert_sheds(&incident);
    wait_for("limits", || {
        let service = program.api("/api/services/shop");
        let servers = service["servers"].as_array()?.clone();
        let limits = servers.iter().filter_map(|server| server["limit"].as_u64());
        (limits.filter(|limit| *limit < 100).count() == 3).then_some(())
    });
    // Both run concurrently: requests keep being served, and the others are informed at once.
    let (ok, refused) = (
        excess.snapshot().ok,
        program.metric("evenkeel_queue_denied_total"),
    );
    wait_for("served and refused", || {
        let more = excess.snapshot().ok >= ok + 200;
        (more && program.metric("evenkeel_queue_denied_total") >= refused + 200.0).then_some(())
    });
    assert_left_alone(&program, &pids);
    drop(excess);
    let closed = program.wait_for_incident("of the overload, closed", |incident| {
        of_load(incident) && incident.status == IncidentStatus::Closed
    });
    assert_eq!(closed.verification.unwrap().outcome, "passed");
    wait_for("no limit", || {
        let service = program.api("/api/services/shop");
        let servers = service["servers"].as_array()?.clone();
        servers
            .iter()
            .all(|server| server["limit"].is_null())
            .then_some(())
    });
    assert_left_alone(&program, &pids);
}

#[test]
fn servers_that_shed_by_themselves_are_left_alone_and_clients_hardly_notice() {
    let program = Program::with_three("");
    let pids = program.pids();
    let load = OpenLoad::start(LoadPlan::new(program.address(), 100.0)).unwrap();
    wait_for("answers", || (load.snapshot().ok >= 100).then_some(()));
    for server in program.servers() {
        let answer = ask(server.address, "POST", "/mode", "status 503 0.3").unwrap();
        assert_eq!(answer.status, 200);
    }
    let of_load = |incident: &Incident| is_of(incident, FaultKind::Overload);
    program.wait_for_incident("of servers that shed", of_load);
    // The limits that are found meanwhile keep nothing out that the servers would take.
    let before = load.snapshot();
    wait_for("answers", || {
        (load.snapshot().ok >= before.ok + 500).then_some(())
    });
    let (ok, failed) = (
        load.snapshot().ok - before.ok,
        load.snapshot().failed - before.failed,
    );
    assert!(
        failed * 5 <= ok,
        "{failed} of {ok} failed: servers refuse three of ten, and retries find the others"
    );
    assert!(program.metric("evenkeel_queue_denied_total") < 1.0);
    assert_left_alone(&program, &pids);
}
