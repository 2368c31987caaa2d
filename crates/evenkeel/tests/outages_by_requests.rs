//! Outages of some requests only: one that crashes its server, a route or a method that fails on all servers, a hang where
//! few requests come. As in `outages`, with automatic recovery and with `mode = "off"`.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;
#[path = "common/outage.rs"]
mod outage;

use common::get;
use evenkeel_fault::FaultKind;
use evenkeel_lab::RequestMix;
use outage::{Outage, OutagePlan, SECOND, go_on};

/// What the sample server ends with.
const POISON: &str = "/exit/3";

#[test]
fn a_request_that_ends_servers_is_reloaded_ten_times() {
    let outage = Outage::start("", &[RequestMix::get("/")]);
    for _ in 0..10 {
        for side in outage.sides() {
            let status = get(side.program.address(), POISON).unwrap().status;
            assert!(matches!(status, 502..=504), "{status}");
        }
        go_on(SECOND / 5);
    }
    go_on(2 * SECOND);
    let ended = outage.end();
    ended.assert_all_serve();
    ended.assert_kinds(&[FaultKind::PoisonRequest, FaultKind::ProcessCrashed]);
    // Each was ended once at most: it was in quarantine before any was up again. (`poison` counts the victims of slower reloads.)
    let incidents = ended.managed.program.incidents();
    assert!(ended.managed.restarts() <= 3, "{incidents:#?}");
    assert!(ended.managed.kinds().contains(&FaultKind::PoisonRequest));
}

/// A route that fails on all servers, for which one incident is right and no action.
fn a_route_fails(route: &str, named: &str) {
    let mix = [RequestMix::get("/").weight(3), RequestMix::get(route)];
    let outage = Outage::start("", &mix);
    let incident = outage.wait_for(FaultKind::BrokenRoute);
    let evidence = incident.diagnosis[0].evidence.join("\n");
    assert!(evidence.contains(named), "{evidence}");
    go_on(6 * SECOND);
    let ended = outage.end();
    ended.assert_no_restart().assert_all_serve();
    ended.assert_kinds(&[FaultKind::BrokenRoute]);
    assert_eq!(ended.managed.incidents().len(), 1);
    assert!(ended.good > 0.7, "{:?}", ended.numbers.failures);
}

#[test]
fn a_route_is_answered_with_errors() {
    a_route_fails("/status/500", "GET /status/*");
}

#[test]
fn a_route_is_answered_with_what_is_no_http() {
    a_route_fails("/garbage", "GET /garbage");
}

#[test]
fn posts_hang_on_all() {
    let mix = [
        RequestMix::get("/").weight(4),
        RequestMix::post("/orders", 10),
        RequestMix::post("/carts", 10),
    ];
    let outage = Outage::start("[service.shop.timeout]\nattempt = \"500ms\"\n", &mix);
    outage.tell(0..3, "hang POST");
    let incident = outage.wait_for(FaultKind::BrokenRoute);
    let evidence = incident.diagnosis[0].evidence.join("\n");
    assert!(evidence.contains("POST"), "{evidence}");
    go_on(6 * SECOND);
    let ended = outage.end();
    ended.assert_no_restart().assert_all_serve();
    ended.assert_kinds(&[FaultKind::BrokenRoute]);
}

/// Probes only connect, so that two requests a second must tell.
#[test]
fn one_hangs_where_few_requests_come() {
    let mix = [RequestMix::get("/")];
    let outage = Outage::of(&OutagePlan {
        probed: "[service.shop.recover.verify]\nwithin = \"50s\"\n",
        more: "[service.shop.timeout]\nattempt = \"1s\"\n",
        rate: 2.0,
        ..OutagePlan::new(&mix)
    });
    outage.tell(0..1, "hang");
    outage.wait_for(FaultKind::ProcessHung);
    outage.managed.wait_for_new(0..1);
    let ended = outage.end();
    ended.assert_all_serve();
    ended.assert_kinds(&[FaultKind::ProcessHung]);
    assert_eq!(ended.managed.restarts(), 1);
    assert!(ended.good > 0.95, "{:?}", ended.numbers.failures);
}
