//! Held requests, with real processes: three servers that are killed at once cost no GET request.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::process::Command;
use std::time::Duration;

use common::{Program, ServerNow, wait_for};
use evenkeel_lab::{LoadPlan, OpenLoad};

/// Requests wait for up to a minute: how long a start takes on a busy machine is not what is asked here.
const HOLD: &str = "[service.shop.hold_requests]\nup_to = \"50s\"";

#[test]
fn three_servers_that_are_killed_at_once_cost_gets_nothing() {
    let program = Program::with_three(HOLD);
    let load = OpenLoad::start(LoadPlan {
        timeout: Duration::from_secs(60),
        ..LoadPlan::new(program.address(), 100.0)
    });
    let load = load.unwrap();
    let wait_for_answers = |number: u64| {
        let before = load.snapshot().ok;
        wait_for("answers", || {
            (load.snapshot().ok >= before + number).then_some(())
        });
    };
    wait_for_answers(100);
    let pids: Vec<u32> = program
        .servers()
        .iter()
        .filter_map(|server| server.pid)
        .collect();
    assert_eq!(pids.len(), 3);
    // One call for all, so that they die in the same moment.
    let killed = Command::new("kill")
        .arg("-KILL")
        .args(pids.iter().map(u32::to_string))
        .status();
    assert!(killed.unwrap().success());
    let held = "evenkeel_held_requests_total{service=\"shop\"}";
    wait_for("requests that are held", || {
        (program.metric(held) > 0.0).then_some(())
    });
    // Whatever the incidents are called: who hears of the ends first is chance.
    wait_for("three new processes in service", || {
        let servers = program.servers();
        let is_back = |server: &ServerNow| {
            server.state == "up" && server.pid.is_some_and(|pid| !pids.contains(&pid))
        };
        servers.iter().all(is_back).then_some(())
    });
    wait_for_answers(100);
    let end = load.snapshot();
    assert_eq!(end.failed, 0, "{end:?}");
    assert_eq!(program.api("/api/services/shop")["failed"], 0);
    assert_eq!(program.api("/api/services/shop")["held"], 0);
}
