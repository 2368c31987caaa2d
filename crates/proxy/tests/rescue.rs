//! Requests that wait on a server which is taken out as dead or hung go on elsewhere.

mod common;

use std::cell::Cell;
use std::io::Write as _;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use common::*;
use evenkeel_core::{Directive, EjectionReason, Instant, ServerId};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// Both servers get their share in turn; nothing else than the order to leave ends an attempt in time.
const ROUND_ROBIN: &str = "[service.shop.balance]\npolicy = \"round-robin\"\n";

/// A server that takes requests and never answers; says when one has come.
fn hung() -> (std::net::SocketAddr, mpsc::Receiver<()>) {
    let (came_in, came) = mpsc::channel();
    let came_in = Mutex::new(came_in);
    let (address, _) = server(move |connection| {
        while connection.request().is_some() {
            // The test may be over.
            came_in.lock().expect("no panic").send(()).ok();
        }
    });
    (address, came)
}

/// Takes the first server out as the control loop does when it hangs.
fn take_out(rig: &Rig) {
    take_out_server(rig, 0);
}

fn take_out_server(rig: &Rig, index: u32) {
    let state = rig.proxy().state();
    let server = ServerId::new(0, index);
    let eject = Directive::Eject {
        server,
        verdict: EjectionReason::Suspected,
        until: Instant::NEVER,
    };
    state.apply(&eject, rig.clock.now());
    state.apply(&Directive::Rescue { server }, rig.clock.now());
}

/// A client whose request is with the first server.
fn stuck(rig: &Rig, came: &mpsc::Receiver<()>, request: &str) -> Client {
    let mut client = rig.client();
    loop {
        client
            .stream
            .write_all(request.as_bytes())
            .expect("it reads");
        if came.recv_timeout(Duration::from_millis(100)).is_ok() {
            return client;
        }
        assert_eq!(client.response().status, 200);
    }
}

fn count(rig: &Rig, name: &str, outcome: &str) -> u64 {
    counter(rig, name, &["shop", outcome])
}

#[test]
fn what_may_be_repeated_is_answered_by_another_server_at_once() {
    let (hangs, came) = hung();
    let (well, seen) = always(OK);
    let mut rig = Rig::new(&[hangs, well], ROUND_ROBIN);
    let mut signals = rig.take_signals();
    let get = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
    let put = "PUT /b HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody";
    let mut clients: Vec<Client> = [get, put, get]
        .iter()
        .map(|request| stuck(&rig, &came, request))
        .collect();
    take_out(&rig);
    for client in &mut clients {
        assert_eq!(client.response().body, b"ok");
    }
    rig.wait_for(|rig| count(rig, "evenkeel_attempts_total", "rescued") == 3);
    assert_eq!(count(&rig, "evenkeel_retries_total", "rescued"), 3);
    let puts = seen.lock().expect("no panic");
    assert!(puts.iter().any(|request| request.ends_with("\r\n\r\nbody")));
    // It says nothing more against the server, and costs no budget.
    let mut taken = Vec::new();
    signals.drain(&mut taken);
    for signal in taken {
        if let evenkeel_core::Observation::Attempt { outcome, .. } = signal.observation {
            assert!(!outcome.is_failure(), "{outcome:?}");
        }
    }
    assert_eq!(rig.totals().failed, 0);
    rig.wait_for(|rig| counter(rig, "evenkeel_server_in_flight", &["shop"]) == 0);
}

#[test]
fn what_may_not_be_repeated_waits_on() {
    let (hangs, came) = hung();
    let (well, _) = always(OK);
    let rig = Rig::new(&[hangs, well], ROUND_ROBIN);
    let post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    let client = stuck(&rig, &came, post);
    let mut other = stuck(&rig, &came, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    take_out(&rig);
    // Both were told in the same moment.
    assert_eq!(other.response().status, 200);
    rig.wait_for(|rig| count(rig, "evenkeel_attempts_total", "rescued") == 1);
    client.stream.set_nonblocking(true).expect("a socket");
    assert!(client.stream.peek(&mut [0]).is_err(), "no answer, no end");
    assert!(counter(&rig, "evenkeel_server_in_flight", &["shop"]) > 0);
}

#[test]
fn nobody_leaves_when_there_is_nowhere_to_go_or_twice() {
    let ((one, came_one), (two, came_two)) = (hung(), hung());
    let rig = Rig::new(&[one, two], ROUND_ROBIN);
    let hang = Duration::from_secs(20);
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let is_first = came_one.recv_timeout(Duration::from_millis(300)).is_ok();
    let (at, other) = if is_first { (0, 1) } else { (1, 0) };
    let order = |server: u32| {
        let server = ServerId::new(0, server);
        let state = rig.proxy().state();
        let eject = Directive::Eject {
            server,
            verdict: EjectionReason::Suspected,
            until: Instant::NEVER,
        };
        state.apply(&eject, rig.clock.now());
        state.apply(&Directive::Rescue { server }, rig.clock.now());
    };
    order(at);
    let came = if is_first { &came_two } else { &came_one };
    came.recv_timeout(hang)
        .expect("it is rescued to the other one");
    // The other one is taken out as well: nobody is left, and it has been rescued once.
    order(other);
    let restore = Directive::Restore {
        server: ServerId::new(0, at),
        slowly: false,
    };
    rig.proxy().state().apply(&restore, rig.clock.now());
    order(other);
    // Another request passes through the same worker behind these orders.
    let mut last = rig.client();
    last.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let came = if is_first { &came_one } else { &came_two };
    came.recv_timeout(hang)
        .expect("it reaches the one in service");
    assert_eq!(count(&rig, "evenkeel_attempts_total", "rescued"), 1);
}

/// A hedged attempt waits on its server as the first one does on its own.
#[test]
fn a_request_leaves_the_server_of_its_hedged_attempt_too() {
    let ((one, came_one), (two, came_two)) = (hung(), hung());
    let (three, came_three) = hung();
    let rig = Rig::new(
        &[one, two, three],
        &format!("hedge = {{ after = \"30ms\", limit = 1 }}\n{ROUND_ROBIN}"),
    );
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let came = [came_one, came_two, came_three];
    let first = next_asked(&rig, &came);
    let second = next_asked(&rig, &came);
    take_out_server(&rig, first);
    take_out_server(&rig, second);
    let third = next_asked(&rig, &came);
    assert_eq!(first + second + third, 3, "the one that is left");
    rig.wait_for(|rig| count(rig, "evenkeel_attempts_total", "rescued") == 2);
}

/// The server that has got a request next.
fn next_asked(rig: &Rig, came: &[mpsc::Receiver<()>]) -> u32 {
    let asked = Cell::new(None);
    rig.wait_for(|_| {
        asked.set((0..).zip(came).find(|(_, came)| came.try_recv().is_ok()));
        asked.get().is_some()
    });
    asked.get().expect("it was waited for").0
}
