//! What clients get when no server answers.

mod common;

use std::net::SocketAddr;

use common::{Rig, always, counter, nowhere, server};
use evenkeel_core::ServiceId;

const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy";
const SPARE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nspare";

fn fallbacks(rig: &Rig, service: &str, result: &str) -> u64 {
    counter(rig, "evenkeel_fallbacks_total", &[service, result])
}

/// Waits until a service has had so many requests, and says how many of them failed.
fn failed_of(rig: &Rig, service: u32, requests: u64) -> u64 {
    let totals = |rig: &Rig| rig.proxy().state().totals(ServiceId(service));
    rig.wait_for(|rig| totals(rig).requests == requests);
    totals(rig).failed
}

/// `shop` with this server, and `next` to answer instead.
fn two(shop: SocketAddr, next: SocketAddr, more: &str) -> Rig {
    let extra = format!(
        "fallback = {{ service = \"next\"{more} }}\n[service.next]\nservers = [\"{next}\"]\n"
    );
    Rig::new(&[shop], &extra)
}

/// Reads a request and closes.
fn breaks_off() -> SocketAddr {
    server(|connection| {
        connection.request();
    })
    .0
}

#[test]
fn the_answer_that_stands_in_the_file() {
    let extra = "fallback = { status = 200, body = \"[]\", content_type = \"application/json\", retry_after = \"90s\" }\n";
    let rig = Rig::new(&[nowhere()], extra);
    let mut client = rig.client();
    for _ in 0..2 {
        let response = client.get("/");
        assert_eq!(
            (response.status, response.body.as_slice()),
            (200, &b"[]"[..])
        );
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert_eq!(response.header("retry-after"), Some("90"));
        assert_eq!(response.header("cache-control"), Some("no-store"));
        let why = response.header("proxy-status").unwrap_or_default();
        assert!(why.contains("connection_refused"), "{why}");
        assert!(response.header("x-request-id").is_some());
    }
    client.send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
    let response = client.response_to("HEAD");
    assert_eq!(response.header("content-length"), Some("2"));
    // The connection is in step after it.
    assert_eq!(client.get("/").body, b"[]");
    assert_eq!(fallbacks(&rig, "shop", "response"), 4);
    assert_eq!(failed_of(&rig, 0, 4), 0);
}

/// Its connection once went to the pool of the service that was asked next, which then was answered by a server that is not its own.
#[test]
fn an_answer_that_counts_as_none_leaves_its_connection_with_its_own_service() {
    let ((shop, _), (next, asked)) = (always(BUSY), always(SPARE));
    let rig = two(shop, next, ", on = [\"503\"]");
    let mut client = rig.client();
    for _ in 0..5 {
        assert_eq!(client.get("/").body, b"spare");
    }
    assert_eq!(asked.lock().expect("no panic").len(), 5);
}

#[test]
fn an_answer_of_a_server_may_count_as_none() {
    let (shop, seen) = always(BUSY);
    let passed = Rig::new(&[shop], "fallback = { body = \"wait\" }\n");
    assert_eq!(passed.client().get("/").body, b"busy");
    assert_eq!(fallbacks(&passed, "shop", "response"), 0);

    let before = seen.lock().expect("no panic").len();
    let rig = Rig::new(&[shop], "fallback = { body = \"wait\", on = [\"503\"] }\n");
    let response = rig.client().get("/");
    assert_eq!(
        (response.status, response.body.as_slice()),
        (503, &b"wait"[..])
    );
    assert_eq!(
        response.header("proxy-status"),
        Some("evenkeel; received-status=503")
    );
    // It was retried first.
    assert_eq!(seen.lock().expect("no panic").len() - before, 3);
    assert_eq!(fallbacks(&rig, "shop", "response"), 1);
    assert_eq!(failed_of(&rig, 0, 1), 1);
}

#[test]
fn another_service_answers_instead() {
    let (next, seen) = always(SPARE);
    let rig = two(breaks_off(), next, "");
    let mut client = rig.client();
    assert_eq!(client.get("/a").body, b"spare");
    client.send("PUT /b HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.response().body, b"spare");
    let seen = seen.lock().expect("no panic").clone();
    assert!(
        seen[0].starts_with("GET /a ") && seen[1].ends_with("hello"),
        "{seen:?}"
    );
    assert_eq!(fallbacks(&rig, "shop", "service"), 2);
    for service in [0, 1] {
        assert_eq!(failed_of(&rig, service, 2), 0, "{service}");
    }
}

#[test]
fn what_may_have_been_done_is_not_done_by_another_service() {
    let (next, seen) = always(SPARE);
    let post = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello";
    let rig = two(breaks_off(), next, "");
    let mut client = rig.client();
    client.send(post);
    assert_eq!(client.response().status, 502);
    assert_eq!(fallbacks(&rig, "shop", "left-out"), 1);
    assert!(seen.lock().expect("no panic").is_empty());

    // Nobody can have seen this one.
    let rig = two(nowhere(), next, "");
    let mut client = rig.client();
    client.send(post);
    assert_eq!(client.response().body, b"spare");
    assert_eq!(fallbacks(&rig, "shop", "service"), 1);
}

#[test]
fn the_other_service_may_have_an_answer_in_the_file() {
    let rig = two(nowhere(), nowhere(), "");
    let response = rig.client().get("/");
    assert_eq!(response.status, 502);

    let extra = format!(
        "fallback = {{ service = \"next\" }}\n[service.next]\nservers = [\"{}\"]\nfallback = {{ body = \"later\" }}\n",
        nowhere()
    );
    let rig = Rig::new(&[nowhere()], &extra);
    let response = rig.client().get("/");
    assert_eq!(
        (response.status, response.body.as_slice()),
        (503, &b"later"[..])
    );
    assert_eq!(fallbacks(&rig, "shop", "service"), 1);
    assert_eq!(fallbacks(&rig, "next", "response"), 1);
    for service in [0, 1] {
        assert_eq!(failed_of(&rig, service, 1), 1, "{service}");
    }
}
