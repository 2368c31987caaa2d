//! Outages with a shared cause or by a kind of request, and short pauses, with real processes.
//!
//! Each happens at the same time to two instances of evenkeel under the same load, one with automatic recovery and one
//! with `mode = "off"`: recovery must never leave clients with fewer successful responses than no recovery.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;
#[path = "common/outage.rs"]
mod outage;

use std::collections::BTreeSet;

use common::wait_for;
use evenkeel_fault::FaultKind;
use evenkeel_fault::incident::IncidentStatus;
use evenkeel_lab::RequestMix;
use outage::{Outage, OutagePlan, SECOND, go_on};

/// How far two runs of the same outage are apart by chance, which is what is allowed for.
#[test]
fn the_same_outage_twice_without_recovery_costs_the_same() {
    let mix = [
        RequestMix::get("/").weight(3),
        RequestMix::get("/status/500"),
        RequestMix::post("/orders", 10),
    ];
    let outage = Outage::in_modes(
        ["off", "off"],
        &OutagePlan {
            more: "[service.shop.timeout]\nattempt = \"500ms\"\n",
            ..OutagePlan::new(&mix)
        },
    );
    outage.tell(0..1, "hang");
    go_on(4 * SECOND);
    outage.tell(0..3, "status 500 0.5");
    go_on(2 * SECOND);
    outage.tell(0..1, "status 503 0.3");
    outage.tell(1..3, "ok");
    go_on(2 * SECOND);
    let pairs = outage.compare();
    println!("apart by chance: {pairs:?}");
    assert!(
        (pairs.lost - pairs.won).abs() <= pairs.by_chance(),
        "{pairs:?}"
    );
}

#[test]
fn a_database_that_is_away() {
    a_database_is_away(true);
}

#[test]
fn a_database_that_is_away_of_servers_that_evenkeel_does_not_run() {
    a_database_is_away(false);
}

fn a_database_is_away(is_supervised: bool) {
    let mix = [RequestMix::get("/")];
    let outage = Outage::of(&OutagePlan {
        is_supervised,
        ..OutagePlan::new(&mix)
    });
    outage.tell(0..3, "status 500");
    go_on(8 * SECOND);
    outage.tell(0..3, "ok");
    go_on(2 * SECOND);
    // One second after it is back all is served.
    let numbers = outage.managed.load.snapshot();
    assert_eq!(numbers.failed_last_second, 0, "{:?}", numbers.failures);
    go_on(2 * SECOND);
    let incident = outage.wait_for(FaultKind::DependencyFailure);
    assert_eq!(incident.servers.len(), 3);
    let ended = outage.end();
    ended.assert_no_restart().assert_all_serve();
    ended.assert_kinds(&[FaultKind::DependencyFailure]);
}

#[test]
fn a_route_that_hangs_on_all() {
    let mix = [
        RequestMix::get("/").weight(3),
        RequestMix::get("/delay/60000"),
    ];
    let outage = Outage::start("[service.shop.timeout]\nattempt = \"500ms\"\n", &mix);
    let incident = outage.wait_for(FaultKind::BrokenRoute);
    let evidence = incident.diagnosis[0].evidence.join("\n");
    assert!(evidence.contains("GET /delay/*"), "{evidence}");
    go_on(6 * SECOND);
    let ended = outage.end();
    ended.assert_no_restart().assert_all_serve();
    ended.assert_kinds(&[FaultKind::BrokenRoute]);
}

#[test]
fn a_wrong_probe_and_then_all_processes_end() {
    let outage = Outage::start("", &[RequestMix::get("/")]);
    outage.tell(0..3, "unhealthy");
    outage.wait_for(FaultKind::BadProbe);
    outage.signal(0..3, "KILL");
    outage.managed.wait_for_new_processes();
    go_on(4 * SECOND);
    outage.end();
}

#[test]
fn a_wrong_probe_and_then_errors_only() {
    let outage = Outage::start("", &[RequestMix::get("/")]);
    outage.tell(0..3, "unhealthy");
    outage.wait_for(FaultKind::BadProbe);
    outage.tell(0..3, "sick");
    outage.wait_for(FaultKind::DependencyFailure);
    go_on(4 * SECOND);
    outage.tell(0..3, "ok");
    go_on(2 * SECOND);
    let ended = outage.end();
    ended.assert_no_restart().assert_all_serve();
    ended.assert_kinds(&[FaultKind::BadProbe, FaultKind::DependencyFailure]);
}

#[test]
fn a_wrong_probe_where_few_requests_come() {
    let mix = [RequestMix::get("/")];
    let outage = Outage::of(&OutagePlan {
        rate: 3.0,
        ..OutagePlan::new(&mix)
    });
    outage.tell(0..3, "unhealthy");
    outage.wait_for(FaultKind::BadProbe);
    go_on(8 * SECOND);
    outage.tell(0..3, "ok");
    go_on(SECOND);
    let ended = outage.end();
    ended.assert_no_restart().assert_all_serve();
    ended.assert_kinds(&[FaultKind::BadProbe]);
    assert_eq!(ended.numbers.failed, 0, "{:?}", ended.numbers.failures);
}

#[test]
fn nobody_listens_any_more() {
    let outage = Outage::start("", &[RequestMix::get("/")]);
    outage.tell(0..3, "stop-listening");
    outage.wait_for(FaultKind::NotListening);
    outage.managed.wait_for_new_processes();
    go_on(4 * SECOND);
    outage.end();
}

#[test]
fn servers_that_shed() {
    servers_shed("status 503 0.3");
}

#[test]
fn servers_that_shed_and_say_for_how_long() {
    servers_shed("shed 0.3 1");
}

fn servers_shed(mode: &str) {
    let outage = Outage::start("", &[RequestMix::get("/")]);
    outage.tell(0..3, mode);
    go_on(8 * SECOND);
    outage.wait_for(FaultKind::Overload);
    outage.tell(0..3, "ok");
    go_on(2 * SECOND);
    let ended = outage.end();
    ended.assert_no_restart().assert_all_serve();
    ended.assert_kinds(&[FaultKind::Overload]);
}

/// Nothing is wrong with the servers: connections do not get to them.
#[test]
fn packets_are_dropped() {
    let outage = Outage::start("", &[RequestMix::get("/")]);
    outage.tell(0..3, "drop 6");
    go_on(9 * SECOND);
    outage.wait_for(FaultKind::Unreachable);
    let ended = outage.end();
    ended.assert_no_restart().assert_all_serve();
    ended.assert_kinds(&[FaultKind::Unreachable]);
}

/// The requests of one key take long, and one server gets all of them.
#[test]
fn a_heavy_key() {
    let balance = "[service.shop.balance]\npolicy = \"ring-hash\"\nhash_on = \"path\"\n";
    let mix = [
        RequestMix::get("/delay/60"),
        RequestMix::get("/"),
        RequestMix::get("/a"),
        RequestMix::get("/b"),
    ];
    let outage = Outage::start(balance, &mix);
    go_on(20 * SECOND);
    let ended = outage.end();
    ended.assert_no_restart().assert_all_serve();
    ended.assert_kinds(&[]);
}

/// Finds within a second what does not answer.
const QUICK_PROBE: &str = r#"
[service.shop.detect]
probe = { http = "/health", every = "250ms", timeout = "300ms", fast = "100ms", fall = 2 }

[service.shop.recover.verify]
within = "50s"
"#;

/// A stopped process is restarted after about two seconds; a pause that ends before that is no reason to.
#[test]
fn a_process_that_pauses() {
    let mix = [RequestMix::get("/")];
    let outage = Outage::of(&OutagePlan {
        probed: QUICK_PROBE,
        ..OutagePlan::new(&mix)
    });
    for _ in 0..2 {
        outage.signal(0..1, "STOP");
        go_on(SECOND.mul_f64(1.5));
        outage.signal(0..1, "CONT");
        go_on(3 * SECOND);
    }
    let hung = FaultKind::ProcessHung.to_string();
    let program = &outage.managed.program;
    program.wait_for_incident("of a process that hangs", |one| {
        one.timeline
            .iter()
            .any(|entry| entry.text.starts_with(&hung))
    });
    let ended = outage.end();
    ended.assert_no_restart().assert_all_serve();
    ended.assert_kinds(&[FaultKind::ProcessHung]);
}

/// As an event loop that is blocked by work now and then.
#[test]
fn a_server_that_blocks_again_and_again() {
    let mix = [RequestMix::get("/")];
    let outage = Outage::of(&OutagePlan {
        probed: QUICK_PROBE,
        ..OutagePlan::new(&mix)
    });
    for _ in 0..2 {
        outage.tell(0..1, "hang");
        go_on(3 * SECOND);
        outage.tell(0..1, "ok");
        go_on(4 * SECOND);
    }
    outage.wait_for(FaultKind::ProcessHung);
    let ended = outage.end();
    ended.assert_no_restart().assert_all_serve();
    ended.assert_kinds(&[FaultKind::ProcessHung]);
}

/// Nothing else can take its requests: what is done about it may not cost any.
#[test]
fn the_only_server_blocks_again_and_again() {
    let mix = [RequestMix::get("/")];
    let outage = Outage::of(&OutagePlan {
        probed: QUICK_PROBE,
        more: "[service.shop.timeout]\nattempt = \"500ms\"\n",
        servers: 1,
        ..OutagePlan::new(&mix)
    });
    for _ in 0..3 {
        outage.tell(0..1, "hang");
        go_on(3 * SECOND);
        outage.tell(0..1, "ok");
        go_on(4 * SECOND);
    }
    outage.wait_for(FaultKind::ProcessHung);
    let ended = outage.end();
    ended.assert_no_restart().assert_all_serve();
    ended.assert_kinds(&[FaultKind::ProcessHung]);
}

#[test]
fn evenkeel_itself_is_stopped() {
    let outage = Outage::start("", &[RequestMix::get("/")]);
    for side in outage.sides() {
        side.program.signal("STOP");
    }
    go_on(12 * SECOND);
    for side in outage.sides() {
        side.program.signal("CONT");
    }
    go_on(4 * SECOND);
    let ended = outage.end();
    ended.assert_no_restart().assert_all_serve();
    let blamed = ended.managed.program.incidents_of_services();
    assert!(blamed.is_empty(), "{blamed:#?}");
}

#[test]
fn one_of_twenty_answers_is_an_error() {
    let outage = Outage::start("", &[RequestMix::get("/")]);
    outage.tell(0..3, "status 500 0.05");
    go_on(10 * SECOND);
    let ended = outage.end();
    ended.assert_no_restart().assert_all_serve();
}

#[test]
fn two_of_three_hang_and_the_third_carries_what_it_can() {
    let outage = Outage::start(
        "[service.shop.timeout]\nattempt = \"1s\"\n",
        &[RequestMix::get("/")],
    );
    outage.tell(0..2, "hang");
    go_on(10 * SECOND);
    let numbers = outage.managed.load.snapshot();
    // Found by a few requests; then the third serves all.
    assert_eq!(
        numbers.failed_last_second,
        0,
        "{:?}\n{:#?}\n{}",
        numbers.failures,
        outage.managed.program.servers(),
        outage.managed.program.log()
    );
    let ended = outage.end();
    assert!(ended.good > 0.9, "{:?}", ended.numbers.failures);
}

#[test]
fn one_is_killed_and_one_fails_and_one_hangs() {
    let outage = Outage::start(
        "[service.shop.timeout]\nattempt = \"1s\"\n",
        &[RequestMix::get("/")],
    );
    outage.signal(0..1, "KILL");
    outage.tell(1..2, "status 500");
    outage.tell(2..3, "hang");
    wait_for("incidents that name all three", || {
        let incidents = outage.managed.program.incidents_of_services();
        let named: BTreeSet<&String> = incidents.iter().flat_map(|one| &one.servers).collect();
        (named.len() == 3).then_some(())
    });
    wait_for(
        "all but the first stay in some way, and requests succeed",
        || {
            let numbers = outage.managed.load.snapshot();
            (numbers.failed_last_second == 0).then_some(())
        },
    );
    go_on(8 * SECOND);
    outage.end();
}

#[test]
fn a_closed_incident_says_how_it_ended() {
    let outage = Outage::start("", &[RequestMix::get("/")]);
    outage.signal(0..1, "KILL");
    let incident = outage
        .managed
        .program
        .wait_for_incident("closed", |incident| {
            incident.status == IncidentStatus::Closed
        });
    assert_eq!(incident.servers.len(), 1);
    outage.end().assert_kinds(&[FaultKind::ProcessCrashed]);
}

#[test]
fn posts_hang_on_one() {
    let mix = [
        RequestMix::get("/").weight(3),
        RequestMix::post("/orders", 10),
    ];
    let outage = Outage::start("[service.shop.timeout]\nattempt = \"500ms\"\n", &mix);
    outage.tell(0..1, "hang POST");
    let incident = outage.wait_for(FaultKind::BrokenRoute);
    let evidence = incident.diagnosis[0].evidence.join("\n");
    assert!(evidence.contains("POST /orders"), "{evidence}");
    assert_eq!(
        incident.servers,
        [outage.managed.program.servers()[0].name.as_str()]
    );
    go_on(4 * SECOND);
    let ended = outage.end();
    ended.assert_no_restart();
    ended.assert_kinds(&[FaultKind::BrokenRoute]);
}

/// 400 ms instead of two: a difference for which a past of some seconds does.
#[test]
fn two_of_three_are_slow() {
    let outage = Outage::start("", &[RequestMix::get("/")]);
    go_on(14 * SECOND);
    outage.tell(0..2, "slow 200");
    outage.wait_for(FaultKind::SlowServer);
    go_on(4 * SECOND);
    outage.tell(0..2, "ok");
    go_on(2 * SECOND);
    let ended = outage.end();
    ended.assert_no_restart();
    ended.assert_kinds(&[FaultKind::SlowServer]);
}
