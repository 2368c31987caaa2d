//! A breaker for each server, with real sockets.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::*;
use evenkeel_tolerate::BreakerState;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const BAD: &str = "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n";

/// A server that fails until it is told that it is well.
fn ill() -> (SocketAddr, Seen, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(false));
    let is_well = Arc::clone(&well);
    let (address, seen) = server(move |connection| {
        while connection.request().is_some() {
            connection.answer(if is_well.load(Ordering::SeqCst) {
                OK
            } else {
                BAD
            });
        }
    });
    (address, seen, well)
}

fn state(rig: &Rig, server: u32) -> BreakerState {
    let servers = rig.proxy().state().services()[0].servers();
    servers
        .breaker(server, rig.clock.now())
        .expect("it has one")
        .state
}

fn seen(seen: &Seen) -> usize {
    seen.lock().expect("no panic").len()
}

#[test]
fn a_failing_server_gets_no_requests_until_its_breaker_closes() {
    let (one, asked, well) = ill();
    let (two, others) = always(OK);
    let settings = "[service.shop.balance]\npolicy = \"round-robin\"\n\
         [service.shop.breaker]\nconsecutive_failures = 3\nopen_for = \"300ms\"";
    let rig = Rig::new(&[one, two], settings);
    let mut client = rig.client();
    let failed = (0..40).filter(|_| client.get("/").status == 500).count() as u64;
    let changes = |to| counter(&rig, "evenkeel_breaker_changes_total", &["shop", to]);
    // On a machine that stalls, the time until the first trial may be over already.
    let trials = changes("half-open");
    assert_eq!(
        (failed, seen(&asked) as u64),
        (3 + trials, 3 + trials),
        "three in a row, and no more but for trials"
    );
    assert_eq!(changes("open"), 1 + trials);

    // A trial fails, and it stays open for twice as long.
    rig.wait_for(|rig| rig.client().get("/").status == 500);
    assert_eq!(seen(&asked) as u64, 3 + changes("half-open"));
    // The client has its answer a moment before the attempt is counted out.
    rig.wait_for(|_| changes("open") == 1 + changes("half-open"));
    well.store(true, Ordering::SeqCst);
    rig.wait_for(|rig| {
        assert_eq!(rig.client().get("/").status, 200);
        state(rig, 0) == BreakerState::Closed
    });
    let before = seen(&asked);
    for _ in 0..10 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(seen(&asked) - before, 5, "it has its share again");
    assert!(seen(&others) > 30);
}

#[test]
fn a_trial_is_one_at_a_time() {
    let (came_in, came) = std::sync::mpsc::channel();
    let came_in = std::sync::Mutex::new(came_in);
    let hangs = Arc::new(AtomicBool::new(false));
    let does_hang = Arc::clone(&hangs);
    let (one, _) = server(move |connection| {
        while connection.request().is_some() {
            if does_hang.load(Ordering::SeqCst) {
                came_in.lock().expect("no panic").send(()).ok();
                std::thread::park_timeout(std::time::Duration::from_secs(5));
            }
            connection.answer(BAD);
        }
    });
    let (two, _) = always(OK);
    let settings = "[service.shop.balance]\npolicy = \"round-robin\"\n\
         [service.shop.breaker]\nconsecutive_failures = 1\nopen_for = \"100ms\"";
    let rig = Rig::new(&[one, two], settings);
    let mut client = rig.client();
    while client.get("/").status == 200 {}
    hangs.store(true, Ordering::SeqCst);
    // Some client's request is the trial, and hangs.
    let mut trial = None;
    while trial.is_none() {
        let mut client = rig.client();
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        if came
            .recv_timeout(std::time::Duration::from_millis(30))
            .is_ok()
        {
            trial = Some(client);
        }
    }
    assert_eq!(state(&rig, 0), BreakerState::HalfOpen);
    for _ in 0..20 {
        assert_eq!(rig.client().get("/").status, 200);
    }
    assert!(came.try_recv().is_err(), "nobody else was sent there");
    // Its client gives up: the permit is free again, and nothing was decided.
    drop(trial);
    rig.wait_for(|rig| {
        let mut client = rig.client();
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        came.recv_timeout(std::time::Duration::from_millis(30))
            .is_ok()
    });
}

#[test]
fn open_breakers_of_all_servers_fail_fast() {
    let (one, asked, _) = ill();
    let settings =
        "[service.shop.breaker]\nconsecutive_failures = 2\nopen_for = \"1h\"\nopen_most = \"1h\"";
    let rig = Rig::new(&[one], settings);
    let mut client = rig.client();
    let statuses: Vec<u16> = (0..4).map(|_| client.get("/").status).collect();
    assert_eq!(statuses, [500, 500, 503, 503]);
    assert_eq!(state(&rig, 0), BreakerState::Open);
    let member = Arc::clone(&rig.proxy().state().services()[0].servers().pool().members()[0].state);
    assert_eq!(member.standing(rig.clock.now()).word(), "broken");
    let answer = client.get("/");
    assert!(
        answer
            .header("proxy-status")
            .expect("it says why")
            .contains("no-server")
    );
    assert_eq!(seen(&asked), 2);
}

#[test]
fn slow_ones_count_if_that_is_wanted() {
    let (one, _) = server(|connection| {
        while connection.request().is_some() {
            std::thread::park_timeout(std::time::Duration::from_millis(30));
            connection.answer(OK);
        }
    });
    let (two, _) = always(OK);
    let settings = "[service.shop.balance]\npolicy = \"round-robin\"\n\
         [service.shop.breaker]\nminimum_attempts = 5\nslow = { after = \"10ms\" }\nopen_for = \"1h\"\nopen_most = \"1h\"";
    let rig = Rig::new(&[one, two], settings);
    let mut client = rig.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(state(&rig, 0), BreakerState::Open);
    assert_eq!(counter(&rig, "evenkeel_breaker_state", &["open"]), 1);
}
