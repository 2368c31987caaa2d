//! Outages caused by requests: one that crashes its server. As in `outages`, with automatic recovery and with `mode =
//! "off"`.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;
#[path = "common/outage.rs"]
mod outage;

use common::get;
use evenkeel_fault::FaultKind;
use evenkeel_lab::RequestMix;
use outage::{Outage, SECOND, go_on};

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
}
