//! Timeouts, retries, hedges, fallbacks and rates that a route has of its own.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{Rig, always, counter, nowhere, server, still_open_after};
use evenkeel_core::ServiceId;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const OTHER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy";

/// `shop` with these servers and `service` in its table; `route` for what is below `/own`.
fn rig(servers: &[SocketAddr], service: &str, route: &str, more: &str) -> Rig {
    let list: Vec<String> = servers.iter().map(|one| format!("\"{one}\"")).collect();
    Rig::of(&format!(
        "workers = 1\n[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n\
         routes = [{{ path = \"/own/*\", {route} }}]\n\
         [service.shop]\nbalance = {{ policy = \"round-robin\" }}\nservers = [{}]\n{service}\n{more}",
        list.join(", ")
    ))
}

/// Reads requests and answers none.
fn hung() -> SocketAddr {
    server(|connection| while connection.request().is_some() {}).0
}

/// Answers after this time, unless the other side has closed.
fn after(wait: Duration, answer: &'static str) -> SocketAddr {
    server(move |connection| {
        while connection.request().is_some() && still_open_after(&connection.stream, wait) {
            connection.answer(answer);
        }
    })
    .0
}

#[test]
fn a_route_waits_shorter_than_its_service() {
    let rig = rig(
        &[hung()],
        "timeout = { attempt = \"10s\", total = \"30s\" }\nretry = { limit = 0 }",
        "service = \"shop\", timeout = { attempt = \"60ms\" }",
        "",
    );
    let begun = rig.clock.now();
    let response = rig.client().get("/own/a");
    let took = rig.clock.now().since(begun);
    assert_eq!(response.status, 504);
    assert!(took >= Duration::from_millis(60), "{took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_route_waits_longer_than_its_service() {
    let slow = after(Duration::from_millis(300), OK);
    let rig = rig(
        &[slow],
        "timeout = { attempt = \"60ms\", total = \"120ms\", connect = \"50ms\" }\nretry = { limit = 0 }",
        "service = \"shop\", timeout = { attempt = \"8s\", total = \"9s\" }",
        "",
    );
    let mut client = rig.client();
    assert_eq!(client.get("/").status, 504);
    assert_eq!(client.get("/own/report").body, b"ok");
}

#[test]
fn a_route_retries_what_its_service_does_not() {
    let (busy, seen) = always(BUSY);
    let attempts = || std::mem::take(&mut *seen.lock().expect("no panic")).len();
    let rig = rig(
        &[busy],
        "retry = { limit = 0, backoff = { base = \"0s\" } }",
        "service = \"shop\", retry = { limit = 2, methods = [\"GET\", \"POST\"] }",
        "",
    );
    let mut client = rig.client();
    assert_eq!((client.get("/").status, attempts()), (503, 1));
    assert_eq!((client.get("/own/a").status, attempts()), (503, 3));
    client.send("POST /own/a HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!((client.response().status, attempts()), (503, 3));
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!((client.response().status, attempts()), (503, 1));
}

/// A request by any route pays from the budget of the service.
#[test]
fn routes_share_the_budget_of_their_service() {
    let (busy, seen) = always(BUSY);
    let budget = "budget = { ratio = 0, floor_per_second = 0, burst = 3 }";
    let rig = rig(
        &[busy],
        &format!("retry = {{ limit = 2, backoff = {{ base = \"0s\" }}, {budget} }}"),
        "service = \"shop\", retry = { limit = 1 }",
        "",
    );
    let mut client = rig.client();
    for path in ["/own/a", "/", "/own/b", "/"] {
        assert_eq!(client.get(path).status, 503);
    }
    // Three retries were paid for: one by the route, two by the service, then nothing was left.
    assert_eq!(seen.lock().expect("no panic").len(), 4 + 3);
}

#[test]
fn a_route_hedges_alone_and_another_one_not_at_all() {
    let run = |service: &str, route: &str, path: &str| {
        let slow = after(Duration::from_millis(400), OK);
        let (quick, _) = always(OTHER);
        let rig = rig(&[slow, quick], service, route, "");
        let mut client = rig.client();
        let bodies: Vec<Vec<u8>> = (0..2).map(|_| client.get(path).body).collect();
        let won = counter(&rig, "evenkeel_hedges_total", &["shop", "won"]);
        (bodies.iter().all(|body| body == b"other"), won)
    };
    let own = "service = \"shop\", hedge = { after = \"20ms\" }";
    assert_eq!(run("", own, "/own/a"), (true, 1));
    assert_eq!(run("", own, "/"), (false, 0));
    let service = "hedge = { after = \"20ms\" }";
    let off = "service = \"shop\", hedge = \"off\"";
    assert_eq!(run(service, off, "/own/a"), (false, 0));
    assert_eq!(run(service, off, "/"), (true, 1));
}

#[test]
fn a_route_has_another_answer_for_want_of_one() {
    let (next, _) = always(OTHER);
    let more = format!("[service.next]\nservers = [\"{next}\"]\n");
    let mut rig = rig(
        &[nowhere()],
        "fallback = { body = \"later\" }",
        "service = \"shop\", fallback = { service = \"next\" }",
        &more,
    );
    let mut client = rig.client();
    assert_eq!(client.get("/").body, b"later");
    assert_eq!(client.get("/own/a").body, b"other");
    let fallbacks = |result| counter(&rig, "evenkeel_fallbacks_total", &["shop", result]);
    assert_eq!((fallbacks("response"), fallbacks("service")), (1, 1));
    drop(client);
    assert!(rig.drain(Duration::from_secs(5)));
}

#[test]
fn a_fallback_can_be_off_for_a_route() {
    let rig = rig(
        &[nowhere()],
        "fallback = { status = 200, body = \"later\" }",
        "service = \"shop\", fallback = \"off\"",
        "",
    );
    let mut client = rig.client();
    assert_eq!(client.get("/").status, 200);
    assert_eq!(client.get("/own/a").status, 502);
}

/// What the spare service does is its own: the route's policies end where its service does.
#[test]
fn the_spare_service_goes_by_its_own() {
    let (busy, seen) = always(BUSY);
    let more = format!(
        "[service.next]\nservers = [\"{busy}\"]\nretry = {{ limit = 2, backoff = {{ base = \"0s\" }} }}\n"
    );
    let rig = rig(
        &[nowhere()],
        "",
        "service = \"shop\", retry = { limit = 0 }, fallback = { service = \"next\" }",
        &more,
    );
    assert_eq!(rig.client().get("/own/a").body, b"busy");
    assert_eq!(seen.lock().expect("no panic").len(), 3);
}

#[test]
fn with_a_split_the_rest_is_of_the_service_that_was_drawn() {
    let (shop, shop_seen) = always(BUSY);
    let (next, next_seen) = always(BUSY);
    let base = "backoff = { base = \"0s\" }";
    let more = format!("[service.next]\nservers = [\"{next}\"]\nretry = {{ limit = 0, {base} }}\n");
    let rig = rig(
        &[shop],
        &format!("retry = {{ limit = 1, {base} }}"),
        "split = { shop = 1, next = 1 }, retry = { on = [\"503\"] }",
        &more,
    );
    let mut client = rig.client();
    for _ in 0..20 {
        assert_eq!(client.get("/own/a").status, 503);
    }
    let requests = |place| rig.proxy().state().totals(ServiceId(place)).requests;
    rig.wait_for(|_| requests(0) + requests(1) == 20);
    let seen = |seen: &common::Seen| seen.lock().expect("no panic").len() as u64;
    assert!(requests(0) > 0 && requests(1) > 0);
    assert_eq!(seen(&shop_seen), 2 * requests(0));
    assert_eq!(seen(&next_seen), requests(1));
}

#[test]
fn a_route_has_a_rate_of_its_own_beside_the_services() {
    let (address, seen) = always(OK);
    let route = "service = \"shop\", rate = { per_second = 0.01, burst = 1 }";
    let limit = "[service.shop.limit]\nrate = { per_second = 0.01, burst = 3 }";
    let rig = rig(&[address], "", route, limit);
    let status = |path: &str| rig.client().get(path).status;
    assert_eq!([status("/own/a"), status("/own/b")], [200, 429]);
    // What the route refused took nothing from the others.
    assert_eq!([status("/"), status("/"), status("/")], [200, 200, 429]);
    assert_eq!(seen.lock().expect("no panic").len(), 3);
    rig.wait_for(|rig| counter(rig, "evenkeel_rate_limited_total", &["shop"]) == 2);
}
