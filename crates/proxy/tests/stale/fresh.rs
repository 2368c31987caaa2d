//! Fresh answers are shown without asking, stale ones while a new one is fetched.

use crate::common::*;
use crate::{STALE, ask};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::Sender;
use std::sync::mpsc::channel;

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

pub(crate) const FIRST: &str =
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
fn a_revalidation_carries_nothing_of_the_client() {
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
