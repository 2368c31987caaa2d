//! What was changed, or is asked for anew, is not shown as it was.

use crate::ask;
use crate::common::*;
use crate::fresh::FIRST;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;

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
