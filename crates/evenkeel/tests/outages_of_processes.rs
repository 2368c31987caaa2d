//! Outages that begin in the servers' processes: a version that cannot start or listens elsewhere, a slow or cold start,
//! exhausted descriptors, a closed listener. As in `outages`, with automatic recovery and with `mode = "off"`.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;
#[path = "common/outage.rs"]
mod outage;

use common::{GOOD, PROBED, call, free_ports, use_up_descriptors};
use evenkeel_fault::FaultKind;
use evenkeel_fault::incident::IncidentStatus;
use evenkeel_lab::RequestMix;
use outage::{Ended, Outage, OutagePlan, SECOND, go_on};

/// Starts are tried quickly, so that a test can see the end of them: to be added to `recover`.
const OFTEN: &str = r#"
limit = { actions = 1000, within = "1m" }
backoff = { base = "50ms", cap = "1s" }
"#;

#[test]
fn a_new_version_that_cannot_start() {
    let outage = Outage::start(OFTEN, &[RequestMix::get("/")]);
    for side in outage.sides() {
        side.deploy("echo no such module\nexit 1\n");
    }
    outage.signal(0..2, "KILL");
    outage.wait_for(FaultKind::BadDeploy);
    go_on(4 * SECOND);
    for side in outage.sides() {
        side.deploy(GOOD);
    }
    outage.managed.program.wait_until_up();
    let ended = outage.end();
    ended.assert_all_serve();
    assert!(ended.good > 0.99, "{:?}", ended.numbers.failures);
    // The third goes on with what it has.
    assert_eq!(ended.managed.program.pids()[2], ended.managed.pids[2]);
}

/// The key that gives a start more time.
const KEY: &str = "recover.verify.within";

/// Longer than the time that a start is given, and shorter than twice that, which is when it would be begun again.
#[test]
fn a_start_that_takes_long() {
    let probed = PROBED.replace("50s", "4s");
    let mix = [RequestMix::get("/")];
    let outage = Outage::of(&OutagePlan {
        probed: &probed,
        ..OutagePlan::new(&mix)
    });
    for side in outage.sides() {
        side.deploy(&format!("sleep 5\n{GOOD}"));
    }
    outage.signal(0..2, "KILL");
    outage.managed.wait_for_new(0..2);
    let program = &outage.managed.program;
    program.wait_for_incident("that names the key", |one| {
        one.servers.iter().any(|name| name.ends_with("-1"))
            && one.timeline.iter().any(|entry| entry.text.contains(KEY))
    });
    // One that an operator restarts had not ended by itself: there is nothing but the slow start.
    let admin = format!("http://{}", program.admin);
    let words = ["restart", "shop/shop-3", "--admin", &admin];
    let ordered = call(program.folder.path(), &words);
    assert_eq!(ordered.status, Some(0), "{ordered:?}");
    let slow = outage.wait_for(FaultKind::CannotStart);
    let evidence = slow.diagnosis[0].evidence.join("\n");
    assert!(
        evidence.contains("it is slow") && evidence.contains(KEY),
        "{evidence}"
    );
    outage.managed.wait_for_new(2..3);
    let ended = outage.end();
    ended.assert_all_serve();
    assert!(ended.good > 0.99, "{:?}", ended.numbers.failures);
    ended.assert_kinds(&[FaultKind::ProcessCrashed, FaultKind::CannotStart]);
    // Each of the two was started once; the third by order.
    assert_eq!(ended.managed.restarts(), 2);
}

/// Its first requests after the start take twenty times as long.
#[test]
fn a_cold_start() {
    let outage = Outage::start("", &[RequestMix::get("/")]);
    // As fast as each other: that is known of them.
    go_on(12 * SECOND);
    for side in outage.sides() {
        side.deploy("echo cold 150 20 >\"$0.mode\"\nexec \"$@\" --mode-file \"$0.mode\"\n");
    }
    outage.signal(0..1, "KILL");
    outage.managed.wait_for_new(0..1);
    let pids = outage.managed.program.pids();
    go_on(10 * SECOND);
    let ended = outage.end();
    ended.assert_all_serve();
    ended.assert_kinds(&[FaultKind::ProcessCrashed, FaultKind::SlowServer]);
    // It was started, and not restarted for being slow.
    assert_eq!(ended.managed.restarts(), 1);
    assert_eq!(ended.managed.program.pids(), pids);
    assert!(ended.good > 0.99, "{:?}", ended.numbers.failures);
}

/// A new version of one server runs where nobody looks for it: nothing but a person helps.
fn it_is_elsewhere(script: &str, allowed: &[FaultKind]) -> Ended {
    let (probed, mix) = (PROBED.replace("50s", "4s"), [RequestMix::get("/")]);
    let outage = Outage::of(&OutagePlan {
        probed: &probed,
        more: OFTEN,
        ..OutagePlan::new(&mix)
    });
    for side in outage.sides() {
        side.deploy(script);
    }
    outage.signal(0..1, "KILL");
    outage
        .managed
        .program
        .wait_for_incident("that says it", |one| {
            let first = one.diagnosis.first();
            first.is_some_and(|finding| allowed.contains(&finding.fault))
        });
    go_on(6 * SECOND);
    let ended = outage.end();
    ended.assert_kinds(&[allowed, &[FaultKind::ProcessCrashed]].concat());
    assert!(ended.good > 0.99, "{:?}", ended.numbers.failures);
    assert_ne!(ended.managed.program.servers()[0].state, "up");
    assert_eq!(ended.managed.program.pids()[1..], ended.managed.pids[1..]);
    ended
}

/// It is started once, and an operator is told where it listens.
fn it_listens_elsewhere(script: &str, place: &str) {
    let ended = it_is_elsewhere(script, &[FaultKind::NotListening]);
    assert_eq!(ended.managed.restarts(), 1);
    let incidents = ended.managed.program.incidents();
    let told = incidents.iter().any(|one| {
        let evidence = one.diagnosis[0].evidence.join("\n");
        one.status == IncidentStatus::Escalated && evidence.contains(place)
    });
    assert!(told, "{incidents:#?}");
}

#[test]
fn a_new_version_listens_at_another_port() {
    let other = free_ports(1)[0];
    let script = format!("exec \"$1\" \"$2\" --port {other}\n");
    it_listens_elsewhere(&script, &format!("it listens at 127.0.0.1:{other}"));
}

#[test]
fn a_new_version_listens_at_another_address() {
    it_listens_elsewhere("exec \"$@\" --ip ::1\n", "it listens at [::1]:");
}

/// Its process starts another one and ends.
#[test]
fn a_new_version_goes_into_the_background() {
    let script = "setsid timeout 20 \"$@\" &\nexit 0\n";
    let allowed = [
        FaultKind::BadDeploy,
        FaultKind::CannotStart,
        FaultKind::PortTaken,
    ];
    it_is_elsewhere(script, &allowed);
}

/// Its clients' connections are kept, and requests on them succeed.
#[test]
fn a_listener_is_closed_while_its_connections_work() {
    let outage = Outage::start("", &[RequestMix::get("/")]);
    outage.tell(1..2, "stop-accepting");
    outage.wait_for(FaultKind::NotListening);
    outage.managed.wait_for_new(1..2);
    let ended = outage.end();
    ended.assert_all_serve();
    ended.assert_kinds(&[FaultKind::NotListening]);
    assert_eq!(ended.managed.restarts(), 1);
    assert!(ended.good > 0.99, "{:?}", ended.numbers.failures);
}

#[test]
fn a_process_that_may_open_no_more_descriptors() {
    let outage = Outage::start("", &[RequestMix::get("/")]);
    for side in outage.sides() {
        use_up_descriptors(side.pids[1].unwrap());
    }
    outage.wait_for(FaultKind::DescriptorExhaustion);
    outage
        .managed
        .program
        .wait_for_servers("a new process", |servers| {
            servers[1].state == "up" && servers[1].pid != outage.managed.pids[1]
        });
    let ended = outage.end();
    ended.assert_all_serve();
    ended.assert_kinds(&[FaultKind::DescriptorExhaustion]);
    assert_eq!(ended.managed.restarts(), 1);
}
