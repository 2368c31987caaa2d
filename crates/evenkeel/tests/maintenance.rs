//! Whatever an operator takes out of service is left alone, even across a restart of evenkeel, until it is restored.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Program, get, lives, signal, wait_for};

#[test]
fn a_held_server_that_is_stopped_is_not_restarted_and_outlives_a_restart_of_evenkeel() {
    let program = Program::with_children("");
    let reason = ["--reason", "a new disk", "--for", "2h", "--wait"];
    let drained = program.order(&[&["drain", "shop/shop-1"], &reason[..]].concat());
    assert_eq!(drained.status, Some(0), "{drained:?}");
    let victim = program.servers()[0].pid.unwrap();
    signal(victim, "KILL");
    wait_for("its end", || {
        let now = &program.servers()[0];
        (now.pid.is_none() && now.state == "maintenance").then_some(())
    });
    assert!(!lives(victim));
    let status = program.order(&["status"]);
    assert!(
        status.out.contains("in maintenance (drained)") && status.out.contains("a new disk"),
        "{status:?}"
    );

    let program = program.again();
    assert_eq!(program.servers()[0].state, "maintenance");
    let view = program.api("/api/services/shop");
    assert_eq!(view["servers"][0]["standing"], "draining");
    assert_eq!(view["servers"][0]["maintenance"]["reason"], "a new disk");
    wait_for("the other server", || {
        (program.servers()[1].state == "up").then_some(())
    });
    let restored = program.order(&["restore", "shop/shop-1", "--wait"]);
    assert_eq!(restored.status, Some(0), "{restored:?}\n{}", program.log());
    assert!(restored.out.contains("verified"), "{restored:?}");
    program.wait_until_up();
    let incidents = program.incidents_of_services();
    assert!(incidents.is_empty(), "{incidents:#?}");
}

#[test]
fn the_last_server_is_taken_out_by_force_only() {
    let program = Program::with_children("");
    assert_eq!(program.order(&["drain", "shop/shop-1"]).status, Some(0));
    for verb in ["drain", "eject", "restart"] {
        let refused = program.order(&[verb, "shop/shop-2"]);
        assert!(
            refused.status == Some(1) && refused.err.contains("--force"),
            "{refused:?}"
        );
    }
    assert_eq!(program.servers()[1].state, "up");
    let forced = program.order(&["eject", "shop/shop-2", "--force"]);
    assert_eq!(forced.status, Some(0), "{forced:?}");
    assert_eq!(program.servers()[1].state, "maintenance");
}

#[test]
fn a_service_in_maintenance_is_answered_for_until_it_is_verified() {
    let program = Program::with_children("");
    let on = program.order(&["maintenance", "shop", "on", "--reason", "a new schema"]);
    assert_eq!(on.status, Some(0), "{on:?}");
    let answer = get(program.address(), "/").unwrap();
    assert_eq!(answer.status, 503);
    assert!(
        answer.head.to_lowercase().contains("retry-after: 30"),
        "{}",
        answer.head
    );
    let program = program.again();
    wait_for("the answer of maintenance", || {
        (get(program.address(), "/").ok()?.status == 503).then_some(())
    });
    let view = program.api("/api/services/shop");
    assert_eq!(view["maintenance"]["reason"], "a new schema");
    let off = program.order(&["maintenance", "shop", "off", "--wait"]);
    assert_eq!(off.status, Some(0), "{off:?}\n{}", program.log());
    assert_eq!(get(program.address(), "/").unwrap().status, 200);
    let twice = program.order(&["maintenance", "shop", "off"]);
    assert_eq!(twice.status, Some(1), "{twice:?}");
    let incidents = program.incidents_of_services();
    assert!(incidents.is_empty(), "{incidents:#?}");
}

/// Orders that cannot come to anything say so, and the exit status does.
#[test]
fn an_order_returns_its_result() {
    let program = Program::run(
        "[admin]\naddress = \"127.0.0.1:0\"\n[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n\
         [service.shop]\nservers = [\n{ address = \"127.0.0.1:9\", name = \"plain\" },\n\
         { address = \"127.0.0.1:10\", name = \"broken\", managed_by = { exec = { restart = [\"/no/such/program\"] } } },\n]\n\
         [service.shop.recover]\nmode = \"off\"\n",
    );
    let refused = program.order(&["restart", "shop/plain", "--force"]);
    assert!(
        refused.status == Some(1) && refused.err.contains("managed_by"),
        "{refused:?}"
    );
    let failed = program.order(&["restart", "shop/broken", "--force", "--wait"]);
    assert!(
        failed.status == Some(1) && failed.err.contains("/no/such/program"),
        "{failed:?}\n{}",
        program.log()
    );
}
