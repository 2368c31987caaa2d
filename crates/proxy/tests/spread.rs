//! Stickiness, bounds with a queue, tiers and zones, with real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "a test fails by it, and metrics are whole numbers"
)]

mod common;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

use common::{Client, Response, Rig, always, nowhere, server};
use evenkeel_core::{Directive, EjectionReason, Instant, ServerId};

const ONE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none";
const TWO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo";

fn body(response: &Response) -> String {
    String::from_utf8_lossy(&response.body).into_owned()
}

fn ask(rig: &Rig, fields: &str) -> Response {
    let mut client = rig.client();
    let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    client.stream.write_all(request.as_bytes()).unwrap();
    client.response()
}

fn eject(rig: &Rig, index: u32, until: Instant) {
    let directive = Directive::Eject {
        server: ServerId::new(0, index),
        verdict: EjectionReason::Known,
        until,
    };
    rig.proxy().state().apply(&directive, rig.clock.now());
}

#[test]
fn a_client_stays_with_its_server_by_cookie_and_is_moved_when_that_goes() {
    let ((one, _), (two, _)) = (always(ONE), always(TWO));
    let sticky = "[service.shop.balance]\npolicy = \"round-robin\"\n\
        sticky = { cookie = \"shop-server\", secure = true, same_site = \"strict\", max_age = \"1h\" }";
    let rig = Rig::new(&[one, two], sticky);
    let first = ask(&rig, "");
    let told = first.header("set-cookie").expect("it is told").to_owned();
    let (cookie, attributes) = told.split_once("; ").unwrap();
    assert_eq!(
        attributes,
        "Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Strict"
    );
    let with = format!("Cookie: other=1; {cookie}\r\n");
    for _ in 0..10 {
        let again = ask(&rig, &with);
        assert_eq!(body(&again), body(&first));
        assert_eq!(again.header("set-cookie"), None, "it knows already");
    }
    for rubbish in [
        "shop-server=1",
        "shop-server=",
        "shop-server=00000000000000000000000000000000",
    ] {
        let told = ask(&rig, &format!("Cookie: {rubbish}\r\n"));
        assert!(told.header("set-cookie").is_some(), "{rubbish}");
    }
    let own = u32::from(body(&first) == "two");
    eject(&rig, own, Instant::NEVER);
    let moved = ask(&rig, &with);
    assert_ne!(body(&moved), body(&first));
    let told = moved.header("set-cookie").expect("the new one").to_owned();
    assert!(!told.starts_with(cookie), "{told}");
    let metrics = metrics(&rig);
    let name = if own == 0 { one } else { two }
        .to_string()
        .replace([':', '.'], "-");
    assert_eq!(
        metrics[&format!("evenkeel_picks_total shop {name} sticky")],
        10.0
    );
}

#[test]
fn a_client_stays_with_its_server_by_header() {
    let ((one, _), (two, _)) = (always(ONE), always(TWO));
    let sticky =
        "[service.shop.balance]\npolicy = \"round-robin\"\nsticky = { header = \"X-Server\" }";
    let rig = Rig::new(&[one, two], sticky);
    let first = ask(&rig, "");
    let value = first.header("x-server").expect("it is told").to_owned();
    for _ in 0..6 {
        let again = ask(&rig, &format!("X-SERVER: {value}\r\n"));
        assert_eq!(body(&again), body(&first));
        assert_eq!(again.header("x-server"), None);
    }
}

/// A failed attempt on the client's own server is retried elsewhere, and the client is told of the other one.
#[test]
fn a_retry_leaves_the_clients_own_server() {
    let (one, _) = always(ONE);
    let sticky = "[service.shop.balance]\nsticky = { cookie = \"s\" }";
    let servers = [one, nowhere()];
    let rig = Rig::new(&servers, sticky);
    let first = loop {
        let response = ask(&rig, "");
        assert_eq!(response.status, 200);
        if let Some(told) = response.header("set-cookie") {
            break told.split(';').next().unwrap().to_owned();
        }
    };
    assert!(
        ask(&rig, &format!("Cookie: {first}\r\n"))
            .header("set-cookie")
            .is_none()
    );
}

/// Metrics by name and label values.
fn metrics(rig: &Rig) -> BTreeMap<String, f64> {
    struct All(BTreeMap<String, f64>);
    impl All {
        fn put(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
            let values: Vec<&str> = labels.iter().map(|(_, value)| *value).collect();
            self.0.insert(format!("{name} {}", values.join(" ")), value);
        }
    }
    impl evenkeel_core::metric::Sink for All {
        fn counter(
            &mut self,
            name: &'static str,
            _: &'static str,
            labels: &[(&str, &str)],
            value: u64,
        ) {
            self.put(name, labels, value as f64);
        }
        fn gauge(
            &mut self,
            name: &'static str,
            _: &'static str,
            labels: &[(&str, &str)],
            value: f64,
        ) {
            self.put(name, labels, value);
        }
        fn durations(
            &mut self,
            _: &'static str,
            _: &'static str,
            _: &[(&str, &str)],
            _: &evenkeel_core::metric::DurationSnapshot,
        ) {
        }
    }
    let mut all = All(BTreeMap::new());
    evenkeel_core::metric::Source::collect(&*rig.proxy().state(), &mut all);
    all.0
}

/// A server that answers when it is told, and says when a request has come.
struct Slow {
    address: std::net::SocketAddr,
    came: mpsc::Receiver<()>,
    go: mpsc::SyncSender<()>,
}

fn slow() -> Slow {
    let (came_in, came) = mpsc::channel();
    let (go, gone) = mpsc::sync_channel::<()>(100);
    let gone = std::sync::Mutex::new(gone);
    let came_in = std::sync::Mutex::new(came_in);
    let (address, _) = server(move |connection| {
        while connection.request().is_some() {
            came_in.lock().unwrap().send(()).unwrap();
            gone.lock()
                .unwrap()
                .recv_timeout(Duration::from_secs(20))
                .ok();
            connection.answer(ONE);
        }
    });
    Slow { address, came, go }
}

fn begin(rig: &Rig) -> Client {
    let mut client = rig.client();
    client
        .stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    client
}

#[test]
fn a_request_waits_in_the_queue_and_is_rejected_when_it_is_full() {
    let slow = slow();
    let limit = "[service.shop.limit]\nconcurrency = 1\nqueue = { length = 2, wait = \"10s\" }";
    let rig = Rig::new(&[slow.address], limit);
    let mut first = begin(&rig);
    slow.came.recv().unwrap();
    let (mut second, mut third) = (begin(&rig), begin(&rig));
    rig.wait_for(|rig| metrics(rig)["evenkeel_queue_waiting shop"] == 2.0);
    let refused = ask(&rig, "");
    assert_eq!(refused.status, 503);
    let why = refused.header("proxy-status").unwrap().to_owned();
    assert!(why.contains("queue-full"), "{why}");
    for client in [&mut first, &mut second, &mut third] {
        slow.go.send(()).unwrap();
        assert_eq!(client.response().status, 200);
    }
    let metrics = metrics(&rig);
    assert_eq!(metrics["evenkeel_queue_waiting shop"], 0.0);
    assert_eq!(metrics["evenkeel_queue_entered_total shop"], 2.0);
    assert_eq!(
        metrics["evenkeel_queue_denied_total shop critical full"],
        1.0
    );
}

#[test]
fn a_request_that_waits_too_long_is_refused_with_the_cause() {
    let slow = slow();
    let limit = "[service.shop.limit]\nconcurrency = 1\nqueue = { wait = \"50ms\" }";
    let rig = Rig::new(&[slow.address], limit);
    let mut first = begin(&rig);
    slow.came.recv().unwrap();
    let late = ask(&rig, "");
    assert_eq!(late.status, 503);
    let why = late.header("proxy-status").unwrap().to_owned();
    assert!(why.contains("queue-timeout"), "{why}");
    slow.go.send(()).unwrap();
    assert_eq!(first.response().status, 200);
    assert_eq!(
        metrics(&rig)["evenkeel_queue_denied_total shop critical timeout"],
        1.0
    );
}

#[test]
fn a_bound_of_one_server_goes_before_that_of_the_service() {
    let (slow, (two, _)) = (slow(), always(TWO));
    let text = format!(
        "workers = 1\n[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n[service.shop]\nlimit = {{ concurrency = 9 }}\n\
         servers = [{{ address = \"{}\", max_requests = 1 }}, {{ address = \"{two}\", tier = \"backup\" }}]",
        slow.address
    );
    let rig = Rig::of(&text);
    let mut first = begin(&rig);
    slow.came.recv().unwrap();
    for _ in 0..3 {
        assert_eq!(body(&ask(&rig, "")), "two", "the first server is full");
    }
    slow.go.send(()).unwrap();
    assert_eq!(body(&first.response()), "one");
    let picks = metrics(&rig);
    let name = two.to_string().replace([':', '.'], "-");
    assert_eq!(
        picks[&format!("evenkeel_picks_total shop {name} overflow")],
        3.0
    );
}

#[test]
fn servers_of_the_same_zone_are_used_first() {
    let ((one, _), (two, _)) = (always(ONE), always(TWO));
    let text = format!(
        "workers = 1\nzone = \"a\"\n[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n[service.shop]\n\
         servers = [{{ address = \"{one}\", zone = \"b\" }}, {{ address = \"{two}\", zone = \"a\" }}]"
    );
    let rig = Rig::of(&text);
    for _ in 0..20 {
        assert_eq!(body(&ask(&rig, "")), "two");
    }
    eject(&rig, 1, Instant::NEVER);
    assert_eq!(body(&ask(&rig, "")), "one");
    let name = one.to_string().replace([':', '.'], "-");
    assert_eq!(
        metrics(&rig)[&format!("evenkeel_picks_total shop {name} zone")],
        1.0
    );
}
