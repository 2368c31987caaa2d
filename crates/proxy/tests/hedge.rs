//! A second attempt while the first one is late.

mod common;

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;

use common::{Rig, always, counter, server, still_open_after};
use evenkeel_core::Observation;
use evenkeel_core::Outcome;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const OTHER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother";
const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

/// Round robin, so that every second request meets each server.
fn rig(servers: &[SocketAddr], hedge: &str, more: &str) -> Rig {
    let extra = format!(
        "balance = {{ policy = \"round-robin\" }}\nhedge = {{ {hedge} }}\n\
         timeout = {{ attempt = \"2s\" }}\n{more}"
    );
    Rig::new(servers, &extra)
}

fn hedges(rig: &Rig, result: &str) -> u64 {
    counter(rig, "evenkeel_hedges_total", &["shop", result])
}

/// Answers after this time.
fn after(wait: Duration, answer: &'static str) -> SocketAddr {
    server(move |connection| {
        while connection.request().is_some() {
            // It ends when the peer closes, and not a moment later than it should answer.
            if !still_open_after(&connection.stream, wait) {
                return;
            }
            connection.answer(answer);
        }
    })
    .0
}

#[test]
fn a_server_that_hangs_costs_the_delay_and_no_more() {
    let hung = after(Duration::from_secs(30), OK);
    let (quick, seen) = always(OTHER);
    let mut rig = rig(&[hung, quick], "after = \"30ms\"", "");
    let mut signals = rig.take_signals();
    for _ in 0..6 {
        let begun = rig.clock.now();
        assert_eq!(rig.client().get("/").body, b"other");
        let took = rig.clock.now().since(begun);
        assert!(
            took < Duration::from_secs(20),
            "it waited for the server that hangs: {took:?}"
        );
    }
    rig.wait_for(|rig| rig.totals().requests == 6);
    assert_eq!((hedges(&rig, "won"), hedges(&rig, "lost")), (3, 0));
    assert_eq!(seen.lock().expect("no panic").len(), 6);
    // It was no retry that saved them, and the attempts that were broken off are seen by the detectors.
    assert_eq!(rig.totals().saved_by_retry, 0);
    let (mut taken, mut broken_off) = (Vec::new(), 0);
    signals.drain(&mut taken);
    for signal in taken {
        if let Observation::Attempt {
            outcome, latency, ..
        } = signal.observation
            && outcome == Outcome::Superseded
        {
            assert!(latency >= Duration::from_millis(30) && signal.server.index == 0);
            broken_off += 1;
        }
    }
    assert_eq!(broken_off, 3);
    let superseded = counter(&rig, "evenkeel_attempts_total", &["shop", "superseded"]);
    assert_eq!(superseded, 3);

    // A POST is not made twice.
    let mut client = rig.client();
    for _ in 0..2 {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        let status = client.response().status;
        assert!(status == 200 || status == 504);
        if status == 504 {
            client = rig.client();
        }
    }
    assert_eq!(hedges(&rig, "won"), 3);
}

#[test]
fn the_first_one_may_still_be_first() {
    // It answers once the other one has been asked beside it: in that order, however long each takes.
    let (asked_in, asked) = mpsc::channel();
    let asked = Mutex::new(asked);
    let (hung, _) = server(move |connection| {
        while connection.request().is_some() {
            asked_in.send(()).expect("the test goes on");
        }
    });
    let (slow, _) = server(move |connection| {
        while connection.request().is_some() {
            asked
                .lock()
                .expect("no panic")
                .recv()
                .expect("it is hedged");
            connection.answer(OK);
        }
    });
    let rig = rig(&[slow, hung], "after = \"20ms\"", "");
    let mut won = 0;
    for _ in 0..4 {
        assert_eq!(rig.client().get("/").body, b"ok");
        won += 1;
    }
    rig.wait_for(|rig| rig.totals().requests == won);
    // Those that began at the hung one were won by the other, those that began at the slow one were not.
    assert_eq!((hedges(&rig, "won"), hedges(&rig, "lost")), (2, 2));
}

/// An answer that is known to be none before anything was passed on does not win.
#[test]
fn a_body_that_begins_badly_does_not_win() {
    const BAD: &str =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n";
    let slow = after(Duration::from_millis(600), OK);
    let (bad, _) = always(BAD);
    let rig = rig(&[slow, bad], "after = \"10ms\"", "");
    for _ in 0..4 {
        assert_eq!(rig.client().get("/").body, b"ok");
    }
    assert!(hedges(&rig, "failed") > 0);
}

#[test]
fn nothing_is_hedged_that_is_in_time() {
    let (one, seen) = always(OK);
    let (other, _) = always(OK);
    let rig = rig(&[one, other], "after = \"1s\"", "");
    let mut client = rig.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").status, 200);
    }
    rig.wait_for(|rig| rig.totals().requests == 20);
    assert_eq!(seen.lock().expect("no panic").len(), 10);
    for result in ["won", "lost", "failed", "denied-budget", "no-server"] {
        assert_eq!(hedges(&rig, result), 0, "{result}");
    }
}

#[test]
fn an_attempt_that_fails_leaves_the_response_to_the_other() {
    // One breaks off as soon as the other has been asked, and while that is under way.
    let asked = Arc::new((Mutex::new((0, 0)), Condvar::new()));
    let other = Arc::clone(&asked);
    let (dies, _) = server(move |connection| {
        if connection.request().is_some() {
            let (counts, changed) = &*asked;
            let mut counts = counts.lock().expect("no panic");
            counts.0 += 1;
            let mine = counts.0;
            drop(changed.wait_while(counts, |(_, other)| *other < mine));
        }
    });
    let wait = Duration::from_millis(600);
    let (slow, _) = server(move |connection| {
        while connection.request().is_some() {
            other.0.lock().expect("no panic").1 += 1;
            other.1.notify_all();
            if !still_open_after(&connection.stream, wait) {
                return;
            }
            connection.answer(OK);
        }
    });
    let no_retry = "retry = { limit = 0, on = [] }\n";
    let one = rig(&[dies, slow], "after = \"20ms\"", no_retry);
    for _ in 0..4 {
        assert_eq!(one.client().get("/").body, b"ok");
    }
    assert_eq!(hedges(&one, "won"), 2);
    assert_eq!(hedges(&one, "failed"), 2);

    // The second one has no good answer, so the first is waited for.
    let (busy, _) = always(UNAVAILABLE);
    let slow = after(wait, OK);
    let two = rig(&[slow, busy], "after = \"20ms\"", no_retry);
    let statuses: Vec<u16> = (0..4).map(|_| two.client().get("/").status).collect();
    assert_eq!(hedges(&two, "failed"), 2);
    // Of the other two, one is hedged only if the machine was too busy to answer it in time.
    let good = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!(good as u64, 2 + hedges(&two, "won"), "{statuses:?}");
}

#[test]
fn the_budget_pays_and_the_limit_holds() {
    let hung = || after(Duration::from_millis(400), OK);
    let poor = "retry = { budget = { ratio = 0, floor_per_second = 0, burst = 2 } }\n";
    let one = rig(&[hung(), hung()], "after = \"20ms\"", poor);
    for _ in 0..4 {
        assert_eq!(one.client().get("/").status, 200);
    }
    assert_eq!(hedges(&one, "denied-budget"), 2);
    one.wait_for(|rig| hedges(rig, "won") + hedges(rig, "lost") == 2);

    let all = [hung(), hung(), hung(), hung()];
    let two = rig(&all, "after = \"20ms\", limit = 2", "");
    assert_eq!(two.client().get("/").status, 200);
    two.wait_for(|rig| hedges(rig, "won") + hedges(rig, "lost") == 2);

    let alone = rig(&[hung()], "after = \"20ms\"", "");
    assert_eq!(alone.client().get("/").status, 200);
    assert_eq!(hedges(&alone, "no-server"), 1);
}

#[test]
fn a_quantile_of_what_was_seen() {
    let (quick, _) = always(OK);
    let (sometimes, _) = server(|connection| {
        let mut count = 0;
        while connection.request().is_some() {
            count += 1;
            if count % 20 == 0 && !still_open_after(&connection.stream, Duration::from_secs(5)) {
                return;
            }
            connection.answer(OK);
        }
    });
    let rig = rig(
        &[quick, sometimes],
        "after = \"p90\", minimum_attempts = 30",
        "",
    );
    let mut client = rig.client();
    for _ in 0..300 {
        assert_eq!(client.get("/").status, 200);
    }
    // Of the answers that take 5 s none was waited for where a hedge was paid for.
    assert!(hedges(&rig, "won") >= 5, "{}", hedges(&rig, "won"));
}

/// The time that an attempt is promised begins when it is connected, beside another one as alone.
#[test]
fn what_connecting_took_is_not_held_against_a_hedged_attempt() {
    let (hung_in, hung_has_it) = mpsc::channel();
    let (hung, _) = server(move |connection| {
        while connection.request().is_some() {
            hung_in.send(()).expect("the test goes on");
        }
    });
    // Its queue is full, so that the kernel tries again to connect after 1 s, and after 3 s.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let listener = runtime.expect("a runtime").block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket
            .bind("127.0.0.1:0".parse().expect("an address"))
            .expect("a free port");
        socket
            .listen(0)
            .expect("it listens")
            .into_std()
            .expect("a socket")
    });
    listener.set_nonblocking(false).expect("a socket");
    let late = listener.local_addr().expect("it listens");
    let _fills = std::net::TcpStream::connect(late).expect("there is one place");
    let mut rig = Rig::new(
        &[hung, late],
        "balance = { policy = \"round-robin\" }\nhedge = { after = \"30ms\" }\n\
         timeout = { connect = \"30s\", attempt = \"3s\", total = \"60s\" }\nretry = { limit = 0 }\n",
    );
    let mut signals = rig.take_signals();
    let mut clients = [rig.client(), rig.client()];
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    hung_has_it.recv().expect("one of both went there");
    std::thread::spawn(move || {
        // Between the first and the second of the kernel's tries.
        std::thread::park_timeout(Duration::from_millis(2_000));
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer_late(&stream));
        }
    });
    for client in &mut clients {
        assert_eq!(client.response().body, b"other");
    }
    rig.wait_for(|rig| rig.totals().requests == 2);
    let mut taken = Vec::new();
    signals.drain(&mut taken);
    for signal in taken.iter().filter(|signal| signal.server.index == 1) {
        if let Observation::Attempt { outcome, .. } = &signal.observation {
            assert!(!outcome.is_failure(), "{outcome:?}");
        }
    }
}

/// Answers a request after 1 s.
fn answer_late(mut stream: &std::net::TcpStream) {
    use std::io::{Read as _, Write as _};
    let mut request = [0; 1024];
    if matches!(stream.read(&mut request), Ok(n) if n > 0)
        && still_open_after(stream, Duration::from_millis(1_000))
    {
        stream.write_all(OTHER.as_bytes()).ok();
    }
}
