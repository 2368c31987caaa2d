//! How much a service takes: rates, classes, throttling and bounds that are found, with real sockets.

#![expect(
    clippy::disallowed_methods,
    reason = "servers of tests take their time"
)]

mod common;

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use common::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn ask(rig: &Rig, fields: &str) -> Response {
    let mut client = rig.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
    client.response()
}

fn cause(response: &Response) -> String {
    response
        .header("proxy-status")
        .unwrap_or_default()
        .to_owned()
}

/// A server that says when a request has come, and answers once for each word that it is told.
struct Held {
    address: SocketAddr,
    came: mpsc::Receiver<()>,
    go: mpsc::Sender<()>,
}

fn held() -> Held {
    let (came_in, came) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let (gone, came_in) = (std::sync::Mutex::new(gone), std::sync::Mutex::new(came_in));
    let (address, _) = server(move |connection| {
        while connection.request().is_some() {
            // The test may be over.
            came_in.lock().expect("no panic").send(()).ok();
            let word = gone
                .lock()
                .expect("no panic")
                .recv_timeout(Duration::from_secs(20));
            if word.is_ok() {
                connection.answer(OK);
            }
        }
    });
    Held { address, came, go }
}

fn begin(rig: &Rig, fields: &str) -> Client {
    let mut client = rig.client();
    let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    client
        .stream
        .write_all(request.as_bytes())
        .expect("it reads");
    client
}

#[test]
fn each_key_gets_so_many_a_second() {
    let (address, seen) = always(OK);
    let limit =
        "[service.shop.limit]\nrate = { per_second = 0.5, burst = 2, by = \"header:x-key\" }";
    let rig = Rig::new(&[address], limit);
    for _ in 0..2 {
        assert_eq!(ask(&rig, "X-Key: a\r\n").status, 200);
    }
    let refused = ask(&rig, "X-Key: a\r\n");
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), Some("2"));
    assert!(
        cause(&refused).contains("rate-limited"),
        "{}",
        cause(&refused)
    );
    assert_eq!(ask(&rig, "X-Key: b\r\n").status, 200);
    // Those without a key share one.
    for expected in [200, 200, 429] {
        assert_eq!(ask(&rig, "").status, expected);
    }
    assert_eq!(seen.lock().expect("no panic").len(), 5);
    assert_eq!(counter(&rig, "evenkeel_rate_limited_total", &["shop"]), 2);
    rig.wait_for(|rig| rig.totals().requests == 7);
    assert_eq!(rig.totals().failed, 0, "429 is the client's doing");
}

#[test]
fn a_body_of_a_refused_request_is_not_the_next_request() {
    let (address, seen) = always(OK);
    let rig = Rig::new(
        &[address],
        "[service.shop.limit]\nrate = { per_second = 0.001, burst = 1 }",
    );
    let mut client = rig.client();
    assert_eq!(client.get("/").status, 200);
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 35\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.response().status, 429);
    // All of it had come, so it was left out and the connection stays. One that has yet to come would be the next request.
    for _ in 0..2 {
        assert_eq!(client.get("/").status, 429);
    }
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 35\r\n\r\nGET");
    assert_eq!(client.response().status, 429);
    client.send(" /smuggled HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.rest(), b"");
    assert_eq!(seen.lock().expect("no panic").len(), 1);
}

#[test]
fn a_class_leaves_the_rest_to_what_matters_more() {
    let held = held();
    let limit = "[service.shop.limit]\nconcurrency = 4\nshares = { sheddable = 0.5 }\nclass = { header = \"X-Criticality\" }";
    let rig = Rig::new(&[held.address], limit);
    let mut first = [begin(&rig, "X-Criticality: sheddable\r\n"), begin(&rig, "")];
    for _ in &first {
        held.came.recv().expect("it came");
    }
    let refused = ask(&rig, "X-Criticality: sheddable\r\n");
    assert_eq!(
        (refused.status, cause(&refused).contains("shed")),
        (503, true)
    );
    let mut second = [
        begin(&rig, "X-Criticality: nonsense\r\n"),
        begin(&rig, "X-Criticality: critical-plus\r\n"),
    ];
    for _ in &second {
        held.came.recv().expect("it came");
    }
    // Whose word is whose is left to chance.
    for _ in 0..4 {
        held.go.send(()).expect("it waits");
    }
    for client in first.iter_mut().chain(&mut second) {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(
        counter(&rig, "evenkeel_shed_total", &["shop", "sheddable"]),
        1
    );
}

#[test]
fn the_queue_uses_the_class_of_the_route() {
    let held = held();
    let rig = Rig::of(&format!(
        "workers = 1\n[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\nroutes = [{{ path = \"/report\", service = \"shop\", class = \"sheddable\" }}]\n\
         [service.shop]\nservers = [\"{}\"]\nlimit = {{ concurrency = 1, shares = {{ sheddable = 1 }}, queue = {{ length = 1, wait = \"10s\" }} }}",
        held.address
    ));
    let mut first = begin(&rig, "");
    held.came.recv().expect("it came");
    let mut report = rig.client();
    report
        .stream
        .write_all(b"GET /report HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("it reads");
    rig.wait_for(|rig| counter(rig, "evenkeel_queue_waiting", &["shop"]) == 1);
    let mut page = begin(&rig, "");
    let refused = report.response();
    assert_eq!(
        (refused.status, cause(&refused).contains("queue-full")),
        (503, true)
    );
    for client in [&mut first, &mut page] {
        held.go.send(()).expect("it waits");
        assert_eq!(client.response().status, 200);
    }
    let denied = |class| {
        counter(
            &rig,
            "evenkeel_queue_denied_total",
            &["shop", class, "full"],
        )
    };
    assert_eq!((denied("sheddable"), denied("critical")), (1, 0));
}

#[test]
fn a_standing_queue_is_cut_short() {
    let (address, _) = server(|connection| {
        while connection.request().is_some() {
            std::thread::sleep(Duration::from_millis(40));
            connection.answer(OK);
        }
    });
    let limit = "[service.shop.limit]\nconcurrency = 1\nqueue = { length = 100, wait = \"400ms\", target = \"10ms\" }";
    let rig = Rig::new(&[address], limit);
    // Three clients for each that the server can take in time.
    let all: Vec<_> = (0..30)
        .map(|_| {
            let address = rig.address();
            std::thread::spawn(move || {
                (0..4)
                    .map(|_| {
                        let mut client = Client::connect(address);
                        client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
                        client.response().status
                    })
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let statuses: Vec<u16> = all
        .into_iter()
        .flat_map(|one| one.join().expect("no panic"))
        .collect();
    assert!(
        statuses.iter().all(|status| [200, 503].contains(status)),
        "{statuses:?}"
    );
    assert!(statuses.contains(&200) && statuses.contains(&503));
    assert!(counter(&rig, "evenkeel_queue_denied_total", &["shop", "late"]) > 0);
    rig.wait_for(|rig| counter(rig, "evenkeel_queue_waiting", &["shop"]) == 0);
}

#[test]
fn what_is_refused_anyway_is_not_sent() {
    let (address, seen) = always("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    let more = "[service.shop.limit]\nthrottle = { k = 2 }\n[service.shop.retry]\nlimit = 0";
    let rig = Rig::new(&[address], more);
    let mut throttled = 0;
    let mut client = rig.client();
    for _ in 0..300 {
        let answer = client.get("/");
        assert_eq!(answer.status, 503);
        throttled += u64::from(cause(&answer).contains("throttled"));
    }
    let sent = seen.lock().expect("no panic").len() as u64;
    assert_eq!(sent + throttled, 300);
    // The first twenty, and then one of twenty and one a second.
    assert!(sent < 100, "{sent} of 300 were sent");
    rig.wait_for(|rig| counter(rig, "evenkeel_throttled_total", &["shop"]) == throttled);
}

/// A server with one hand: each request takes it 4 ms, one after the other.
#[test]
fn an_adaptive_bound_keeps_the_queue_out_of_the_server() {
    let hand = Arc::new(std::sync::Mutex::new(()));
    let inside = Arc::new((AtomicU32::new(0), AtomicU32::new(0)));
    let shared = Arc::clone(&inside);
    let (address, _) = server(move |connection| {
        while connection.request().is_some() {
            let now = shared.0.fetch_add(1, Ordering::SeqCst) + 1;
            shared.1.fetch_max(now, Ordering::SeqCst);
            let working = hand.lock().expect("no panic");
            std::thread::sleep(Duration::from_millis(4));
            drop(working);
            shared.0.fetch_sub(1, Ordering::SeqCst);
            connection.answer(OK);
        }
    });
    let limit = "[service.shop.limit]\nconcurrency = \"adaptive\"\nadaptive = { min = 2 }\nqueue = { length = 1000, wait = \"10s\" }";
    let rig = Rig::new(&[address], limit);
    // What is usual is learnt while there is no overload.
    let mut client = rig.client();
    assert!((0..100).all(|_| client.get("/").status == 200));
    let clients: Vec<_> = (0..40)
        .map(|_| {
            let mut client = rig.client();
            std::thread::spawn(move || (0..25).all(|_| client.get("/").status == 200))
        })
        .collect();
    for client in clients {
        assert!(client.join().expect("no panic"), "nothing failed");
    }
    let found = rig.proxy().state().services()[0]
        .servers()
        .limit(0)
        .expect("it is adaptive");
    // Of forty clients a part waits in front of the server. How large a part depends on what was usual: on a busy machine a request takes
    // ten times as long, and a few more are let in (21 or 22 were seen).
    assert!((2..40).contains(&found.limit), "{found:?}");
    assert!(inside.1.load(Ordering::SeqCst) < 40, "{inside:?}");
    assert!(counter(&rig, "evenkeel_queue_entered_total", &["shop"]) > 0);
    let shown = counter(&rig, "evenkeel_server_limit", &["shop"]);
    assert_eq!(shown, u64::from(found.limit));
}
