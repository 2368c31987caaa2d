//! Copies of requests: what the other service gets, and that nobody else notices.

mod common;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{Client, Rig, Seen, always, counter, nowhere, server};
use evenkeel_core::ServiceId;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const OTHER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother";

/// `shop` with this server, mirrored with these keys to `next`.
fn rig(shop: SocketAddr, next: SocketAddr, keys: &str, more: &str) -> Rig {
    let extra = format!(
        "mirror = {{ service = \"next\", {keys} }}\n[service.next]\nservers = [\"{next}\"]\n{more}"
    );
    Rig::new(&[shop], &extra)
}

/// How many copies came to this.
fn copies(rig: &Rig, result: &str) -> u64 {
    counter(rig, "evenkeel_mirrored_total", &["shop", "next", result])
}

fn requests(rig: &Rig, service: u32) -> u64 {
    rig.proxy().state().totals(ServiceId(service)).requests
}

fn wait_for_copies(rig: &Rig, result: &str, count: u64) {
    rig.wait_for(|rig| copies(rig, result) >= count);
    assert_eq!(copies(rig, result), count, "{result}");
}

fn heads(seen: &Seen) -> Vec<String> {
    seen.lock().expect("no panic").clone()
}

#[test]
fn a_copy_is_what_the_server_got_with_a_mark() {
    let (shop, seen) = always(OK);
    let (next, copied) = always(OTHER);
    let rig = rig(
        shop,
        next,
        "share = 1.0, methods = [\"GET\", \"POST\"]",
        "[service.shop.request_headers]\nset = { x-env = \"live\" }\n",
    );
    let mut client = rig.client();
    client.send("GET /a?b HTTP/1.1\r\nHost: test\r\nX-Evenkeel-Mirror: forged\r\n\r\n");
    assert_eq!(client.response().body, b"ok");
    client.send("POST /p HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.response().body, b"ok");
    client.send(
        "POST /c HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    );
    assert_eq!(client.response().body, b"ok");
    wait_for_copies(&rig, "sent", 3);
    let mut originals = heads(&seen);
    for original in &mut originals {
        assert!(
            !original.to_lowercase().contains("x-evenkeel-mirror"),
            "{original}"
        );
        *original = original.replacen("\r\n\r\n", "\r\nx-evenkeel-mirror: 1\r\n\r\n", 1);
        assert!(original.contains("x-env: live"));
    }
    let mut copied = heads(&copied);
    originals.sort();
    copied.sort();
    assert_eq!(originals, copied);
    rig.wait_for(|rig| requests(rig, 0) == 3 && requests(rig, 1) == 3);
}

#[test]
fn the_configured_share_is_mirrored_over_reused_connections() {
    let (shop, _) = always(OK);
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let (next, copied) = server(move |connection| {
        counted.fetch_add(1, Ordering::SeqCst);
        while connection.request().is_some() {
            connection.answer(OTHER);
        }
    });
    let rig = rig(shop, next, "share = 0.1", "");
    let mut client = rig.client();
    for _ in 0..1000 {
        assert_eq!(client.get("/").status, 200);
    }
    rig.wait_for(|rig| copies(rig, "sent") == heads(&copied).len() as u64);
    let count = copies(&rig, "sent");
    assert!((70..=130).contains(&count), "{count} of 1000");
    assert_eq!(copies(&rig, "left-out-busy"), 0);
    let connections = connections.load(Ordering::SeqCst);
    assert!(
        connections <= 5,
        "{connections} for one copy after the other"
    );
}

#[test]
fn a_hanging_mirror_is_bounded_and_delays_no_request() {
    let (shop, _) = always(OK);
    let (next, copied) = server(|connection| while connection.request().is_some() {});
    let rig = rig(shop, next, "share = 1.0, in_flight = 2", "");
    let begun = rig.clock.now();
    let mut client = rig.client();
    for _ in 0..10 {
        assert_eq!(client.get("/").status, 200);
    }
    let took = rig.clock.now().since(begun);
    assert!(took < Duration::from_secs(20), "{took:?}");
    wait_for_copies(&rig, "left-out-busy", 8);
    rig.wait_for(|_| heads(&copied).len() == 2);
    assert_eq!(copies(&rig, "sent") + copies(&rig, "failed"), 0);
}

#[test]
fn a_dead_or_slow_mirror_affects_only_its_counter() {
    let (shop, _) = always(OK);
    let first = rig(shop, nowhere(), "share = 1.0", "");
    let mut client = first.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").status, 200);
    }
    wait_for_copies(&first, "failed", 20);
    assert_eq!(first.totals().failed, 0);
    let next = first.proxy().state().totals(ServiceId(1));
    assert_eq!((next.requests, next.failed), (20, 20));

    let (late, _) = server(|connection| while connection.request().is_some() {});
    let second = rig(
        shop,
        late,
        "share = 1.0",
        "[service.next.timeout]\nconnect = \"50ms\"\nattempt = \"50ms\"\n",
    );
    assert_eq!(second.client().get("/").status, 200);
    wait_for_copies(&second, "failed", 1);
    let timeouts = counter(&second, "evenkeel_attempts_total", &["next", "timeout"]);
    assert_eq!(timeouts, 1, "it is a signal about the server");
}

#[test]
fn what_is_not_copied() {
    let (shop, _) = always(OK);
    let (next, copied) = always(OTHER);
    let rig = rig(
        shop,
        next,
        "share = 1.0, methods = [\"PUT\"]",
        "[service.shop.retry]\nbody_buffer = \"4B\"\n",
    );
    let mut client = rig.client();
    assert_eq!(client.get("/").status, 200);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(client.response().status, 200);
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.response().status, 200);
    wait_for_copies(&rig, "left-out-body", 1);
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nhell");
    assert_eq!(client.response().status, 200);
    wait_for_copies(&rig, "sent", 1);
    assert_eq!(heads(&copied).len(), 1);
}

#[test]
fn a_request_that_is_retried_is_copied_once() {
    let (shop, seen) = server(|connection| {
        let mut n = 0;
        while connection.request().is_some() {
            n += 1;
            connection.answer(if n == 1 {
                "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
            } else {
                OK
            });
        }
    });
    let (next, copied) = always("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    let rig = rig(shop, next, "share = 1.0", "");
    let budget = rig.proxy().state().services()[1]
        .budget()
        .balance(rig.clock.now());
    assert_eq!(rig.client().get("/").status, 200);
    wait_for_copies(&rig, "sent", 1);
    assert_eq!(heads(&seen).len(), 2);
    assert_eq!(heads(&copied).len(), 1, "a copy is not tried again");
    let after = rig.proxy().state().services()[1]
        .budget()
        .balance(rig.clock.now());
    assert!(after >= budget, "and no budget pays for it");
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let (shop, _) = always(OK);
    let (told, cut) = std::sync::mpsc::channel();
    let (next, _) = server(move |connection| {
        connection.request();
        connection.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x1_0000));
        while connection.stream.write_all(chunk.as_bytes()).is_ok() {}
        told.send(()).unwrap();
    });
    let rig = rig(shop, next, "share = 1.0", "");
    assert_eq!(rig.client().get("/").status, 200);
    cut.recv_timeout(Duration::from_secs(10))
        .expect("it was cut off");
    wait_for_copies(&rig, "sent", 1);
}

/// Closing with unread bytes would be a reset.
#[test]
fn a_large_answer_to_a_copy_ends_without_a_reset() {
    const LENGTH: usize = 5 * 1024 * 1024;
    let (shop, _) = always(OK);
    let (told, end) = std::sync::mpsc::channel();
    let (next, _) = server(move |connection| {
        connection.request();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
        let sent = connection.stream.write_all(head.as_bytes());
        let sent = sent.and_then(|()| connection.stream.write_all(&vec![b'x'; LENGTH]));
        told.send(sent.and_then(|()| std::io::Read::read(&mut connection.stream, &mut [0])))
            .unwrap();
    });
    let rig = rig(shop, next, "share = 1.0", "");
    assert_eq!(rig.client().get("/").status, 200);
    wait_for_copies(&rig, "sent", 1);
    drop(rig);
    let end = end.recv_timeout(Duration::from_secs(10));
    assert_eq!(end.expect("it ends").expect("no reset"), 0);
}

#[test]
fn answers_of_all_kinds_are_read_to_their_end() {
    let (shop, _) = always(OK);
    let (next, copied) = server(|connection| {
        while let Some(request) = connection.request() {
            match request.split(' ').nth(1).unwrap_or_default() {
                "/early" => connection.answer(
                    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
                ),
                "/chunks" => {
                    for byte in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" {
                        connection.answer([*byte]);
                    }
                }
                "/switch" => connection.answer(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n",
                ),
                "/cut" => {
                    connection.answer("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok");
                    return;
                }
                _ => connection.answer("HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nno"),
            }
        }
    });
    let rig = rig(shop, next, "share = 1.0", "");
    let mut client = rig.client();
    let paths = ["/early", "/chunks", "/switch", "/cut", "/error"];
    for (place, path) in paths.iter().enumerate() {
        assert_eq!(client.get(path).status, 200);
        rig.wait_for(|rig| copies(rig, "sent") + copies(rig, "failed") == place as u64 + 1);
    }
    assert_eq!(heads(&copied).len(), paths.len());
    assert_eq!((copies(&rig, "sent"), copies(&rig, "failed")), (4, 1));
    let outcome = |outcome| counter(&rig, "evenkeel_attempts_total", &["next", outcome]);
    // Each attempt is counted once, by its end.
    assert_eq!(outcome("success"), 2);
    assert_eq!(
        (
            outcome("bad-response"),
            outcome("truncated"),
            outcome("server-error")
        ),
        (1, 1, 1)
    );
    let opened = counter(&rig, "evenkeel_server_connections_total", &["next"]);
    assert_eq!(opened, 3, "one is closed after the switch, one was cut");
    assert_eq!(rig.proxy().state().totals(ServiceId(1)).failed, 3);
}

#[test]
fn a_route_overrides_the_mirror_of_its_service() {
    let (shop, _) = always(OK);
    let (next, copied) = always(OTHER);
    let rig = rig(
        shop,
        next,
        "share = 1.0",
        "[listen.two]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\nroutes = [{ path = \"/off\", service = \"shop\", \
         mirror = { service = \"next\", share = 0 } }]\n",
    );
    let mut client = Client::connect(rig.proxy().addresses()[1].1.tcp().expect("an IP address"));
    assert_eq!(client.get("/off").status, 200);
    assert_eq!(client.get("/on").status, 200);
    wait_for_copies(&rig, "sent", 1);
    assert!(heads(&copied)[0].starts_with("GET /on "));
}
