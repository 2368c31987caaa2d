//! Old answers for when there is no new one, with real sockets.

#[path = "../common/mod.rs"]
mod common;

use std::net::SocketAddr;

use std::sync::atomic::{AtomicBool, Ordering};

use std::sync::Arc;

use common::*;

mod fresh;
mod changes;

/// A server that answers with what the path asks for, until it is down: then it hangs up.
fn server_with_paths() -> (SocketAddr, Arc<AtomicBool>) {
    let down = Arc::new(AtomicBool::new(false));
    let is_down = Arc::clone(&down);
    let (address, _) = server(move |connection| {
        while let Some(request) = connection.request() {
            if is_down.load(Ordering::SeqCst) {
                return;
            }
            let path = request.split(' ').nth(1).unwrap_or_default();
            let path = path.trim_end_matches("?old");
            let more = match path {
                "/private" => "Cache-Control: private\r\n",
                "/turns-private" if request.contains("X-Private") => "Cache-Control: private\r\n",
                "/public" => "Cache-Control: public, max-age=5\r\n",
                "/cookie" => "Set-Cookie: a=b\r\n",
                "/varies" => "Vary: Accept-Encoding\r\nVary: X-Kind\r\n",
                "/encoded" => {
                    "Vary: accept-encoding\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-Kept: 2\r\nAge: 77\r\n"
                }
                "/old" => "Cache-Control: max-age=0, stale-if-error=0\r\n",
                _ => "",
            };
            let answer = match path {
                "/chunked" => {
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
                        .to_owned()
                }
                "/chunked-large" => format!(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n600\r\n{0}\r\n600\r\n{0}\r\n0\r\n\r\n",
                    "x".repeat(0x600)
                ),
                "/chunked-short" => {
                    connection
                        .answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok");
                    return;
                }
                "/until-close" => {
                    connection.answer("HTTP/1.1 200 OK\r\n\r\nok");
                    return;
                }
                "/large" => format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n{}",
                    "x".repeat(3_000)
                ),
                "/missing" => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
                path => format!(
                    "HTTP/1.1 200 OK\r\n{more}Content-Length: {}\r\n\r\n{path}",
                    path.len()
                ),
            };
            connection.answer(answer);
        }
    });
    (address, down)
}

pub(crate) fn ask(rig: &Rig, path: &str, fields: &str) -> Response {
    let mut client = rig.client();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
    client.response()
}

pub(crate) const STALE: &str =
    "[service.shop.retry]\nlimit = 0\n[service.shop.fallback]\nstale = { object = \"2KiB\" }\n";

#[test]
fn what_was_answered_before_is_answered_again() {
    let (address, down) = server_with_paths();
    let rig = Rig::new(&[address], STALE);
    for path in [
        "/a",
        "/encoded",
        "/public",
        "/missing",
        "/large",
        "/chunked",
        "/chunked-large",
        "/until-close",
    ] {
        ask(&rig, path, "");
    }
    let mut client = rig.client();
    client.send("GET /chunked-short HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(client.rest().ends_with(b"9\r\nok"), "it is cut off");
    // To a client of HTTP/1.0 chunks are passed on as what is in them, and kept as that.
    let mut client = rig.client();
    client.send("GET /chunked?old HTTP/1.0\r\nHost: x\r\n\r\n");
    assert!(client.rest().ends_with(b"\r\n\r\nok"));
    down.store(true, Ordering::SeqCst);
    let old = ask(&rig, "/a", "");
    assert_eq!((old.status, old.body.as_slice()), (200, &b"/a"[..]));
    assert!(old.header("age").is_some());
    let why = old.header("proxy-status").expect("it says why");
    assert!(why.contains("error=connection_terminated"), "{why}");
    let old = ask(&rig, "/encoded", "");
    assert_eq!(old.status, 200);
    assert_eq!(old.header("x-kept"), Some("2"));
    assert_eq!(old.header("x-hop"), None, "it was about one connection");
    assert_eq!(old.header("age"), Some("77"), "as it said itself");
    for path in ["/chunked", "/chunked?old"] {
        let old = ask(&rig, path, "");
        assert_eq!(
            (old.status, old.body.as_slice()),
            (200, &b"ok"[..]),
            "{path}"
        );
        assert_eq!(old.header("content-length"), Some("2"));
        assert_eq!(old.header("transfer-encoding"), None);
    }
    // Not what is asked for otherwise, was never asked for, or was not kept.
    for (path, fields) in [
        ("/encoded", "Accept-Encoding: gzip\r\n"),
        ("/a?x", ""),
        ("/a", "Range: bytes=0-0\r\n"),
        ("/a", "Cache-Control: no-store\r\n"),
        ("/missing", ""),
        ("/large", ""),
        ("/chunked-large", ""),
        ("/chunked-short", ""),
        ("/until-close", ""),
    ] {
        let answer = ask(&rig, path, fields);
        assert_eq!(answer.status, 502, "{path} {fields}");
    }
    let mut client = rig.client();
    client.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.response().status, 502);
    // The connection stays usable.
    let mut client = rig.client();
    for _ in 0..3 {
        client.send("GET /public HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(client.response().body, b"/public");
    }
    rig.wait_for(|rig| counter(rig, "evenkeel_fallbacks_total", &["shop", "stale"]) == 7);
    assert_eq!(counter(&rig, "evenkeel_stale_answers", &["shop"]), 5);
}

#[test]
fn what_is_of_one_client_is_not_shown_to_another() {
    let (address, down) = server_with_paths();
    let rig = Rig::new(&[address], STALE);
    for path in ["/private", "/cookie", "/varies", "/old"] {
        assert_eq!(ask(&rig, path, "").status, 200);
    }
    for (path, fields) in [
        ("/a", "Authorization: Basic eDp5\r\n"),
        ("/b", "Cookie: session=1\r\n"),
        ("/public", "Cookie: session=1\r\n"),
    ] {
        assert_eq!(ask(&rig, path, fields).status, 200);
    }
    down.store(true, Ordering::SeqCst);
    for path in ["/private", "/cookie", "/varies", "/old", "/a", "/b"] {
        assert_eq!(ask(&rig, path, "").status, 502, "{path}");
    }
    assert_eq!(ask(&rig, "/public", "").status, 200, "it says that it is");
}

#[test]
fn a_request_cannot_have_an_old_answer_forgotten_and_an_answer_can() {
    let (address, down) = server_with_paths();
    let rig = Rig::new(&[address], STALE);
    assert_eq!(ask(&rig, "/a", "").status, 200);
    for fields in [
        "Cookie: session=1\r\n",
        "Authorization: Basic eDp5\r\n",
        "Range: bytes=0-0\r\n",
        "Cache-Control: no-store\r\n",
    ] {
        assert_eq!(ask(&rig, "/a", fields).status, 200);
    }
    assert_eq!(ask(&rig, "/turns-private", "").status, 200);
    assert_eq!(ask(&rig, "/turns-private", "X-Private: 1\r\n").status, 200);
    down.store(true, Ordering::SeqCst);
    assert_eq!(ask(&rig, "/a", "").body, b"/a");
    assert_eq!(ask(&rig, "/turns-private", "").status, 502);
}

/// What a service or a route changes in answers it changes in old ones, too.
#[test]
fn headers_of_old_answers_are_changed_like_those_of_new_ones() {
    let (address, down) = server_with_paths();
    let settings = format!(
        "response_headers = {{ remove = [\"x-kept\"], set = {{ x-frame-options = \"DENY\", x-who = \"{{service}}\" }} }}\n{STALE}"
    );
    let rig = Rig::new(&[address], &settings);
    for is_down in [false, true] {
        down.store(is_down, Ordering::SeqCst);
        let answer = ask(&rig, "/encoded", "");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-kept"), None);
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        assert_eq!(answer.header("x-who"), Some("shop"));
        assert_eq!(answer.header("proxy-status").is_some(), is_down);
    }
}

#[test]
fn what_is_there_otherwise_comes_after_it() {
    let (address, down) = server_with_paths();
    let settings = "[service.shop.retry]\nlimit = 0\n\
        [service.shop.fallback]\nstale = {}\nbody = \"repairing\"\nstatus = 500\non = [\"404\"]";
    let rig = Rig::new(&[address], settings);
    assert_eq!(ask(&rig, "/a", "").status, 200);
    // A status of `on` is no answer, and what it replaces was never kept.
    assert_eq!(ask(&rig, "/missing", "").body, b"repairing");
    down.store(true, Ordering::SeqCst);
    assert_eq!(ask(&rig, "/a", "").body, b"/a");
    let other = ask(&rig, "/b", "");
    assert_eq!(
        (other.status, other.body.as_slice()),
        (500, &b"repairing"[..])
    );
}
