//! What becomes of a worker when one of its lasting tasks panics, and when it panics itself.

mod common;

use std::collections::BTreeSet;
use std::net::TcpListener;

use common::{Client, Rig, always, counter, server};

/// The panic is one of the task's, said and counted; what the task does goes on.
#[test]
fn a_worker_goes_on_after_a_panic_in_any_of_its_tasks() {
    let (server, _) = always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    // Its connections wait in the kernel's queue and are never answered.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent = silent.local_addr().map(|address| (silent, address));
    let (_silent, hangs) = silent.expect("an address");
    let rig = Rig::of(&format!(
        "workers = 1\n[listen.web]\naddress = \"127.0.0.1:0\"\nroutes = [{{ path = \"/hangs\", service = \"hangs\" }}, \
         {{ path = \"/\", service = \"shop\" }}]\n[service.shop]\nservers = [\"{server}\"]\n\
         [service.hangs]\nservers = [\"{hangs}\"]\ntimeout = {{ attempt = \"100ms\" }}\nretry.limit = 0\n"
    ));
    let state = rig.proxy().state();
    let mut kept = rig.client();
    assert_eq!(kept.get("/").status, 200);
    for task in [
        "accept",
        "follow",
        "timers",
        "client-watch",
        "rescue",
        "sweep",
    ] {
        state.tasks().inject_panic(task);
        let restarts = state.tasks().restarts(task);
        rig.wait_for(|_| restarts.value() == 1);
        assert_eq!(kept.get("/").status, 200, "{task}");
        assert_eq!(rig.client().get("/").status, 200, "{task}");
        assert_eq!(kept.get("/hangs").status, 504, "{task}");
    }
    assert_eq!(state.workers_lost(), 0);
}

fn begin(rig: &Rig, path: &str) -> Client {
    let mut client = rig.client();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
    client
}

/// Its connections end, and all that their requests held of shared state is given back: the server's only place, the queue's,
/// and those of the listener. No client that connects is refused: it waits in the queue of the socket, which stays open.
#[test]
fn a_worker_that_panics_is_started_again_on_the_same_sockets() {
    const CLIENTS: usize = 4;
    let (server, seen) = server(|connection| {
        while let Some(request) = connection.request() {
            if request.starts_with("GET /hangs ") {
                // Its client is gone when this returns.
                connection.request();
                return;
            }
            connection.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let mut rig = Rig::of(&format!(
        "workers = 1\n[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\nlimits = {{ connections = {CLIENTS} }}\n\
         [service.shop]\nservers = [\"{server}\"]\n[service.shop.limit]\nconcurrency = 1\nqueue = {{ length = 1, wait = \"30s\" }}\n"
    ));
    let mut signals = rig.take_signals();
    let state = rig.proxy().state();
    let in_flight = |rig: &Rig| counter(rig, "evenkeel_server_in_flight", &["shop"]);
    for restarts in 1..=3 {
        let mut idle = rig.client();
        assert_eq!(idle.get("/").status, 200);
        let mut hangs = begin(&rig, "/hangs");
        rig.wait_for(|rig| in_flight(rig) == 1);
        let mut waits = begin(&rig, "/");
        rig.wait_for(|_| state.services()[0].waiting() == 1);

        state.tasks().inject_panic("worker");
        let restarted = state.tasks().restarts("worker");
        rig.wait_for(|_| restarted.value() == restarts);
        assert_eq!((in_flight(&rig), state.services()[0].waiting()), (0, 0));
        assert_eq!(state.connections(), 0);
        for client in [&mut idle, &mut hangs, &mut waits] {
            assert_eq!(client.rest(), b"");
        }
        signals.drain(&mut Vec::new());

        let clients: Vec<Client> = (0..CLIENTS).map(|_| rig.client()).collect();
        for mut client in clients {
            assert_eq!(client.get("/").status, 200);
        }
        assert!(
            signals.drain(&mut Vec::new()) > 0,
            "outcomes are still told"
        );
        rig.wait_for(|_| state.connections() == 0);
        assert_eq!(state.workers_lost(), 0);
    }
    let seen = seen.lock().expect("no panic");
    let id = |head: &String| {
        head.lines()
            .find(|line| line.starts_with("x-request-id"))
            .map(str::to_owned)
    };
    let ids: BTreeSet<String> = seen.iter().filter_map(id).collect();
    assert_eq!(ids.len(), seen.len(), "no id comes twice");
}

/// One that panics again and again is lost for as long as it is not started; then it serves again.
#[test]
fn a_worker_that_panics_again_and_again_is_lost_until_it_runs_again() {
    let (server, _) = always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let rig = Rig::new(&[server], "");
    let state = rig.proxy().state();
    let restarted = state.tasks().restarts("worker");
    for restarts in 1..=7 {
        assert_eq!(state.all_workers_run(), Ok(()));
        state.tasks().inject_panic("worker");
        rig.wait_for(|_| restarted.value() == restarts);
    }
    rig.wait_for(|_| state.workers_lost() == 1);
    let why = state.all_workers_run().expect_err("it is lost");
    assert!(why.starts_with("1 of evenkeel's workers"), "{why}");
    assert_eq!(rig.client().get("/").status, 200);
    assert_eq!(state.all_workers_run(), Ok(()));
}
