//! How answers end on their way to the client, whose fault that is, and which connections carry another request.

mod common;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use common::{Rig, always, counter, read_some, server};
use evenkeel_core::{Observation, Outcome};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The outcomes that those who look for faults have heard of.
fn told(signals: &mut evenkeel_proxy::SignalReader) -> Vec<Outcome> {
    let mut taken = Vec::new();
    signals.drain(&mut taken);
    (taken.iter())
        .filter_map(|signal| match signal.observation {
            Observation::Attempt { outcome, .. } => Some(outcome),
            _ => None,
        })
        .collect()
}

fn attempts(rig: &Rig, outcome: &str) -> u64 {
    counter(rig, "evenkeel_attempts_total", &["shop", outcome])
}

/// More than the sockets between two processes hold.
const LARGE: usize = 16 << 20;

/// Answers each PUT when it has read a little of its body, and then reads the rest before it looks for the next request.
fn answer_early(connection: &mut common::Connection) -> std::io::Result<()> {
    let stream = &mut connection.stream;
    let (mut bytes, mut part) = (Vec::new(), vec![0; 16 * 1024]);
    loop {
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            match stream.read(&mut part)? {
                0 => return Ok(()),
                n => bytes.extend_from_slice(&part[..n]),
            }
        };
        let mut left = if bytes.starts_with(b"PUT") { LARGE } else { 0 };
        bytes.drain(..end);
        stream.write_all(OK.as_bytes())?;
        while left > 0 {
            if bytes.is_empty() {
                match stream.read(&mut part)? {
                    0 => return Ok(()),
                    n => bytes.extend_from_slice(&part[..n]),
                }
            }
            left -= bytes.drain(..bytes.len().min(left)).count();
        }
    }
}

/// A body that is sent again to a server which answers before it has read it: were the connection kept half written, the next
/// request would be read as a part of the body and never answered.
#[test]
fn a_connection_is_not_used_again_before_the_request_was_written() {
    let (resets, _) = server(|connection| {
        // All of the body has come before the reset, so that it is sent again.
        if connection
            .request()
            .is_some_and(|request| request.starts_with("GET"))
        {
            return connection.answer(OK);
        }
        socket2::SockRef::from(&connection.stream)
            .set_linger(Some(Duration::ZERO))
            .expect("a socket");
    });
    let (answers, _) = server(|connection| {
        // The client of this is closed when the test is over.
        answer_early(connection).ok();
    });
    let rig = Rig::new(
        &[resets, answers],
        "retry = { body_buffer = \"16MiB\", methods = [\"PUT\", \"GET\"] }\nbalance = { policy = \"round-robin\" }\n",
    );
    for _ in 0..6 {
        let mut client = rig.client();
        let mut sender = client.stream.try_clone().unwrap();
        let sending = std::thread::spawn(move || {
            let head = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n");
            // The answer may come first, and the connection be closed for it.
            sender.write_all(head.as_bytes()).ok();
            sender.write_all(&vec![b'x'; LARGE]).ok();
        });
        assert_eq!(client.response().status, 200);
        sending.join().unwrap();
        assert_eq!(rig.client().get("/next").body, b"ok");
    }
}

/// Between two events of a stream there may be more time than `timeout.idle`: the stream ends, and nobody is to blame.
#[test]
fn silence_in_a_stream_is_not_held_against_the_server() {
    let (address, _) = server(|connection| {
        connection.request();
        connection.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        // Waits for the proxy to end it.
        connection.stream.read_exact(&mut [0]).ok();
    });
    let mut rig = Rig::new(&[address], "timeout = { idle = \"150ms\" }\n");
    let mut signals = rig.take_signals();
    let mut client = rig.client();
    client.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    let all = String::from_utf8(client.rest()).unwrap();
    assert!(all.ends_with("5\r\nhello\r\n"), "no last chunk: {all:?}");
    rig.wait_for(|rig| attempts(rig, "idle-timeout") == 1);
    assert_eq!(told(&mut signals), [Outcome::Answered(200)]);
    rig.wait_for(|rig| rig.totals().requests == 1);
    assert_eq!(
        (attempts(&rig, "success"), attempts(&rig, "truncated")),
        (0, 0)
    );
}

/// An answer that only the end of the connection ends cannot be told from a whole one if the connection ends like any other.
#[test]
fn a_client_can_tell_that_an_answer_without_a_length_broke_off() {
    let (address, _) = server(|connection| {
        connection.request();
        connection.answer("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello");
        connection.stream.read_exact(&mut [0]).ok();
    });
    let rig = Rig::new(&[address], "timeout = { idle = \"150ms\" }\n");
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut bytes = [0; 1024];
    let end = loop {
        match read_some(&client.stream, &mut bytes) {
            Ok(0) => panic!("it looks whole"),
            Ok(_) => {}
            Err(error) => break error.kind(),
        }
    };
    assert_eq!(end, std::io::ErrorKind::ConnectionReset);
}

/// The answer has begun, and the upload goes on for longer than `timeout.idle`: that is progress.
#[test]
fn an_upload_beside_an_early_answer_keeps_it_alive() {
    const PIECES: usize = 30;
    let (address, _) = server(|connection| {
        connection.head();
        connection.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n");
        let mut body = vec![0; PIECES * 1000];
        let whole = connection.stream.read_exact(&mut body).is_ok();
        if whole {
            connection.answer("3\r\nend\r\n0\r\n\r\n");
        }
    });
    let rig = Rig::new(&[address], "timeout = { idle = \"1s\" }\n");
    let mut client = rig.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        PIECES * 1000
    ));
    let mut sender = client.stream.try_clone().unwrap();
    let (_stop, pace) = std::sync::mpsc::channel::<()>();
    let sending = std::thread::spawn(move || {
        for _ in 0..PIECES {
            // Twice the idle time on the whole, far less than it between two pieces.
            pace.recv_timeout(Duration::from_millis(70)).ok();
            sender.write_all(&[b'x'; 1000]).expect("the proxy reads");
        }
    });
    assert_eq!(client.response().body, b"begunend");
    sending.join().unwrap();
    rig.wait_for(|rig| attempts(rig, "success") == 1);
}

/// What is left of `timeout.total` is less than an attempt may take: a server that is not done by then is not to blame.
#[test]
fn no_server_is_blamed_for_an_attempt_that_the_total_timeout_cut_short() {
    let (hung, _) = server(|connection| while connection.request().is_some() {});
    let mut rig = Rig::new(
        &[hung],
        "timeout = { attempt = \"20s\", total = \"200ms\" }\n",
    );
    let mut signals = rig.take_signals();
    let response = rig.client().get("/");
    assert_eq!(response.status, 504);
    let why = response.header("proxy-status").unwrap_or_default();
    assert!(why.contains("total-timeout"), "{why}");
    rig.wait_for(|rig| rig.totals().requests == 1);
    assert_eq!(told(&mut signals), [Outcome::Cancelled]);
}

/// One that had its whole time is, also when the request's time ends with it.
#[test]
fn an_attempt_that_had_its_time_is_blamed_on_the_server() {
    let (hung, _) = server(|connection| while connection.request().is_some() {});
    let mut rig = Rig::new(
        &[hung],
        "timeout = { attempt = \"200ms\", total = \"200ms\" }\nretry = { limit = 0 }\n",
    );
    let mut signals = rig.take_signals();
    assert_eq!(rig.client().get("/").status, 504);
    rig.wait_for(|rig| rig.totals().requests == 1);
    assert_eq!(told(&mut signals), [Outcome::AttemptTimeout]);
}

/// A server that answers after the head and closes with the body unread, as many do for what is too large. A client that
/// writes its whole body before it reads sees that answer.
#[test]
fn an_early_answer_reaches_a_client_that_writes_first() {
    for answer in [
        "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 9\r\n\r\ntoo large",
        "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 417 Expectation Failed\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    ] {
        let (address, _) = server(move |connection| {
            connection.head();
            connection.answer(answer);
        });
        let mut rig = Rig::new(&[address], "");
        let mut signals = rig.take_signals();
        let status = answer
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse::<u16>().ok());
        for _ in 0..8 {
            let mut client = rig.client();
            client.send(format!(
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
                20 << 20
            ));
            client.send(vec![b'x'; 20 << 20]);
            assert_eq!(Some(client.response().status), status);
        }
        rig.wait_for(|rig| rig.totals().requests == 8);
        let told = told(&mut signals);
        assert!(told.iter().all(|outcome| !outcome.is_failure()), "{told:?}");
    }
}

/// A server that takes a part, does not answer and closes has reset the request, however the writing failed.
#[test]
fn a_close_without_an_answer_is_a_reset() {
    let (address, _) = server(|connection| {
        connection.head();
    });
    let mut rig = Rig::new(&[address], "");
    let mut signals = rig.take_signals();
    let mut client = rig.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        4 << 20
    ));
    client.send(vec![b'x'; 4 << 20]);
    assert_eq!(client.response().status, 502);
    assert_eq!(told(&mut signals), [Outcome::Reset { sent: true }]);
}

#[test]
fn a_client_that_goes_away_in_an_answer_is_no_failure_of_the_server() {
    let (address, _) = server(|connection| {
        connection.request();
        connection.answer(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            64 << 20
        ));
        connection.answer(vec![b'x'; 64 << 20]);
    });
    let mut rig = Rig::new(&[address], "");
    let mut signals = rig.take_signals();
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.stream.read_exact(&mut [0; 1000]).unwrap();
    socket2::SockRef::from(&client.stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    rig.wait_for(|rig| attempts(rig, "cancelled") == 1);
    assert_eq!(told(&mut signals), [Outcome::Answered(200)]);
}

/// One that only ends its own direction still gets its answer.
#[test]
fn a_half_closed_client_gets_its_answer() {
    let (address, _) = always(OK);
    let rig = Rig::new(&[address], "");
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.response().body, b"ok");
}

/// Chunk sizes with blanks behind them and forbidden trailers are put right; the client gets what is tidy.
#[test]
fn malformed_chunks_of_a_response_are_repaired() {
    let (address, _) = server(|connection| {
        while connection.request().is_some() {
            connection.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5  \r\nhel");
            connection.answer("lo\r\n1\t\r\n!\r\n0 \r\nX-Sum: 1\r\nSet-Coo");
            connection.answer("kie: a=b\r\nContent-Type: text/html\r\n\r\n");
        }
    });
    let rig = Rig::new(&[address], "");
    for _ in 0..20 {
        let mut client = rig.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let all = String::from_utf8(client.rest()).unwrap();
        let body = all.split_once("\r\n\r\n").unwrap().1;
        assert_eq!(body, "5\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n");
    }
    let mut old = rig.client();
    old.send("GET / HTTP/1.0\r\n\r\n");
    assert!(old.rest().ends_with(b"\r\n\r\nhello!"));
    rig.wait_for(|rig| attempts(rig, "success") == 21);
    // The connection stands at the end of each answer.
    let opened = counter(&rig, "evenkeel_server_connections_total", &["shop"]);
    assert!(opened < 21, "{opened} connections for 21 requests");
}

/// What is known not to be a body before anything was passed on is 502, can be tried elsewhere, and says why.
#[test]
fn a_response_whose_body_begins_malformed_is_502() {
    const BAD: &str =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n";
    let (bad, _) = always(BAD);
    let rig = Rig::new(&[bad], "retry = { limit = 0 }\n");
    let response = rig.client().get("/");
    assert_eq!(response.status, 502);
    let why = response.header("proxy-status").unwrap_or_default();
    assert!(
        why.contains("bad-response; the size of a chunk is hexadecimal"),
        "{why}"
    );
    rig.wait_for(|rig| attempts(rig, "bad-response") == 1);
    assert_eq!(attempts(&rig, "success"), 0);

    let (bad, _) = always(BAD);
    let (good, _) = always(OK);
    let rig = Rig::new(&[bad, good], "balance = { policy = \"round-robin\" }\n");
    for _ in 0..4 {
        assert_eq!(rig.client().get("/").body, b"ok");
    }
}

/// One that goes bad later breaks off, and is counted as that.
#[test]
fn a_body_that_becomes_malformed_is_aborted() {
    let (address, _) = server(|connection| {
        connection.request();
        connection.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        // The proxy has passed that on when the test says so.
        connection
            .stream
            .set_read_timeout(Some(Duration::from_millis(300)))
            .ok();
        connection.stream.read_exact(&mut [0]).ok();
        connection.answer("nonsense\r\n");
    });
    let mut rig = Rig::new(&[address], "");
    let mut signals = rig.take_signals();
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.rest().ends_with(b"5\r\nhello\r\n"));
    rig.wait_for(|rig| attempts(rig, "bad-response") == 1 && rig.totals().requests == 1);
    assert_eq!(attempts(&rig, "success"), 0);
    assert_eq!(
        told(&mut signals),
        [Outcome::Answered(200), Outcome::BadResponse]
    );
}

/// RFC 9112 sections 5.1, 5.2 and 6.3, RFC 9110 section 8.6: what a proxy puts right in an answer's head.
#[test]
fn malformed_response_heads_are_repaired() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length : 2\r\nX-A: b\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A \t: b\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX-A:\r\n b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\nX-A: b\r\n\r\nok",
    ] {
        let (address, _) = always(head);
        let rig = Rig::new(&[address], "");
        let response = rig.client().get("/");
        assert_eq!(
            (response.status, &response.body[..]),
            (200, &b"ok"[..]),
            "{head:?}"
        );
        assert_eq!(response.header("x-a"), Some("b"), "{head:?}");
        let lower = response.head.to_ascii_lowercase();
        assert_eq!(lower.matches("content-length:").count(), 1, "{head:?}");
        assert!(
            !lower.contains(" :") && !lower.contains("\r\n "),
            "{lower:?}"
        );
    }
}

#[test]
fn rejected_heads_name_the_field_and_the_rule() {
    for (head, why) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
            "content-length: it is one decimal number",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
            "content-length, transfer-encoding: only one",
        ),
        (
            "HTTP/1.1 200 OK\r\nX-Foo: a\x01\r\n\r\n",
            "x-foo: a value has no control characters",
        ),
    ] {
        let (address, _) = always(head);
        let rig = Rig::new(&[address], "retry = { limit = 0 }\n");
        let response = rig.client().get("/");
        assert_eq!(response.status, 502, "{head:?}");
        let status = response.header("proxy-status").unwrap_or_default();
        assert!(status.contains(why), "{status}");
    }
    // Requests are refused for the same, and told.
    let (address, _) = always(OK);
    let rig = Rig::new(&[address], "");
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Foo : b\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status, 400);
    let status = response.header("proxy-status").unwrap_or_default();
    assert!(
        status.contains("bad-field-name; x-foo: a name is a token"),
        "{status}"
    );
}

/// What evenkeel has ready is sent for as long as the client takes some of it, however long that is on the whole.
#[test]
fn a_slow_reader_gets_the_whole_of_a_kept_answer() {
    const LENGTH: usize = 200_000;
    let (address, seen) = server(|connection| {
        while connection.request().is_some() {
            let head = format!(
                "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: {LENGTH}\r\n\r\n"
            );
            connection.answer(head);
            connection.answer(vec![b'x'; LENGTH]);
        }
    });
    let rig = Rig::new(
        &[address],
        "fallback = { stale = { answer_first = true, object = \"256KiB\" } }\n",
    );
    assert_eq!(rig.client().get("/").body.len(), LENGTH);
    let mut slow = rig.client();
    socket2::SockRef::from(&slow.stream)
        .set_recv_buffer_size(4 * 1024)
        .unwrap();
    slow.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    let (_stop, pace) = std::sync::mpsc::channel::<()>();
    let (mut read, mut part) = (0, vec![0; 8 * 1024]);
    loop {
        // Longer on the whole than an answer may wait without a byte being taken, when that was 5 s.
        pace.recv_timeout(Duration::from_millis(250)).ok();
        match read_some(&slow.stream, &mut part).expect("it is not cut") {
            0 => break,
            n => read += n,
        }
    }
    assert!(read > LENGTH, "{read}");
    assert_eq!(seen.lock().unwrap().len(), 1, "it was kept");
}
