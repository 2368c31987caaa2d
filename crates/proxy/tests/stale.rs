//! Old answers for when there is no new one, with real sockets.

mod common;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use common::*;

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

fn ask(rig: &Rig, path: &str, fields: &str) -> Response {
    let mut client = rig.client();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
    client.response()
}

const STALE: &str =
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

/// A server that answers `/soon` with how often it was asked for it, when it may; and a way to let it.
struct Gated {
    address: SocketAddr,
    asked: Seen,
    /// Says that a request for `/soon` came.
    came: Receiver<()>,
    /// What is sent lets one go on: well, or by hanging up.
    go: Sender<bool>,
}

impl Gated {
    fn new() -> Self {
        let (came_in, came) = channel();
        let (go, may_go) = channel::<bool>();
        let (came_in, may_go) = (Mutex::new(came_in), Mutex::new(may_go));
        let turns = AtomicU32::new(0);
        let (address, asked) = server(move |connection| {
            while let Some(request) = connection.request() {
                let (control, body) = match request.split(' ').nth(1) {
                    Some("/fresh") => ("max-age=60", 0),
                    Some("/soon") => {
                        came_in.lock().expect("no panic").send(()).ok();
                        if may_go.lock().expect("no panic").recv() != Ok(true) {
                            return;
                        }
                        let turn = 1 + turns.fetch_add(1, Ordering::SeqCst);
                        ("max-age=0, stale-while-revalidate=60", turn)
                    }
                    _ => ("no-store", 0),
                };
                connection.answer(format!(
                    "HTTP/1.1 200 OK\r\nCache-Control: {control}\r\nContent-Length: 1\r\n\r\n{body}"
                ));
            }
        });
        Self {
            address,
            asked,
            came,
            go,
        }
    }

    /// Lets the next request for `/soon` end so.
    fn let_go(&self, well: bool) {
        self.came.recv().expect("it came");
        self.go.send(well).expect("it waits");
    }
}

const FIRST: &str =
    "[service.shop.retry]\nlimit = 0\n[service.shop.fallback]\nstale = { answer_first = true }\n";

fn renewals(rig: &Rig, result: &str) -> u64 {
    counter(rig, "evenkeel_stale_renewals_total", &["shop", result])
}

#[test]
fn what_is_fresh_is_shown_without_asking() {
    let gated = Gated::new();
    let rig = Rig::new(&[gated.address], FIRST);
    for path in ["/fresh", "/never"] {
        assert_eq!(ask(&rig, path, "").status, 200);
    }
    let fresh = ask(&rig, "/fresh", "");
    assert_eq!((fresh.status, fresh.body.as_slice()), (200, &b"0"[..]));
    let cache = fresh.header("cache-status").expect("it says so").to_owned();
    assert!(cache.starts_with("evenkeel; hit; ttl="), "{cache}");
    assert_eq!(fresh.header("proxy-status"), None);
    let known = ask(&rig, "/fresh", "Cookie: a=b\r\n");
    assert_eq!(known.header("cache-status"), None);
    assert_eq!(ask(&rig, "/never", "").header("cache-status"), None);
    assert_eq!(gated.asked.lock().expect("no panic").len(), 4);
    let labels = ["shop", "fresh"];
    assert_eq!(counter(&rig, "evenkeel_stale_first_total", &labels), 1);
}

/// All get what there is, also the one who comes first; one fetch goes on beside them, and then all get what it brought.
#[test]
fn what_is_stale_is_shown_while_a_new_one_is_fetched() {
    let gated = Gated::new();
    let rig = Rig::new(&[gated.address], FIRST);
    let hit = |fields: &str| {
        let answer = ask(&rig, "/soon", fields);
        assert_eq!(answer.header("cache-status"), Some("evenkeel; hit; ttl=0"));
        answer.body
    };
    let mut first = rig.client();
    first.send("GET /soon HTTP/1.1\r\nHost: x\r\n\r\n");
    gated.let_go(true);
    assert_eq!(first.response().body, b"1");

    for _ in 0..10 {
        assert_eq!(hit("If-None-Match: \"1\"\r\n"), b"1");
    }
    gated.let_go(true);
    rig.wait_for(|rig| renewals(rig, "kept") == 1);
    let requests = gated.asked.lock().expect("no panic").clone();
    assert_eq!(requests.len(), 2, "ten asked, one fetched: {requests:?}");
    assert!(!requests[1].contains("If-None-Match"), "{requests:?}");

    // The next fetch fails, and what there is stays.
    assert_eq!(hit(""), b"2");
    gated.let_go(false);
    rig.wait_for(|rig| renewals(rig, "failed") == 1);
    assert_eq!(hit(""), b"2");
    let labels = ["shop", "while-revalidating"];
    assert_eq!(counter(&rig, "evenkeel_stale_first_total", &labels), 12);
    assert_eq!(rig.totals().failed, 0);
}

/// Who fetches for all asks for nobody, so a public answer is fetched as somebody unknown gets it.
#[test]
fn a_fetch_for_all_says_nothing_of_who_asked() {
    let (address, asked) = server(|connection| {
        while connection.request().is_some() {
            connection.answer("HTTP/1.1 200 OK\r\nCache-Control: public, max-age=0, stale-while-revalidate=60\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let rig = Rig::new(&[address], FIRST);
    for _ in 0..2 {
        let answer = ask(
            &rig,
            "/",
            "Cookie: session=1\r\nAuthorization: Basic eDp5\r\n",
        );
        assert_eq!(answer.status, 200);
    }
    rig.wait_for(|rig| renewals(rig, "kept") == 1);
    let requests = asked.lock().expect("no panic").clone();
    assert_eq!(requests.len(), 2);
    assert!(requests[0].contains("session=1"), "{requests:?}");
    for secret in ["session=1", "eDp5"] {
        assert!(!requests[1].contains(secret), "{requests:?}");
    }
}

/// What evenkeel's own configuration says of who asks is nobody's secret but its own, and servers may not answer without it.
#[test]
fn a_fetch_for_all_has_the_credentials_that_the_configuration_sets() {
    let (address, asked) = server(|connection| {
        while connection.request().is_some() {
            connection.answer("HTTP/1.1 200 OK\r\nCache-Control: public, max-age=0, stale-while-revalidate=60\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let own = "[service.shop.request_headers]\nset = { authorization = \"Basic b3du\" }\n";
    let rig = Rig::new(&[address], &format!("{FIRST}{own}"));
    for _ in 0..2 {
        let theirs = "Cookie: session=1\r\nAuthorization: Basic eDp5\r\n";
        assert_eq!(ask(&rig, "/", theirs).status, 200);
    }
    rig.wait_for(|rig| renewals(rig, "kept") == 1);
    let requests = asked.lock().expect("no panic").clone();
    assert!(requests[1].contains("Basic b3du"), "{requests:?}");
    for secret in ["session=1", "eDp5"] {
        assert!(!requests[1].contains(secret), "{requests:?}");
    }
}

/// What a cache before the server had for 50 s is that old here, too.
#[test]
fn an_answer_is_as_old_as_it_says() {
    let (address, asked) = server(|connection| {
        while let Some(request) = connection.request() {
            let age = match request.split(' ').nth(1) {
                Some("/young") => "50",
                Some("/old") => "70",
                _ => "soon",
            };
            connection.answer(format!(
                "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nAge: {age}\r\nContent-Length: 2\r\n\r\nok"
            ));
        }
    });
    let rig = Rig::new(&[address], FIRST);
    let numbers = |path: &str| {
        assert_eq!(ask(&rig, path, "").status, 200);
        let hit = ask(&rig, path, "");
        let ttl = hit
            .header("cache-status")?
            .rsplit('=')
            .next()?
            .parse()
            .ok()?;
        let age = hit.header("age")?.parse().ok()?;
        Some((age, ttl))
    };
    let (age, ttl): (u64, u64) = numbers("/young").expect("it is fresh");
    assert!((50..60).contains(&age) && ttl < 10, "{age} {ttl}");
    let (age, ttl) = numbers("/no-number").expect("it is fresh");
    assert!(age < 10 && (50..60).contains(&ttl), "{age} {ttl}");
    assert_eq!(numbers("/old"), None, "it was stale when it came");
    assert_eq!(asked.lock().expect("no panic").len(), 4);
}

/// What frames the content is not content: many small chunks are fetched anew as they were kept.
#[test]
fn a_fetch_of_small_chunks_is_kept_and_one_of_too_much_is_not() {
    let turns = AtomicU32::new(0);
    let (address, _) = server(move |connection| {
        while connection.request().is_some() {
            let turn = turns.fetch_add(1, Ordering::SeqCst);
            let control = "Cache-Control: max-age=0, stale-while-revalidate=60";
            let chunk = format!("1;{}\r\nx\r\n", "e".repeat(100));
            connection.answer(match turn {
                0 => format!("HTTP/1.1 200 OK\r\n{control}\r\nContent-Length: 1\r\n\r\n0"),
                1 => format!(
                    "HTTP/1.1 200 OK\r\n{control}\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
                    chunk.repeat(2_048)
                ),
                _ => format!(
                    "HTTP/1.1 200 OK\r\n{control}\r\nContent-Length: 2049\r\n\r\n{}",
                    "y".repeat(2_049)
                ),
            });
        }
    });
    let first = FIRST.replace("answer_first", "object = \"2KiB\", answer_first");
    let rig = Rig::new(&[address], &first);
    assert_eq!(ask(&rig, "/", "").body, b"0");
    assert_eq!(ask(&rig, "/", "").body, b"0");
    rig.wait_for(|rig| renewals(rig, "kept") == 1);
    assert_eq!(ask(&rig, "/", "").body, vec![b'x'; 2_048]);
    rig.wait_for(|rig| renewals(rig, "not-kept") == 1);
    assert_eq!(ask(&rig, "/", "").body, vec![b'x'; 2_048], "it stays");
}

/// What took long to pass is as old as its beginning, and does not take the place of what was asked for later.
#[test]
fn an_answer_that_passes_slowly_does_not_replace_a_newer_one() {
    let down = Arc::new(AtomicBool::new(false));
    let is_down = Arc::clone(&down);
    let (go, may_go) = channel::<()>();
    let may_go = Mutex::new(may_go);
    let turns = AtomicU32::new(0);
    let (address, _) = server(move |connection| {
        while connection.request().is_some() {
            if is_down.load(Ordering::SeqCst) {
                return;
            }
            if turns.fetch_add(1, Ordering::SeqCst) > 0 {
                connection.answer("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew");
                continue;
            }
            connection.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nol\r\n");
            may_go.lock().expect("no panic").recv().ok();
            connection.answer("1\r\nd\r\n0\r\n\r\n");
        }
    });
    let rig = Rig::new(&[address], STALE);
    let mut slow = rig.client();
    slow.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut there = [0; 4096];
    let mut begun = Vec::new();
    while !begun.ends_with(b"ol\r\n") {
        let n = read_some(&slow.stream, &mut there).expect("it begins");
        assert!(n > 0, "it ended early");
        begun.extend_from_slice(&there[..n]);
    }
    assert_eq!(ask(&rig, "/", "").body, b"new");
    go.send(()).expect("it waits");
    assert_eq!(slow.rest(), b"1\r\nd\r\n0\r\n\r\n");
    rig.wait_for(|rig| rig.totals().requests == 2);
    down.store(true, Ordering::SeqCst);
    assert_eq!(ask(&rig, "/", "").body, b"new");
}

/// A server whose answers are fresh for an hour and say how many requests there have been; it changes something in other methods, and
/// answers those with what the path asks for.
fn counting_server() -> (SocketAddr, Seen) {
    let count = AtomicU32::new(0);
    server(move |connection| {
        while let Some(request) = connection.request() {
            let turn = 1 + count.fetch_add(1, Ordering::SeqCst);
            let status = match request.split(' ').nth(1) {
                Some(_) if request.contains("X-Fail") => "500 Internal Server Error",
                Some(_) if request.contains("X-Refuse") => "409 Conflict",
                Some(_) if request.contains("X-Move") => "303 See Other\r\nLocation: http://X./a",
                Some(_) if request.contains("X-Other") => {
                    "201 Created\r\nContent-Location: /b\r\nLocation: http://other/a"
                }
                _ => "200 OK",
            };
            let body = format!("{turn}");
            connection.answer(format!(
                "HTTP/1.1 {status}\r\nCache-Control: max-age=3600\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ));
        }
    })
}

fn ask_with(rig: &Rig, method: &str, path: &str, fields: &str) -> Response {
    let mut client = rig.client();
    client.send(format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n{fields}\r\n"
    ));
    client.response()
}

/// RFC 9111, section 4.4: what a request has changed is not shown as it was.
#[test]
fn what_was_changed_is_not_shown_as_it_was() {
    let (address, _) = counting_server();
    let rig = Rig::new(&[address], FIRST);
    let is_kept = |path: &str| {
        let before = ask(&rig, path, "");
        rig.wait_for(|rig| ask(rig, path, "").header("cache-status").is_some());
        before.header("cache-status").is_some()
    };
    assert!(!is_kept("/a") && !is_kept("/b") && !is_kept("/c"));
    for (method, path, fields, forgotten) in [
        ("POST", "/a", "", vec!["/a"]),
        ("PUT", "/a", "", vec!["/a"]),
        ("DELETE", "/a", "", vec!["/a"]),
        ("PATCH", "/a", "", vec!["/a"]),
        ("PURGE", "/a", "", vec!["/a"]),
        ("POST", "http://X.:80/a", "", vec!["/a"]),
        // What failed, or was refused, has changed nothing that is known of.
        ("POST", "/a", "X-Fail: 1\r\n", vec![]),
        ("POST", "/a", "X-Refuse: 1\r\n", vec![]),
        ("POST", "/new", "X-Move: 1\r\n", vec!["/a"]),
        ("POST", "/new", "X-Other: 1\r\n", vec!["/b"]),
        // These change nothing.
        ("OPTIONS", "/a", "", vec![]),
        ("QUERY", "/a", "", vec![]),
        ("POST", "/a?b", "", vec![]),
    ] {
        ask_with(&rig, method, path, fields);
        for other in ["/a", "/b", "/c"] {
            let what = format!("{method} {path} {fields:?}: {other}");
            assert_eq!(is_kept(other), !forgotten.contains(&other), "{what}");
        }
    }
    assert_eq!(
        counter(&rig, "evenkeel_stale_invalidated_total", &["shop"]),
        8
    );
}

/// One that was asked for before a change and comes after it may be of before.
#[test]
fn an_answer_that_was_under_way_during_a_change_is_not_kept() {
    let (came_in, came) = channel();
    let (go, may_go) = channel::<()>();
    let (came_in, may_go) = (Mutex::new(came_in), Mutex::new(may_go));
    let (address, _) = server(move |connection| {
        while let Some(request) = connection.request() {
            if request.contains("X-Slow") {
                came_in.lock().expect("no panic").send(()).ok();
                may_go.lock().expect("no panic").recv().ok();
            }
            connection.answer(
                "HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nContent-Length: 2\r\n\r\nok",
            );
        }
    });
    let rig = Rig::new(&[address], FIRST);
    let mut slow = rig.client();
    slow.send("GET /a HTTP/1.1\r\nHost: x\r\nX-Slow: 1\r\n\r\n");
    came.recv().expect("it came");
    assert_eq!(ask_with(&rig, "POST", "/a", "").status, 200);
    go.send(()).expect("it waits");
    assert_eq!(slow.response().status, 200);
    // The slow one's connection is at its end, so nothing of it is still to be kept.
    slow.send("GET /b HTTP/1.1\r\nHost: x\r\n\r\n");
    slow.response();
    assert_eq!(ask(&rig, "/a", "").header("cache-status"), None);
}

/// RFC 9111, section 5.2.1: what requests say of ages.
#[test]
fn a_request_can_ask_for_a_new_answer() {
    let (address, _) = counting_server();
    let rig = Rig::new(&[address], FIRST);
    ask(&rig, "/a", "");
    rig.wait_for(|rig| ask(rig, "/a", "").header("cache-status").is_some());
    for (fields, shown) in [
        ("max-age=0", false),
        ("max-age=3000", true),
        ("no-cache", false),
        ("no-store", false),
        ("min-fresh=3700", false),
        ("min-fresh=60", true),
        ("max-age=soon", false),
        ("max-stale", true),
        ("only-if-cached", true),
        ("no-transform", true),
    ] {
        let answer = ask(&rig, "/a", &format!("Cache-Control: {fields}\r\n"));
        assert_eq!(answer.header("cache-status").is_some(), shown, "{fields}");
    }
}

/// Routes that show the same service's answers to the same address, each after an edit of its own.
#[test]
fn answers_are_kept_for_the_route_that_they_came_by() {
    let (address, _) = server(|connection| {
        while let Some(request) = connection.request() {
            let tenant = request.split("X-Tenant: ").nth(1).unwrap_or_default();
            let tenant = tenant.lines().next().unwrap_or_default();
            connection.answer(format!(
                "HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nContent-Length: {}\r\n\r\n{tenant}",
                tenant.len()
            ));
        }
    });
    let rig = Rig::of(&format!(
        "workers = 1\n[listen.web]\naddress = \"127.0.0.1:0\"\nroutes = [\n\
         {{ header = {{ X-Group = \"a\" }}, service = \"shop\", request_headers = {{ set = {{ X-Tenant = \"one\" }} }} }},\n\
         {{ path = \"/*\", service = \"shop\", request_headers = {{ set = {{ X-Tenant = \"two\" }} }} }},\n]\n\
         [service.shop]\nservers = [\"{address}\"]\n{FIRST}"
    ));
    let both = || ["X-Group: a\r\n", ""].map(|fields| ask(&rig, "/", fields));
    both();
    rig.wait_for(|_| {
        both()
            .iter()
            .all(|answer| answer.header("cache-status").is_some())
    });
    let bodies = both().map(|answer| String::from_utf8(answer.body).expect("text"));
    assert_eq!(bodies, ["one", "two"]);
    // A change by one of them counts for both.
    ask_with(&rig, "POST", "/", "");
    for answer in both() {
        assert_eq!(answer.header("cache-status"), None);
    }
}
