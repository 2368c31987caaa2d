//! Outages that begin in the servers' processes: a version that cannot start, a slow start, exhausted descriptors. As
//! in `outages`, with automatic recovery and with `mode = "off"`.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;
#[path = "common/outage.rs"]
mod outage;

use common::{GOOD, use_up_descriptors};
use evenkeel_fault::FaultKind;
use evenkeel_lab::RequestMix;
use outage::{Outage, SECOND, go_on};

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

#[test]
fn a_start_that_takes_long() {
    let outage = Outage::start("", &[RequestMix::get("/")]);
    for side in outage.sides() {
        side.deploy(&format!("sleep 5\n{GOOD}"));
    }
    outage.signal(0..2, "KILL");
    outage
        .managed
        .program
        .wait_for_servers("up again", |servers| {
            let mut all = servers.iter().zip(&outage.managed.pids).take(2);
            all.all(|(server, old)| server.state == "up" && server.pid != *old)
        });
    let ended = outage.end();
    ended.assert_all_serve();
    assert!(ended.good > 0.99, "{:?}", ended.numbers.failures);
    ended.assert_kinds(&[FaultKind::ProcessCrashed]);
    // Each was started once.
    assert_eq!(ended.managed.restarts(), 2);
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
