//! Faults on purpose.

mod common;

use std::time::Duration;

use common::{Rig, always, counter, server};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn injected(rig: &Rig, kind: &str) -> u64 {
    counter(rig, "evenkeel_injected_total", &["shop", kind])
}

#[test]
fn a_share_is_answered_with_an_error_and_reaches_no_server() {
    let (shop, seen) = always(OK);
    let extra = "inject = { abort = { share = 0.25, status = 500 } }\nfallback = { status = 200, body = \"later\", on = [\"500\"] }\n";
    let mut rig = Rig::new(&[shop], extra);
    let mut signals = rig.take_signals();
    let mut client = rig.client();
    let mut aborted = 0;
    for _ in 0..1_024 {
        let response = client.get("/");
        if response.status == 500 {
            aborted += 1;
            let why = response.header("proxy-status").unwrap_or_default();
            assert!(why.contains("details=\"injected\""), "{why}");
        } else {
            assert_eq!(response.body, b"ok");
        }
    }
    assert_eq!(aborted, 256);
    assert_eq!((injected(&rig, "abort"), injected(&rig, "delay")), (256, 0));
    assert_eq!(seen.lock().expect("no panic").len(), 768);
    rig.wait_for(|rig| rig.totals().requests == 1_024);
    assert_eq!(rig.totals().failed, 256);
    // No server had a part in it.
    let mut taken = Vec::new();
    signals.drain(&mut taken);
    assert!(taken.len() <= 768, "{}", taken.len());
}

#[test]
fn a_delay_comes_before_the_attempt_and_counts_against_the_total() {
    let (shop, seen) = always(OK);
    let rig = Rig::new(
        &[shop],
        "inject = { delay = { share = 1, time = \"60ms\" } }\ntimeout = { deadline_header = \"x-deadline\" }\n",
    );
    let mut client = rig.client();
    let begun = rig.clock.now();
    assert_eq!(client.get("/").body, b"ok");
    assert!(rig.clock.now().since(begun) >= Duration::from_millis(60));
    // Who waits less than that gets no attempt.
    client.send("GET / HTTP/1.1\r\nHost: test\r\nx-deadline: 20\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status, 504);
    assert_eq!(seen.lock().expect("no panic").len(), 1);
    assert_eq!(injected(&rig, "delay"), 2);
}

/// The body that an aborted request brings does not become the next request.
#[test]
fn the_body_of_an_aborted_request_is_not_taken_for_a_request() {
    let (shop, _) = always(OK);
    let rig = Rig::new(
        &[shop],
        "inject = { abort = { share = 1, status = 503 } }\n",
    );
    let mut client = rig.client();
    let body = "GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n";
    let length = body.len();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{body}"
    ));
    assert_eq!(client.response().status, 503);
    assert!(client.rest().is_empty());
    rig.wait_for(|rig| rig.totals().requests == 1);
}

#[test]
fn for_a_route_alone_and_for_all_but_one() {
    let run = |service: &str, route: &str| {
        let (shop, _) = server(|connection| {
            while connection.request().is_some() {
                connection.answer(OK);
            }
        });
        let rig = Rig::of(&format!(
            "workers = 1\n[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n\
             routes = [{{ path = \"/own\", service = \"shop\", inject = {route} }}]\n\
             [service.shop]\nservers = [\"{shop}\"]\n{service}\n"
        ));
        let mut client = rig.client();
        let statuses = (client.get("/").status, client.get("/own").status);
        (statuses, injected(&rig, "abort"))
    };
    let abort = "{ abort = { share = 1, status = 418 } }";
    assert_eq!(run("", abort), ((200, 418), 1));
    assert_eq!(
        run(&format!("inject = {abort}"), "\"off\""),
        ((418, 200), 1)
    );
    let other = "{ abort = { share = 1, status = 429 } }";
    assert_eq!(run(&format!("inject = {abort}"), other), ((418, 429), 2));
}
